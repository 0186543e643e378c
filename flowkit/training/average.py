"""Exponential moving average of weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn

_Norm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


class Average:
    """The exponential moving average of parameters.

    ``average += (1 - d) (parameter - average)`` after each step t, with
    ``d = min(decay, (1 + t) / (10 + t))``, so that the starting weights soon lose their effect.

    Args:
        parameters: the parameters to average.
        decay: the weight of the past at each step.

    Reference: Polyak and Juditsky, *Acceleration of stochastic approximation by averaging*, 1992.
    """

    def __init__(self, parameters: list[Tensor], decay: float) -> None:
        self._parameters = [p.detach() for p in parameters]
        self._decay = decay
        self.tensors = [p.clone() for p in self._parameters]

    def update(self, step: int) -> None:
        """Add the parameters after a step to the average."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.tensors, self._parameters, 1 - decay)

    def apply(self) -> None:
        """Replace the parameters by the average."""
        torch._foreach_copy_(self._parameters, self.tensors)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Replace the parameters by the average, and restore them at the end."""
        live = [p.clone() for p in self._parameters]
        self.apply()
        try:
            yield
        finally:
            torch._foreach_copy_(self._parameters, live)


def batch_norms(model: nn.Module) -> list[_Norm]:
    """Return the batch norms of a network that keep running statistics."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    norms = [module for module in model.modules() if isinstance(module, kinds)]
    return [norm for norm in norms if norm.running_mean is not None]


def running_statistics(model: nn.Module) -> list[Tensor]:
    """Return the means and variances that the batch norms of a network keep."""
    norms = batch_norms(model)
    return [b for norm in norms for b in (norm.running_mean, norm.running_var) if b is not None]


@contextmanager
def taking_statistics(model: nn.Module) -> Iterator[None]:
    """Let batch norms take the plain mean of their inputs, in a model in ``eval`` mode.

    Only batch norms in training mode do so; frozen ones keep their statistics. The statistics of
    averaged weights are not the average of the statistics of the weights.

    Reference: Izmailov et al., *Averaging weights leads to wider optima and better
    generalization*, 2018, section 3.2.
    """
    norms = [norm for norm in batch_norms(model) if norm.training]
    model.eval()
    kept = [(norm, norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]  # type: ignore[union-attr]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        yield
    finally:
        for norm, momentum, count in kept:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)  # type: ignore[union-attr]
            norm.eval()
