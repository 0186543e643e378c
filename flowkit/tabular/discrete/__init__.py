"""Discrete columns: flags, categories and integers, each given the columns before it."""

from flowkit.tabular.discrete.block import DiscreteBlock

__all__ = ["DiscreteBlock"]
