"""What a fitted density is worth: one page with every check of it, and the numbers as JSON."""

from flowkit.report.report import Report, make_report

__all__ = ["Report", "make_report"]
