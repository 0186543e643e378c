"""The loss of the validation rows."""

import math
from contextlib import AbstractContextManager
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from flowkit._checks import place_of
from flowkit.errors import DataError
from flowkit.training.memory import Pieces
from flowkit.training.processes import Processes
from flowkit.training.rows import Batch, Source
from flowkit.training.seeds import VALIDATION, mixed, reseed
from flowkit.training.step import Loss

# Rows at once. There are no gradients, so many fit where few would in training.
_CHUNK = 4_096


class Evaluation:
    """The mean loss of held-out rows, with the same noise every time.

    Args:
        loss: whose terms are added up.
        source: the rows.
        rows: their numbers, ``(rows,)``, or ``(members, rows)``.
        name: the argument that holds them, "data" or "validation", for errors.
        members: number of models that the loss has values of; None: it is a scalar.
        processes: among which they are shared out.
        autocast: what the loss is computed under.
        seed: of the noise.
    """

    def __init__(
        self,
        loss: Loss,
        source: Source,
        rows: Tensor,
        *,
        name: str,
        members: int | None,
        processes: Processes,
        autocast: AbstractContextManager[Any],
        seed: int,
    ) -> None:
        self._loss, self._source, self._rows = loss, source, rows
        self._name, self._members = name, members
        self._processes, self._autocast = processes, autocast
        self._seed = mixed(seed, VALIDATION, processes.rank)[0]
        self._generator = torch.Generator(processes.device)
        self._pieces = Pieces("a validation")

    def __len__(self) -> int:
        return self._rows.shape[-1]

    @torch.no_grad()
    def __call__(self) -> list[float]:
        """Return the loss of each model."""
        mine = self._rows[..., self._processes.share(len(self))]
        chunk = min(_CHUNK, max(mine.shape[-1], 1))
        total = self._pieces.attempt(lambda: self._sum(mine, chunk), chunk)
        mean: list[float] = (self._processes.sum(total) / len(self)).reshape(-1).tolist()
        return mean

    @torch.no_grad()
    def check(self, training: Batch) -> None:
        """Raise if single rows are the reason why starting weights have no finite score.

        Args:
            training: rows to train on. If their loss is not finite either, no row is to blame.

        Raises:
            DataError: an entry of a validation row is NaN or infinite, or a row is impossible
                under the model. The row is named.
        """
        self._check_entries()
        rows = self._rows if self._members is None else self._rows.expand(self._members, -1)
        for model, score in enumerate(self._scores(training)):
            place = self._first_without_score(rows, model) if math.isfinite(score) else None
            if place is not None:
                alone = self._scores(self._source.take(rows[..., place : place + 1]))[model]
                row = int(rows.view(-1, len(self))[model, place])
                expected = "a row that is possible under the model, inside of its support"
                raise DataError(f"{self._name}, row {row}", expected, f"one of loss {alone}")

    def _check_entries(self) -> None:
        batch = self._source.take(self._rows)
        context = "context" if self._name == "data" else f"{self._name} context"
        for name, tensor in ((self._name, batch.x), (context, batch.context)):
            if tensor is None or not tensor.is_floating_point():
                continue
            bad = ~tensor.isfinite()
            if batch.weights is not None:  # a row without weight has no say
                bad &= (batch.weights > 0).view(*batch.weights.shape, *_ones(bad, batch.weights))
            if bad.any():
                at = tuple(bad.nonzero()[0].tolist())
                leading = 1 if self._members is None else 2
                row = int(self._rows.expand(bad.shape[:leading])[at[:leading]])
                raise DataError(
                    f"{name}, {place_of(row, at[leading:])}", "a finite number", tensor[at].item()
                )

    def _first_without_score(self, rows: Tensor, model: int) -> int | None:
        """Return the place of the first row whose loss is not finite, by bisection."""

        def is_finite(first: int, last: int) -> bool:
            scores = self._scores(self._source.take(rows[..., first:last]))
            return math.isfinite(scores[model])

        for first in range(0, len(self), _CHUNK):
            last = min(first + _CHUNK, len(self))
            if is_finite(first, last):
                continue
            while last - first > 1:
                middle = (first + last) // 2
                if is_finite(first, middle):
                    first = middle
                else:
                    last = middle
            return None if is_finite(first, last) else first
        return None

    def _scores(self, batch: Batch) -> list[float]:
        """Return the loss of a batch for each model."""
        reseed(self._generator, self._seed)
        with self._autocast:
            terms = self._loss(batch, self._generator)
        scores: list[float] = reduce(add, terms.values()).reshape(-1).tolist()
        return scores

    def _sum(self, rows: Tensor, size: int) -> Tensor:
        reseed(self._generator, self._seed)
        total = torch.zeros((), dtype=torch.float64, device=rows.device)
        for chunk in rows.split(max(size // self._pieces.count, 1), dim=-1):
            with self._autocast:
                terms = self._loss(self._source.take(chunk), self._generator)
            total = total + chunk.shape[-1] * reduce(add, terms.values()).double()
        return total


def _ones(tensor: Tensor, other: Tensor) -> list[int]:
    """Return the sizes that let the other tensor broadcast from the first dimension on."""
    return [1] * (tensor.dim() - other.dim())
