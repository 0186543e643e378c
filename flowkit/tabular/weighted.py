"""Statistics of weighted rows, where a weight of k means k equal rows."""

import numpy as np


def weighted_quantiles(x: np.ndarray, w: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return quantiles: the smallest value with at least that share of the weight up to it."""
    order = np.argsort(x, kind="stable")
    cumulative = np.cumsum(w[order])
    index = np.searchsorted(cumulative, q * cumulative[-1] * (1 - 1e-12))
    quantiles: np.ndarray = x[order][np.minimum(index, len(x) - 1)]
    return quantiles
