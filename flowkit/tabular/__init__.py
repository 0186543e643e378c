"""Densities of tables, by scikit-learn's conventions."""

from flowkit.tabular.estimator import FlowDensity

__all__ = ["FlowDensity"]
