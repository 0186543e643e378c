"""What a model draws in the course of its training."""

from typing import Any

import torch
from torch import Tensor

from flowkit._checks import check_count
from flowkit._modes import evaluating


class Snapshots:
    """A callback of `fit` that keeps samples of the same noise, every so many steps.

    Args:
        every: steps between two of them.
        n: samples each.
        seed: of their noise.

    Attributes:
        steps: at which they were taken.

    Example:
        >>> from flowkit.flows import nice
        >>> from flowkit.training import fit
        >>> seen = Snapshots(every=2, n=3)
        >>> history = fit(nice(2), torch.randn(50, 2), steps=5, callbacks=[seen])
        >>> seen.steps, seen.samples.shape
        ([2, 4], torch.Size([2, 3, 2]))
    """

    def __init__(self, every: int, n: int = 16, *, seed: int = 0) -> None:
        self.every, self.n = check_count("every", every), check_count("n", n)
        self.steps: list[int] = []
        self._seed, self._samples = seed, list[Tensor]()

    def __call__(self, state: Any) -> None:
        """Look at the model of a fit."""
        if state.step % self.every == 0:
            self.steps.append(state.step)
            self._samples.append(draw(state.model, self.n, self._seed))

    @property
    def samples(self) -> Tensor:
        """All of them, ``(times, n, *row)``."""
        return torch.stack(self._samples)


@torch.no_grad()
def draw(model: Any, n: int, seed: int = 0) -> Tensor:
    """Draw rows of a model in its ``eval`` mode, always with the same noise, ``(n, *row)``."""
    with evaluating(model):
        rows: Tensor = model.sample(n, generator=torch.Generator().manual_seed(seed))
    return rows
