"""Settings of one fit of a table: made once, and handed down whole."""

from collections.abc import Callable
from dataclasses import dataclass

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

    def stopped(self) -> bool:
        """Return whether the fit is to end early."""
        return self.stop is not None and self.stop()
