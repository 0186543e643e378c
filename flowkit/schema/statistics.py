"""Statistics of columns: moments, weighted quantiles, robust centres and scales."""

from typing import NamedTuple

import numpy as np


class Statistics(NamedTuple):
    """Centre and scale of each column of encoded rows, codes first; ``(J + d,)`` each."""

    center: np.ndarray
    scale: np.ndarray


def moments(values: np.ndarray, least: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return means and standard deviations of columns; 0 and 1 of a column without values.

    Args:
        values: ``(rows, columns)``, NaN where missing.
        least: no deviation is below it; where it is 0, a deviation of 0 becomes 1.

    Example:
        >>> mean, scale = moments(np.array([[1.0, 5.0, np.nan], [3.0, 5.0, np.nan]]))
        >>> mean.tolist(), scale.tolist()
        ([2.0, 5.0, 0.0], [1.0, 1.0, 1.0])
    """
    mean, scale = np.zeros(values.shape[1]), np.ones(values.shape[1])
    for j, column in enumerate(values.T):
        present = column[~np.isnan(column)]
        if len(present):
            mean[j], scale[j] = present.mean(), max(present.std(), least) or 1.0
    return mean, scale


def are_whole(values: np.ndarray) -> bool:
    """Return whether all numbers are whole, and within 2**53."""
    return bool((values == np.round(values)).all() and (np.abs(values) <= 2**53).all())


def weighted_quantiles(x: np.ndarray, w: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return quantiles: the smallest value with at least that share of the weight up to it.

    A row of weight k counts as k equal rows.
    """
    if (w == 1).all():  # values alone are sorted in a tenth of the time
        ordered, cumulative = np.sort(x), np.arange(1.0, len(x) + 1)
    else:
        order = np.argsort(x, kind="stable")
        ordered, cumulative = x[order], np.cumsum(w[order])
    index = np.searchsorted(cumulative, q * cumulative[-1] * (1 - 1e-12))
    quantiles: np.ndarray = ordered[np.minimum(index, len(x) - 1)]
    return quantiles


def median_and_quartiles(x: np.ndarray, w: np.ndarray | None = None) -> tuple[float, float]:
    """Return the median and the distance of the quartiles, 0 where half of the values are equal.

    Args:
        x: values ``(n,)``, at least one.
        w: their weights ``(n,)``; equal ones by default.
    """
    w = np.ones(len(x)) if w is None else w
    low, middle, high = weighted_quantiles(x, w, np.array([0.25, 0.5, 0.75]))
    return float(middle), float(high - low)


def location_and_scale(x: np.ndarray, w: np.ndarray) -> tuple[float, float]:
    """Return a mean and a scale; those of the bulk where a few outliers dominate the variance."""
    mean = float(np.average(x, weights=w))
    spread = float(np.sqrt(np.average((x - mean) ** 2, weights=w)))
    low, middle, high = weighted_quantiles(x, w, np.array([0.05, 0.5, 0.95]))
    bulk = float(high - low) / 3.29  # a normal's standard deviation
    if bulk > 0 and spread > 3 * bulk:
        return float(middle), bulk
    return mean, spread if spread > 1e-12 * (1 + abs(mean)) else 1.0


def asinh_scaled(x: np.ndarray, center: float, scale: float) -> np.ndarray:
    """Return ``asinh((x - center) / scale)``: linear near the centre, logarithmic far from it."""
    scaled: np.ndarray = np.arcsinh((x - center) / scale)
    return scaled
