"""How a fit runs, whatever it fits."""

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from flowkit._checks import check_choice, check_count, check_positive
from flowkit.errors import ArgumentError
from flowkit.training.fingerprint import digests
from flowkit.training.schedule import Schedule, schedule_named

if TYPE_CHECKING:
    from flowkit.training.loop import State

Progress: TypeAlias = Callable[[int, int, float], object]

# The dtypes that a precision asks for; other precisions leave the model in its own.
DTYPES = {"32": torch.float32, "64": torch.float64}

# Compiling five layers takes half a minute and more, and then saves some milliseconds a step.
_WORTH_COMPILING = 10_000


@dataclass(frozen=True)
class Options:
    """What `fit` and `fit_many` take alike; documented there."""

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
    callbacks: "Sequence[Callable[[State], object]]" = ()
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

    def steps_for(self, rows: int) -> int:
        """Return the number of steps: by default 30 epochs, but 1,000 to 20,000 steps."""
        if self.steps is not None:
            return self.steps
        return min(max(30 * rows // self.batch_for(rows), 1_000), 20_000)

    def batch_for(self, rows: int) -> int:
        """Return the number of rows per step, of which there cannot be more than there are."""
        return min(self.batch_size, rows)

    def compiles(self, steps: int) -> bool:
        """Whether losses are compiled in a fit of so many steps."""
        return steps >= _WORTH_COMPILING if self.compile == "auto" else bool(self.compile)

    def arguments(self) -> dict[str, Any]:
        """Return what decides on the result, as JSON: a resumed fit must have the same."""
        decisive = (
            "learning_rate",
            "clip",
            "average",
            "patience",
            "validate_every",
            "precision",
        )
        values = {name: getattr(self, name) for name in decisive}
        return {**values, "schedule": named(self.schedule)}


def named(value: Any) -> Any:
    """Return a value that JSON can hold, by which a resumed fit tells it from another."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [named(part) for part in value]
    if isinstance(value, Tensor):
        return [str(value.dtype), list(value.shape), digests(value.reshape(-1)).tolist()]
    if isinstance(value, functools.partial):
        keywords = [[name, named(part)] for name, part in sorted(value.keywords.items())]
        return [named(value.func), named(value.args), keywords]
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if is_dataclass(value):
        return repr(value)
    return type(value).__qualname__
