"""Baselines of score-function estimators: running moments, and means of the other samples."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from flowkit._checks import check_choice
from flowkit.errors import ArgumentError, ShapeError


class RunningMoments(nn.Module):
    """The running mean and variance of a learning signal.

    Args:
        decay: weight of past batches at each update.

    Attributes:
        mean: running mean, ``()``.
        variance: running variance, ``()``.

    Use the moments *before* the update with a batch. The moments are then independent of the
    samples of that batch, and an estimator that subtracts the mean stays unbiased.

    Reference: Mnih and Gregor, *Neural variational inference and learning in belief networks*,
    2014, algorithm 1, lines 8 to 12.

    Example:
        >>> moments = RunningMoments(decay=0.5)
        >>> moments.update(torch.tensor([-2.0, -4.0]))
        >>> moments.update(torch.tensor([-2.0, -4.0]))
        >>> moments.mean
        tensor(-3.)
    """

    mean: Tensor
    variance: Tensor
    updates: Tensor

    def __init__(self, decay: float = 0.8) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ArgumentError("decay", "a number in [0, 1)", decay)
        self.decay = decay
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("variance", torch.zeros(()))
        self.register_buffer("updates", torch.zeros(()))

    @torch.no_grad()
    def update(self, signal: Tensor) -> None:
        """Update the moments with the signal of a batch, of any shape; the first has weight 1."""
        keep = torch.where(self.updates > 0, self.decay, 0.0)
        self.mean.lerp_(signal.mean().to(self.mean), 1 - keep)
        self.variance.lerp_(signal.var(correction=0).to(self.variance), 1 - keep)
        self.updates += 1


def leave_one_out(log_f: Tensor, mean: str = "geometric") -> Tensor:
    """Return ``log (1/K) (sum_{i != j} f_i + mean of the others)`` for each j, ``(K, *batch)``.

    Sums before j and after j are combined. Subtraction of ``f_j`` from the total would be inexact
    if ``f_j`` dominates.

    Args:
        log_f: log-weights, ``(K, *batch)``, K at least 2.
        mean: "geometric" or "arithmetic".

    Raises:
        ShapeError: fewer than two samples.

    Example:
        >>> leave_one_out(torch.tensor([0.0, -1.0, -2.0]), "arithmetic")
        tensor([-1.3799, -0.5662, -0.3799])
    """
    check_choice("baseline", mean, ("geometric", "arithmetic"))
    k = len(log_f)
    if k < 2:
        raise ShapeError("log_f", "at least 2 samples", tuple(log_f.shape))
    sums = of_others(log_f, torch.logcumsumexp, torch.logaddexp, -math.inf)
    if mean == "arithmetic":
        return sums - math.log(k - 1)
    means = of_others(log_f, torch.cumsum, torch.add, 0.0) / (k - 1)
    return torch.logaddexp(sums, means) - math.log(k)


def of_others(
    values: Tensor,
    scan: Callable[[Tensor, int], Tensor],
    combine: Callable[[Tensor, Tensor], Tensor],
    empty: float,
) -> Tensor:
    """Combine, for each j, the values before j and those after j, ``(K, *batch)``."""
    border = torch.full_like(values[:1], empty)
    before = torch.cat([border, scan(values[:-1], 0)])
    after = torch.cat([scan(values.flip(0)[:-1], 0).flip(0), border])
    return combine(before, after)
