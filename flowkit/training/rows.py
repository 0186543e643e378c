"""Rows of a fit, their batches, and the order of the rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from flowkit.training.seeds import ORDER, SPLIT, generator_of


class Batch(NamedTuple):
    """Rows that a loss sees: ``x``, and the context and weights that go with them, if any.

    Weights have mean one over the rows that are trained on (or validated on), so the loss of a
    batch is the plain mean of ``weights * loss of the row``.
    """

    x: Tensor
    context: Tensor | None = None
    weights: Tensor | None = None


def mean_over_rows(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean over rows, the last dimension, and any others, ``()``."""
    return values.mean() if weights is None else (weights * values).mean()


def drawn_by_weight(rows: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return rows ``(n, ...)``, or with weights as many rows drawn with these probabilities.

    For losses that compare whole samples, and have no form for weighted rows. If all weights are
    zero, every row has the same probability.
    """
    if weights is None:
        return rows
    some = torch.where(weights.sum() > 0, weights, 1.0)
    return rows[torch.multinomial(some.float(), len(rows), replacement=True)]


class Source(Protocol):
    """Rows by their indices. Another implementation may keep them on a disk."""

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def take(self, indices: Tensor) -> Batch:
        """Return the rows of these indices, in this order."""
        ...


class Rows:
    """Rows in memory, on the device that they are used on.

    Args:
        x: ``(rows, *event_shape)``.
        context: ``(rows, *context_shape)``.
        weights: ``(rows,)``.
    """

    def __init__(
        self, x: Tensor, context: Tensor | None = None, weights: Tensor | None = None
    ) -> None:
        self.x, self.context, self.weights = x, context, weights

    def __len__(self) -> int:
        return len(self.x)

    def take(self, indices: Tensor) -> Batch:
        """Return the rows of these indices."""
        return Batch(
            self.x.index_select(0, indices),
            None if self.context is None else self.context.index_select(0, indices),
            None if self.weights is None else self.weights.index_select(0, indices),
        )


@dataclass(frozen=True)
class TrainingRows:
    """Rows to train on, and the batch of each step.

    Args:
        source: the rows, those held out of them included.
        indices: indices of all rows to train on, ``(rows,)``, or ``(members, rows)``.
        order: returns the indices of the batch of a step, the first of which is step 1;
            ``(batch,)``, or ``(members, batch)``.
    """

    source: Source
    indices: Tensor
    order: Callable[[int], Tensor]


def shuffled(seed: int, epoch: int, n_rows: int) -> Tensor:
    """Return the order of the rows in an epoch, ``(n_rows,)``: a pure function of its arguments."""
    return torch.randperm(n_rows, generator=generator_of(seed, ORDER, epoch))


def split(seed: int, n_rows: int, n_held_out: int) -> tuple[Tensor, Tensor]:
    """Return the indices of the rows to train on, and of those to hold out."""
    order = torch.randperm(n_rows, generator=generator_of(seed, SPLIT))
    return order[n_held_out:], order[:n_held_out]


class Order:
    """The indices of the batch of each step.

    The epochs are laid end to end, each with its own shuffle, and cut into batches. So every row
    comes exactly once an epoch, and all batches have one shape. A batch that lies across the
    border of two epochs may hold a row twice.

    Args:
        indices: indices of the rows, at least as many as in a batch.
        batch_size: rows per step.
        seed: random seed of the shuffles.
        device: the device of the result.
    """

    def __init__(
        self, indices: Tensor, batch_size: int, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        self._indices = indices.to(device)
        self._batch_size = batch_size
        self._seed = seed
        self._epochs: dict[int, Tensor] = {}

    def __call__(self, step: int) -> Tensor:
        """Return the indices of the batch of a step, the first of which is 1; ``(batch_size,)``."""
        epoch, start = divmod((step - 1) * self._batch_size, len(self._indices))
        batch = self._epoch(epoch)[start : start + self._batch_size]
        if missing := self._batch_size - len(batch):
            batch = torch.cat([batch, self._epoch(epoch + 1)[:missing]])
        return batch

    def _epoch(self, epoch: int) -> Tensor:
        if epoch not in self._epochs:
            order = shuffled(self._seed, epoch, len(self._indices)).to(self._indices.device)
            self._epochs = {e: r for e, r in self._epochs.items() if e == epoch - 1}
            self._epochs[epoch] = self._indices[order]
        return self._epochs[epoch]
