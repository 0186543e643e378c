"""Compiled losses, by ``torch.compile``; uncompiled where there is no compiler."""

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from flowkit.training.memory import is_out_of_memory
from flowkit.training.rows import Batch
from flowkit.training.step import Loss


class Compiled:
    """A loss that is compiled for the one shape of all batches.

    If compiling fails, for want of a compiler or for any other reason, there is one warning, and
    the loss is computed uncompiled.
    """

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self._compiled: Loss | None = torch.compile(loss, dynamic=False)

    def __call__(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Return the terms."""
        if self._compiled is None:
            return self._loss(batch, generator)
        try:
            return self._compiled(batch, generator)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            problem = f"{type(error).__name__}: {error}".splitlines()[0]
        terms = self._loss(batch, generator)  # raises if the loss itself is wrong
        self._compiled = None
        warnings.warn(
            f"the loss is not compiled, but computed as it stands: {problem}", stacklevel=2
        )
        return terms
