"""Where rows come from, and in which order."""

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
    """Return rows ``(n, ...)``, or where they are weighed as many drawn by weight.

    For what compares whole samples, and has no form for rows that are weighed. Rows without any
    weight among them are drawn alike.
    """
    if weights is None:
        return rows
    some = torch.where(weights.sum() > 0, weights, 1.0)
    return rows[torch.multinomial(some.float(), len(rows), replacement=True)]


class Source(Protocol):
    """What rows are taken from. Another one may keep them on a disk."""

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def take(self, rows: Tensor) -> Batch:
        """Return the rows of these numbers, in this order."""
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

    def take(self, rows: Tensor) -> Batch:
        """Return the rows of these numbers."""
        return Batch(
            self.x.index_select(0, rows),
            None if self.context is None else self.context.index_select(0, rows),
            None if self.weights is None else self.weights.index_select(0, rows),
        )


def rows_of(seed: int, epoch: int, rows: int) -> Tensor:
    """Return the order of ``rows`` rows in an epoch: a pure function of its arguments."""
    return torch.randperm(rows, generator=generator_of(seed, ORDER, epoch))


def split(seed: int, rows: int, held_out: int) -> tuple[Tensor, Tensor]:
    """Return which rows to train on, and which ``held_out`` to hold out."""
    order = torch.randperm(rows, generator=generator_of(seed, SPLIT))
    return order[held_out:], order[:held_out]


class Order:
    """The rows of each step.

    The epochs are laid end to end, each a shuffle of its own, and cut into batches. So every row
    comes exactly once an epoch and all batches have one shape; one that lies across the border of
    two epochs may hold a row twice.

    Args:
        rows: the numbers of the rows, of which there are at least as many as in a batch.
        batch_size: rows per step.
        seed: of the shuffles.
        device: where the numbers are wanted.
    """

    def __init__(
        self, rows: Tensor, batch_size: int, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        self.rows = rows.to(device)
        self._batch_size = batch_size
        self._seed = seed
        self._epochs: dict[int, Tensor] = {}

    def __call__(self, step: int) -> Tensor:
        """Return the rows of a step, the first of which is step 1; ``(batch_size,)``."""
        epoch, start = divmod((step - 1) * self._batch_size, len(self.rows))
        rows = self._epoch(epoch)[start : start + self._batch_size]
        if missing := self._batch_size - len(rows):
            rows = torch.cat([rows, self._epoch(epoch + 1)[:missing]])
        return rows

    def _epoch(self, epoch: int) -> Tensor:
        if epoch not in self._epochs:
            order = rows_of(self._seed, epoch, len(self.rows)).to(self.rows.device)
            self._epochs = {e: r for e, r in self._epochs.items() if e == epoch - 1}
            self._epochs[epoch] = self.rows[order]
        return self._epochs[epoch]
