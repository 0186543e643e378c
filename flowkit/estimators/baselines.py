"""Baselines: running moments of a learning signal, subtracted to reduce variance."""

import torch
from torch import Tensor, nn

from flowkit.errors import ArgumentError


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
