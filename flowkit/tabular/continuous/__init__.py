"""Continuous columns: a mixture of members, weighted by held-out rows."""

from flowkit.tabular.continuous.density import ContinuousDensity

__all__ = ["ContinuousDensity"]
