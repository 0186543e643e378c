"""Scores of a fitted density: functions of arrays, each with its error or its null interval."""

from flowkit.metrics.calibration import Uniformity, ranks, uniformity
from flowkit.metrics.likelihood import Mean, mean, mean_difference
from flowkit.metrics.neighbours import Closeness, closeness
from flowkit.metrics.two_sample import TwoSample, two_sample

__all__ = [
    "Closeness",
    "Mean",
    "TwoSample",
    "Uniformity",
    "closeness",
    "mean",
    "mean_difference",
    "ranks",
    "two_sample",
    "uniformity",
]
