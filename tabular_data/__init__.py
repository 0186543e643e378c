"""Data sets for density estimation. So far: toy densities whose optimum is known."""

from tabular_data.toy import TOYS, Toy

__all__ = ["TOYS", "Toy"]
