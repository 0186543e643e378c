"""Means and deviations of columns of which not everything is there."""

import numpy as np


def moments(values: np.ndarray, least: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return means and deviations of columns, of what is there; 0 and 1 where nothing is.

    Args:
        values: ``(rows, columns)``, NaN where missing.
        least: no deviation is below it; where it is 0, one of 0 becomes 1.

    Example:
        >>> mean, scale = moments(np.array([[1.0, 5.0, np.nan], [3.0, 5.0, np.nan]]))
        >>> mean.tolist(), scale.tolist()
        ([2.0, 5.0, 0.0], [1.0, 1.0, 1.0])
    """
    mean, scale = np.zeros(values.shape[1]), np.ones(values.shape[1])
    for j, column in enumerate(values.T):
        there = column[~np.isnan(column)]
        if len(there):
            mean[j], scale[j] = there.mean(), max(there.std(), least) or 1.0
    return mean, scale
