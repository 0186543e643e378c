"""Densities of tables: a table in, its density out, by scikit-learn's conventions."""

from flowkit.tabular.estimator import FlowDensity

__all__ = ["FlowDensity"]
