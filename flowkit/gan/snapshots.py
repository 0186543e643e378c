"""Samples of a model during training, as a callback."""

from typing import Any

import torch
from torch import Tensor

from flowkit._checks import check_count
from flowkit._training_mode import evaluating


class Snapshots:
    """A callback of `fit` that stores samples, always with the same noise.

    Args:
        every: number of steps between two snapshots.
        n: samples in a snapshot.
        seed: seed of the noise.

    Attributes:
        steps: steps of the snapshots.

    Example:
        >>> from flowkit.flows import nice
        >>> from flowkit.training import fit
        >>> snapshots = Snapshots(every=2, n=3)
        >>> history = fit(nice(2), torch.randn(50, 2), steps=5, callbacks=[snapshots])
        >>> snapshots.steps, snapshots.samples.shape
        ([2, 4], torch.Size([2, 3, 2]))
    """

    def __init__(self, every: int, n: int = 16, *, seed: int = 0) -> None:
        self.every, self.n = check_count("every", every), check_count("n", n)
        self.steps: list[int] = []
        self._seed, self._samples = seed, list[Tensor]()

    def __call__(self, state: Any) -> None:
        """Store samples of the model if the step is due."""
        if state.step % self.every == 0:
            self.steps.append(state.step)
            self._samples.append(draw(state.model, self.n, self._seed))

    @property
    def samples(self) -> Tensor:
        """All samples, ``(snapshots, n, *row)``."""
        return torch.stack(self._samples)


@torch.no_grad()
def draw(model: Any, n: int, seed: int = 0) -> Tensor:
    """Draw rows ``(n, *row)`` of a model in ``eval`` mode, with the noise of a seed."""
    with evaluating(model):
        rows: Tensor = model.sample(n, generator=torch.Generator().manual_seed(seed))
    return rows
