"""Dtypes of results."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Return a tensor in float32 where it has fewer digits, as under autocast."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
