"""Baselines that remember: what is taken off a learning signal to make it less noisy."""

import torch
from torch import Tensor, nn

from flowkit.errors import ArgumentError


class RunningMoments(nn.Module):
    """The running mean and variance of a learning signal.

    Args:
        decay: what is kept of the past at each update.

    Attributes:
        mean: ``()``.
        variance: ``()``.

    Take the moments *before* a batch updates them: then they are independent of its samples, and
    an estimator that subtracts the mean stays unbiased.

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
            raise ArgumentError("decay", "a number of at least 0 and below 1", decay)
        self.decay = decay
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("variance", torch.zeros(()))
        self.register_buffer("updates", torch.zeros(()))

    @torch.no_grad()
    def update(self, signal: Tensor) -> None:
        """Take in the signal of a batch, of any shape. The first one counts whole."""
        keep = torch.where(self.updates > 0, self.decay, 0.0)
        self.mean.lerp_(signal.mean().to(self.mean), 1 - keep)
        self.variance.lerp_(signal.var(correction=0).to(self.variance), 1 - keep)
        self.updates += 1
