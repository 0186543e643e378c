"""What gradient boosting of scikit-learn needs on real tables and busy machines."""

from typing import Any

import numpy as np


def one_thread() -> Any:
    """Return a context in which gradient boosting computes on this thread alone.

    With small trees on busy cores its threads wait for each other, for longer than they compute: a
    hundred times as long where another process has the second core.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="openmp")


def trainable(x: np.ndarray) -> np.ndarray:
    """Return features ``(n, c)`` that gradient boosting takes: columns without any number are 0.

    A tree cannot split on these, so their values never matter.
    """
    empty = np.isnan(x).all(axis=0)
    return np.where(empty, 0.0, x) if empty.any() else x
