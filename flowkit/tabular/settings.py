"""Settings of one fit of a table: made once, and handed down whole."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

import flowkit
from flowkit.training import State

Progress = Callable[[str, int, int, str], object]
Stop = Callable[[], bool]

EFFORTS = ("fast", "default", "best")


@dataclass(frozen=True)
class FitSettings:
    """How a density is fitted, whatever the table.

    Args:
        effort: "fast", "default" or "best": the amount of work.
        seed: random seed.
        store_rows: whether the model may keep rows of the table.
        max_seconds: approximate time limit; None for none.
        progress: called with (stage, done, total, message).
        stop: called between steps; True ends the fit with the best model so far.
        device: where flows are trained.
    """

    effort: str = "default"
    seed: int = 0
    store_rows: bool = False
    max_seconds: float | None = None
    progress: Progress | None = None
    stop: Stop | None = None
    device: str = "cpu"

    def report(self, stage: str, done: int, total: int, message: str) -> None:
        """Report progress, where a progress function was passed."""
        if self.progress is not None:
            self.progress(stage, done, total, message)

    def record(self, start: float) -> dict[str, Any]:
        """Return how, when and by which versions a fit was made, for people to read.

        Args:
            start: of the fit, by `time.perf_counter`.
        """
        return {
            "effort": self.effort,
            "seed": self.seed,
            "max_seconds": self.max_seconds,
            "ended_early": self.stopped(),
            "seconds": round(time.perf_counter() - start, 3),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "flowkit": flowkit.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        }

    def callbacks(self) -> tuple[Callable[[State], None], ...]:
        """Return the callbacks of a training run, which end it when the fit is to end early."""

        def callback(state: State) -> None:
            if self.stopped():
                state.stop()

        return () if self.stop is None else (callback,)

    def stopped(self) -> bool:
        """Return whether the fit is to end early."""
        return self.stop is not None and self.stop()
