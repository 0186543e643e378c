"""Reports on conditional densities: a target given features."""

from flowkit.report.conditional.analysis import ConditionalAnalysis, analyse_conditional
from flowkit.report.conditional.page import conditional_page

__all__ = ["ConditionalAnalysis", "analyse_conditional", "conditional_page"]
