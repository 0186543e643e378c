"""Scores of predictive distributions on test rows."""

from typing import Any

import numpy as np

LEVEL = 0.9


def scores(predictive: Any, y: np.ndarray, step: float) -> dict[str, float]:
    """Return the means of all scores over test targets ``(n,)``.

    ``log_prob`` is of the method's own density. ``log_cell`` is of the density's mean over the
    cell of the target's grid, so that spikes within a cell gain nothing. ``coverage`` counts of
    each target's cell the share of its probability that lies between the levels of the central
    interval: 0.9 for the right distribution, however coarse the grid is.
    """
    log_prob = predictive.log_prob(y)
    log_cell = predictive.log_mass(y, step) - np.log(step)
    lower, upper = predictive.interval(LEVEL).T
    return {
        "log_prob": float(log_prob.mean()),
        "log_cell": float(log_cell.mean()),
        "crps": float(predictive.crps(y).mean()),
        "coverage": float(covered(predictive, y, step).mean()),
        "inclusion": float(((lower <= y) & (y <= upper)).mean()),
        "width": float((upper - lower).mean()),
        "lowest": float(log_prob.min()),
    }


def covered(predictive: Any, y: np.ndarray, step: float) -> np.ndarray:
    """Return the share of each target's cell that the central interval covers, ``(n,)``."""
    below, above = predictive.cdf(np.stack([y - step / 2, y + step / 2], 1)).T
    first, last = 0.5 - LEVEL / 2, 0.5 + LEVEL / 2
    width = np.maximum(above - below, 1e-9)
    share: np.ndarray = np.clip(np.minimum(above, last) - np.maximum(below, first), 0, None) / width
    middle = 0.5 * (below + above)
    inside = (first < middle) & (middle < last)
    return np.where(above - below > 1e-9, share.clip(max=1), inside)


def crps(points: np.ndarray, between: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the continuous ranked probability score of targets ``(n,)``.

    It is the integral of ``(F(u) - 1{u >= y})²`` over u, where F is 0 before the first point, 1
    after the last, and constant between two. For draws as points it is that of the draws.

    Args:
        points: ascending, ``(n, m)``.
        between: the distribution function between two points, ``(n, m - 1)``.
        y: targets.

    Reference: Gneiting and Raftery, *Strictly proper scoring rules*, 2007, equation 20.
    """
    width = np.diff(points, axis=1)
    above = np.clip(points[:, 1:] - y[:, None], 0, width)  # the part of the interval above y
    inside = above * (between - 1) ** 2 + (width - above) * between**2
    beyond = np.maximum(points[:, 0] - y, 0) + np.maximum(y - points[:, -1], 0)
    result: np.ndarray = inside.sum(1) + beyond
    return result
