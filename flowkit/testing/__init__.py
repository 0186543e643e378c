"""Tests of the contracts of transforms, distributions, flows and samplers.

>>> import torch
>>> from flowkit.transforms import LULinear
>>> errors = check_transform(LULinear(3).double(), torch.randn(100, 3, dtype=torch.float64))
>>> errors["logabsdet"] < 1e-9
True
"""

from flowkit.testing.distributions import check_distribution, check_flow, total_mass
from flowkit.testing.samples import check_samples
from flowkit.testing.transforms import check_transform

__all__ = ["check_distribution", "check_flow", "check_samples", "check_transform", "total_mass"]
