"""Rows of continuous columns with their context and weights."""

from typing import NamedTuple

import numpy as np


class Rows(NamedTuple):
    """Rows of continuous columns.

    Attributes:
        values: ``(n, d)`` float64, NaN where absent.
        context: ``(n, c)``, features of the discrete block; None without one.
        weights: ``(n,)``, positive.
    """

    values: np.ndarray
    context: np.ndarray | None
    weights: np.ndarray

    def take(self, chosen: np.ndarray) -> "Rows":
        """Return some of the rows, by index or mask."""
        context = None if self.context is None else self.context[chosen]
        return Rows(self.values[chosen], context, self.weights[chosen])
