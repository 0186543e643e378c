"""Options of a fit, the same for every model."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from flowkit._checks import check_choice, check_count, check_positive
from flowkit.errors import ArgumentError
from flowkit.training.schedule import Schedule, schedule_named
from flowkit.training.state import State

Progress: TypeAlias = Callable[[int, int, float], object]

# The dtypes of the precisions; with any other precision, a model keeps its dtype.
_DTYPES = {"32": torch.float32, "64": torch.float64}

# Compiling five layers takes half a minute and more, and then saves some milliseconds a step.
_WORTH_COMPILING = 10_000


@dataclass(frozen=True)
class Options:
    """Options that `fit` and `fit_many` share; documented there."""

    steps: int | None = None
    batch_size: int = 512
    learning_rate: float = 1e-3
    schedule: str | Schedule = "cosine"
    clip: float | None = 5.0
    standardize: bool = True
    average: float | None = None
    patience: int | None = None
    validate_every: int | None = None
    precision: str | None = None
    device: str | torch.device = "auto"
    compile: bool | str = False
    progress: bool | Progress | None = None
    callbacks: Sequence[Callable[[State], object]] = ()
    checkpoint: str | os.PathLike[str] | None = None
    checkpoint_every: int = 1_000
    resume: bool = True
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        check_count("batch_size", self.batch_size)
        check_positive("learning_rate", self.learning_rate)
        schedule_named(self.schedule)
        check_count("checkpoint_every", self.checkpoint_every)
        for name in ("steps", "patience", "validate_every"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        for name in ("clip", "max_seconds"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        if self.average is not None and not 0 < self.average < 1:
            raise ArgumentError("average", "a decay between 0 and 1", self.average)
        if self.precision is not None:
            check_choice("precision", self.precision, ("32", "64", "bf16-mixed"))
        if not isinstance(self.standardize, bool):
            raise ArgumentError("standardize", "True or False", repr(self.standardize))
        if self.compile not in (True, False, "auto"):
            raise ArgumentError("compile", "True, False or 'auto'", repr(self.compile))

    @property
    def dtype(self) -> torch.dtype | None:
        """The dtype that model and data are converted to; None: both keep their own."""
        return _DTYPES.get(self.precision or "")

    def total_steps_for(self, n_rows: int) -> int:
        """Return the number of steps: by default 30 epochs, but 1,000 to 20,000 steps."""
        if self.steps is not None:
            return self.steps
        return min(max(30 * n_rows // self.batch_size_for(n_rows), 1_000), 20_000)

    def batch_size_for(self, n_rows: int) -> int:
        """Return the number of rows per step, at most all of them."""
        return min(self.batch_size, n_rows)

    def compiles(self, total_steps: int) -> bool:
        """Whether losses are compiled in a fit of so many steps."""
        return total_steps >= _WORTH_COMPILING if self.compile == "auto" else bool(self.compile)

    def decisive(self) -> dict[str, Any]:
        """Return numbers that decide on the result: a resumed fit must have the same."""
        names = ("learning_rate", "clip", "average", "patience", "validate_every", "precision")
        return {name: getattr(self, name) for name in names}
