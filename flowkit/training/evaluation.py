"""Evaluation of a model: the loss of the validation rows."""

import math
from functools import reduce
from operator import add

import torch
from torch import Tensor

from flowkit._checks import place_of
from flowkit.errors import DataError
from flowkit.training.memory import Pieces
from flowkit.training.rows import Batch, Source
from flowkit.training.runtime import Runtime
from flowkit.training.seeds import VALIDATION, mixed, reseed
from flowkit.training.step import Loss

# Rows at once. There are no gradients, so many fit where few would in training.
_CHUNK = 4_096


class Evaluation:
    """The mean loss of held-out rows, with the same noise every time.

    Args:
        loss: the loss, whose terms are added up; with one value per model, if several are stacked.
        source: the rows.
        indices: indices of the rows, ``(rows,)``, or ``(members, rows)``.
        name: the argument with the rows, "data" or "validation", for errors.
        runtime: the processes that share the rows, and everything else about the computation.
    """

    def __init__(
        self,
        loss: Loss,
        source: Source,
        indices: Tensor,
        *,
        name: str,
        runtime: Runtime,
    ) -> None:
        self._loss, self._source, self._indices = loss, source, indices
        self._name, self._runtime = name, runtime
        self._seed = mixed(runtime.seed, VALIDATION, runtime.processes.rank)[0]
        self._generator = torch.Generator(runtime.device)
        self._pieces = Pieces("a validation")

    def __len__(self) -> int:
        return self._indices.shape[-1]

    @torch.no_grad()
    def __call__(self) -> list[float]:
        """Return the loss of each model."""
        processes = self._runtime.processes
        share = self._indices[..., processes.share(len(self))]
        chunk = min(_CHUNK, max(share.shape[-1], 1))
        total = self._pieces.attempt(lambda: self._sum(share, chunk), chunk)
        mean: list[float] = (processes.sum(total) / len(self)).reshape(-1).tolist()
        return mean

    @torch.no_grad()
    def check(self, training: Batch) -> None:
        """Raise if single rows are the reason why starting weights have no finite score.

        Args:
            training: rows to train on. If their loss is not finite either, the cause is no
                single row.

        Raises:
            DataError: an entry of a validation row is NaN or infinite, or a row is impossible
                under the model. The error names the row.
        """
        self._check_entries()
        members = self._runtime.members
        indices = self._indices if members is None else self._indices.expand(members, -1)
        for model, score in enumerate(self._scores(training)):
            place = self._first_without_score(indices, model) if math.isfinite(score) else None
            if place is not None:
                alone = self._scores(self._source.take(indices[..., place : place + 1]))[model]
                row = int(indices.view(-1, len(self))[model, place])
                expected = "a row that is possible under the model, inside of its support"
                raise DataError(f"{self._name}, row {row}", expected, f"one of loss {alone}")

    def _check_entries(self) -> None:
        batch = self._source.take(self._indices)
        context = "context" if self._name == "data" else f"{self._name} context"
        for name, tensor in ((self._name, batch.x), (context, batch.context)):
            if tensor is None or not tensor.is_floating_point():
                continue
            bad = ~tensor.isfinite()
            if batch.weights is not None:  # a row of weight zero has no effect
                bad &= (batch.weights > 0).view(*batch.weights.shape, *_ones(bad, batch.weights))
            if bad.any():
                at = tuple(bad.nonzero()[0].tolist())
                leading = 1 if self._runtime.members is None else 2
                row = int(self._indices.expand(bad.shape[:leading])[at[:leading]])
                raise DataError(
                    f"{name}, {place_of(row, at[leading:])}", "a finite number", tensor[at].item()
                )

    def _first_without_score(self, indices: Tensor, model: int) -> int | None:
        """Return the place of the first row whose loss is not finite, by bisection."""

        def is_finite(first: int, last: int) -> bool:
            scores = self._scores(self._source.take(indices[..., first:last]))
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
        with self._runtime.autocast:
            terms = self._loss(batch, self._generator)
        scores: list[float] = reduce(add, terms.values()).reshape(-1).tolist()
        return scores

    def _sum(self, indices: Tensor, size: int) -> Tensor:
        reseed(self._generator, self._seed)
        total = torch.zeros((), dtype=torch.float64, device=indices.device)
        for chunk in indices.split(max(size // self._pieces.count, 1), dim=-1):
            with self._runtime.autocast:
                terms = self._loss(self._source.take(chunk), self._generator)
            total = total + chunk.shape[-1] * reduce(add, terms.values()).double()
        return total


def _ones(tensor: Tensor, other: Tensor) -> list[int]:
    """Return the sizes that let the other tensor broadcast from the first dimension on."""
    return [1] * (tensor.dim() - other.dim())
