"""Conditional and marginal densities of a fitted table density."""

from flowkit.tabular.conditioning.conditional import ConditionalDensity
from flowkit.tabular.conditioning.explanation import explained
from flowkit.tabular.conditioning.imputation import imputed
from flowkit.tabular.conditioning.marginal import MarginalDensity

__all__ = ["ConditionalDensity", "MarginalDensity", "explained", "imputed"]
