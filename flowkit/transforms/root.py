"""Inverting an increasing function of one variable, elementwise and differentiably."""

from collections.abc import Callable

import torch
from torch import Tensor


def solve_increasing(
    function: Callable[[Tensor], tuple[Tensor, Tensor]],
    target: Tensor,
    low: Tensor,
    high: Tensor,
    *,
    steps: int = 60,
) -> Tensor:
    """Return the ``x`` in ``[low, high]`` with ``function(x) = target``, elementwise.

    A fixed number of steps, so that shapes and graph do not depend on values. Each is Newton's
    where that stays inside the bracket and is at most half as long as the step before it, and
    otherwise goes to the bracket's middle. Two more are differentiable: they carry first and
    second derivatives of the inverse function to ``target`` and to whatever ``function`` depends
    on (the implicit function theorem).

    Args:
        function: maps ``x`` to its value, increasing, and the derivative, positive.
        target: where the value should be; NaN gives NaN.
        low: a lower bound of the solution.
        high: an upper bound.
        steps: number of steps.
    """
    with torch.no_grad():
        x = 0.5 * (low + high)
        last = high - low
        for _ in range(steps):
            value, derivative = function(x)
            below = value < target
            low, high = torch.where(below, x, low), torch.where(below, high, x)
            newton = x - (value - target) / derivative
            good = (newton >= low) & (newton <= high) & ((newton - x).abs() <= 0.5 * last)
            moved = torch.where(good, newton, 0.5 * (low + high))
            x, last = moved, (moved - x).abs()
    value, derivative = function(x)
    slope = derivative.detach()
    step = (value - target) / slope
    # Where the function is flat, rounding of its value makes a long step: of that, take only the
    # gradient. Elsewhere it is a matter of the last digits.
    digits = 16 * torch.finfo(x.dtype).eps * (1 + x.abs())
    unwanted = torch.where(step.abs() <= digits, 0.0, step).detach()
    x = x - step + unwanted
    # This one changes no value and no first derivative; it makes the second derivatives right.
    step = (function(x)[0] - target) / slope
    return torch.where(target.isnan(), target, x - (step - step.detach()))
