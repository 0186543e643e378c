"""Invertible maps of continuous columns, applied before a member sees the rows."""

from flowkit.tabular.continuous.preprocessing.linear import Residuals
from flowkit.tabular.continuous.preprocessing.marginals import Marginals
from flowkit.tabular.continuous.preprocessing.standardiser import Standardiser

__all__ = ["Marginals", "Residuals", "Standardiser"]
