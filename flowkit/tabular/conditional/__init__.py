"""Conditional densities of tables: targets given features."""

from flowkit.tabular.conditional.estimator import ConditionalFlowDensity

__all__ = ["ConditionalFlowDensity"]
