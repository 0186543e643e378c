"""Mean log-likelihoods with their standard errors."""

import math
from typing import NamedTuple

import numpy as np

from flowkit.errors import ShapeError


class Mean(NamedTuple):
    """A mean and its standard error; the error is NaN for a single number."""

    value: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.value:+.3f} ± {self.standard_error:.3f}"


def mean(scores: np.ndarray) -> Mean:
    """Return the mean of scores ``(n,)``, in their unit.

    Raises:
        ShapeError: no scores, or not one-dimensional.

    Example:
        >>> print(mean(np.array([1.0, 2.0, 3.0])))
        +2.000 ± 0.577
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or not len(scores):
        raise ShapeError("scores", "shape (n,), n at least 1", scores.shape)
    value = float(scores.mean())
    if not math.isfinite(value) or len(scores) < 2:
        return Mean(value, math.nan)
    return Mean(value, float(scores.std(ddof=1)) / math.sqrt(len(scores)))


def mean_difference(scores: np.ndarray, others: np.ndarray) -> Mean:
    """Return the mean paired difference of two scores of the same rows, ``(n,)`` each.

    Scores of the same row are correlated, so the standard error is often far below that of either
    mean.

    Raises:
        ShapeError: scores and others of different shapes.
    """
    if np.shape(scores) != np.shape(others):
        raise ShapeError("others", f"shape {np.shape(scores)}", np.shape(others))
    return mean(np.asarray(scores) - np.asarray(others))
