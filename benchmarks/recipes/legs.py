"""Training for a budget of processor time, in legs that end with a checkpoint."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from flowkit.training import History, fit

CORES = 2  # that a minute of the budget is a minute of
_LEG = 10.0  # minutes of the clock on the wall between two checkpoints
_STEPS = 1_000_000  # more than any budget
_VALIDATE_EVERY = 1_000  # steps, where an epoch is longer


class Trained(NamedTuple):
    """A trained model with its history.

    Attributes:
        model: the model, with the weights of the best validation score.
        history: history of all legs.
        minutes: used minutes of two cores.
        epoch: number of steps in an epoch.
    """

    model: nn.Module
    history: History
    minutes: float
    epoch: float

    def notes(self) -> dict[str, Any]:
        """Return the notes of a row, as a JSON document."""
        return {
            "minutes": self.minutes,
            "epochs": len(self.history.loss) / self.epoch,
            "best_step": self.history.best_step,
            "ended_by": self.history.stopped,
            "curve": [(step, -loss) for step, loss in self.history.validation],
        }


def minutes_used() -> float:
    """Return the minutes of two cores that this process has used."""
    return time.process_time() / 60 / CORES


def train(
    make: Callable[[], nn.Module],
    rows: Tensor,
    minutes: float,
    path: Path,
    *,
    batch_size: int,
    steps: int = _STEPS,
    schedule: str = "constant",
    **options: Any,
) -> Trained:
    """Train until the budget is used or the steps are done, resuming from ``path``.

    Args:
        make: returns the initial model, the same at each call.
        rows: training rows.
        minutes: total budget, in minutes of two cores.
        path: path of checkpoint and clock, without suffix; interrupted legs are repeated.
        batch_size: rows per step.
        steps: maximum number of steps; by default more than any budget.
        schedule: schedule of the learning rate over these steps.
        options: options of `flowkit.training.fit`.
    """
    clock = path.with_suffix(".minutes")
    past = float(clock.read_text()) if clock.exists() else 0.0
    epoch = len(rows) / batch_size
    while True:
        begin = minutes_used()
        model = make()
        leg = min((minutes - past) * CORES / torch.get_num_threads(), _LEG)
        history = fit(
            model,
            rows,
            steps=steps,
            batch_size=batch_size,
            schedule=schedule,
            average=0.999,
            standardize=False,  # the preprocessing is the papers', and nothing beside it
            validate_every=max(min(int(epoch), _VALIDATE_EVERY), 1),
            max_seconds=max(60 * leg, 0.001),
            checkpoint=path.with_suffix(".safetensors"),
            checkpoint_every=_STEPS,  # a leg ends with one
            progress=False,
            **options,
        )
        past += minutes_used() - begin
        clock.write_text(str(past))
        if past >= minutes or history.stopped != "max_seconds":
            return Trained(model, history, past, epoch)
