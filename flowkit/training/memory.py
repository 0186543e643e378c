"""When memory runs out, a batch is computed in pieces."""

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Pieces:
    """How many pieces a batch is computed in: one, until memory runs out.

    Args:
        what: is computed, for the warning.

    Attributes:
        count: the number of pieces; only ever doubled.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.count = 1

    def of(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Cut the numbers of rows, ``(*, batch)``, into pieces of about one size."""
        return (rows,) if self.count == 1 else rows.chunk(self.count, dim=-1)

    def attempt(self, compute: Callable[[], T], rows: int) -> T:
        """Return what ``compute`` returns, once the pieces of ``rows`` rows are small enough."""
        while True:
            try:
                return compute()
            except RuntimeError as error:
                if not is_out_of_memory(error) or self.count >= rows:
                    raise
            # Out of the handler, which kept alive what filled the memory.
            if self.count == 1:
                warnings.warn(
                    f"out of memory: the {rows} rows of {self._what} are computed in pieces from "
                    "here on; the results are the same",
                    stacklevel=2,
                )
            self.count *= 2
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on an accelerator or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
