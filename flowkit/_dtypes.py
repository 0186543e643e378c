"""Dtypes of results."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Return a tensor in float32, or in its own dtype if that is more precise."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
