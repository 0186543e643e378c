"""Contracts of transforms, flows and samplers, as tests that run over any of them.

>>> import torch
>>> from flowkit.transforms import LULinear
>>> errors = check_transform(LULinear(3).double(), torch.randn(100, 3, dtype=torch.float64))
>>> errors["logabsdet"] < 1e-9
True
"""

from flowkit.testing.contract import check_flow, check_transform, total_mass
from flowkit.testing.samples import check_samples

__all__ = ["check_flow", "check_samples", "check_transform", "total_mass"]
