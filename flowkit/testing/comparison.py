"""Comparisons for the tests of contracts: equality, batch shapes, dtypes."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowkit.errors import DtypeError

# Tolerance of equality, relative to max(1, size), by dtype.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


def require(holds: bool, message: str) -> None:
    """Raise an `AssertionError` with a message unless ``holds``."""
    if not holds:
        raise AssertionError(message)


def worst_error(got: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to ``max(1, size)``; NaN if any difference is NaN."""
    difference = (got.double() - expected.double()).abs() / expected.double().abs().clamp(min=1)
    return float(difference.max()) if difference.numel() else 0.0


def check_batches(
    function: Callable[..., tuple[Tensor, ...]],
    x: Tensor,
    context: Tensor | None,
    expected: tuple[Tensor, ...],
) -> None:
    """Check that the result of each row is the same in every batch shape."""
    size = max(float(e.abs().max()) for e in expected)
    # Matrix products of different batch sizes are equal to rounding only.
    tolerance = 1e3 * torch.finfo(x.dtype).eps * max(1.0, size)

    def call(x: Tensor, index: Any) -> tuple[Tensor, ...]:
        return function(x[index], None if context is None else context[index])

    pairs = torch.arange(4, device=x.device).reshape(2, 2)
    for name, index in (("no", 0), ("one", slice(1, 3)), ("two", pairs), ("empty", slice(0, 0))):
        for part, whole in zip(call(x, index), expected, strict=True):
            right = part.shape == whole[index].shape
            require(right, f"{name} batch dimensions give shape {tuple(part.shape)}")
            error = worst_error(part, whole[index])
            require(error <= tolerance, f"a row depends on its batch mates, by {error:.2g}")
    poisoned = x.clone()
    poisoned[0] = math.nan
    got = call(poisoned, slice(None))
    require(any(bool(g[0].isnan().any()) for g in got), "NaN in gives no NaN out")
    error = max(worst_error(g[1:], e[1:]) for g, e in zip(got, expected, strict=True))
    require(error <= tolerance, f"NaN in one row changes another by {error:.2g}")


def check_dtype(x: Tensor) -> None:
    """Raise unless points are of a dtype with a tolerance."""
    if not isinstance(x, Tensor):
        raise DtypeError("x", "a torch.Tensor", type(x).__name__)
    if x.dtype not in TOLERANCE:
        expected = "float32 or float64 points (convert the module and its points by .float())"
        raise DtypeError("x", expected, x.dtype)
