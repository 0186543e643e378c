"""The loss of the validation rows."""

from contextlib import AbstractContextManager
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from flowkit.training.memory import Pieces
from flowkit.training.processes import Processes
from flowkit.training.rows import Source
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
        processes: Processes,
        autocast: AbstractContextManager[Any],
        seed: int,
    ) -> None:
        self._loss, self._source, self._rows = loss, source, rows
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

    def _sum(self, rows: Tensor, size: int) -> Tensor:
        reseed(self._generator, self._seed)
        total = torch.zeros((), dtype=torch.float64, device=rows.device)
        for chunk in rows.split(max(size // self._pieces.count, 1), dim=-1):
            with self._autocast:
                terms = self._loss(self._source.take(chunk), self._generator)
            total = total + chunk.shape[-1] * reduce(add, terms.values()).double()
        return total
