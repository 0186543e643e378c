"""An exponential moving average of weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The exponential moving average of parameters.

    ``average += (1 - d) (parameter - average)`` after each step t, with
    ``d = min(decay, (1 + t) / (10 + t))``, so that what the fit started from is soon forgotten.

    Args:
        parameters: what is averaged.
        decay: the weight that the past keeps at each step.

    Reference: Polyak and Juditsky, *Acceleration of stochastic approximation by averaging*, 1992.
    """

    def __init__(self, parameters: list[Tensor], decay: float) -> None:
        self._parameters = [p.detach() for p in parameters]
        self._decay = decay
        self.tensors = [p.clone() for p in self._parameters]

    def update(self, step: int) -> None:
        """Take in the parameters after a step."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.tensors, self._parameters, 1 - decay)

    def apply(self) -> None:
        """Put the average in the place of the parameters, for good."""
        torch._foreach_copy_(self._parameters, self.tensors)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in the place of the parameters, and these back at the end."""
        live = [p.clone() for p in self._parameters]
        self.apply()
        try:
            yield
        finally:
            torch._foreach_copy_(self._parameters, live)


def running_statistics(model: nn.Module) -> list[Tensor]:
    """Return the means and variances that the batch norms of a network keep.

    They belong to the weights that made them, and are averaged with these.
    """
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    norms = [module for module in model.modules() if isinstance(module, kinds)]
    kept = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var)]
    return [buffer for buffer in kept if buffer is not None]
