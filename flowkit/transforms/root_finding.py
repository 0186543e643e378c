"""Root finding: the inverse of an increasing scalar function, elementwise and differentiable."""

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

    The number of steps is fixed, so that shapes and graph do not depend on values. If a Newton
    step stays inside the bracket and is at most half as long as the previous step, it is taken;
    otherwise the bracket is bisected. Two more steps are differentiable: by the implicit function
    theorem, first and second derivatives reach ``target`` and the parameters of ``function``.

    Args:
        function: maps ``x`` to the value, increasing, and the derivative, positive.
        target: the required value; NaN gives NaN.
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
            new = torch.where(good, newton, 0.5 * (low + high))
            x, last = new, (new - x).abs()
    value, derivative = function(x)
    slope = derivative.detach()
    step = (value - target) / slope
    # Where the function is flat, rounding of the value causes a long step, of which only the
    # gradient is used. Elsewhere the step changes the last digits only.
    digits = 16 * torch.finfo(x.dtype).eps * (1 + x.abs())
    unwanted = torch.where(step.abs() <= digits, 0.0, step).detach()
    x = x - step + unwanted
    # This step changes neither value nor first derivative, and gives the second derivatives.
    step = (function(x)[0] - target) / slope
    return torch.where(target.isnan(), target, x - (step - step.detach()))
