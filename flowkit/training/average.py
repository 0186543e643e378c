"""An exponential moving average of weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


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

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in the place of the parameters, and these back at the end."""
        live = [p.clone() for p in self._parameters]
        torch._foreach_copy_(self._parameters, self.tensors)
        try:
            yield
        finally:
            torch._foreach_copy_(self._parameters, live)
