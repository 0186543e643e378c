"""Reports on fitted densities: an HTML page with all checks, and the numbers as JSON."""

from flowkit.report.report import Report, make_conditional_report, make_report

__all__ = ["Report", "make_conditional_report", "make_report"]
