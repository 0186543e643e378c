"""Batches in pieces, where memory does not suffice for all rows at once."""

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Pieces:
    """The number of pieces that a batch is computed in: one, until memory runs out.

    Args:
        what: name of the computation, for the warning.

    Attributes:
        count: the number of pieces; only ever doubled.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.count = 1

    def of(self, indices: Tensor) -> tuple[Tensor, ...]:
        """Cut indices, ``(*, batch)``, into pieces of about one size."""
        return (indices,) if self.count == 1 else indices.chunk(self.count, dim=-1)

    def attempt(self, compute: Callable[[], T], n_rows: int) -> T:
        """Return the result of ``compute``, once the pieces of ``n_rows`` are small enough."""
        while True:
            try:
                return compute()
            except RuntimeError as error:
                if not is_out_of_memory(error) or self.count >= n_rows:
                    raise
            # Outside of the handler, which keeps the tensors alive that filled the memory.
            if self.count == 1:
                warnings.warn(
                    f"out of memory: the {n_rows} rows of {self._what} are computed in pieces from "
                    "here on; the results are the same",
                    stacklevel=2,
                )
            self.count *= 2
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out, on an accelerator or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
