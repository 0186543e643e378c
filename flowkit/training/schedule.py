"""Schedules of the learning rate, as factors of the first rate."""

import math
from collections.abc import Callable
from typing import TypeAlias

from flowkit.errors import ArgumentError

Schedule: TypeAlias = Callable[[float], float]


def cosine(fraction: float) -> float:
    """Fall from one to zero along half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * fraction))


def constant(fraction: float) -> float:  # noqa: ARG001
    """Stay at one."""
    return 1.0


SCHEDULES: dict[str, Schedule] = {"cosine": cosine, "constant": constant}


def schedule_named(schedule: str | Schedule) -> Schedule:
    """Return the schedule of that name, or the callable as it is."""
    if callable(schedule):
        return schedule
    if schedule not in SCHEDULES:
        names = " or ".join(map(repr, SCHEDULES))
        raise ArgumentError("schedule", f"{names}, or a callable", repr(schedule))
    return SCHEDULES[schedule]
