"""Coordinates: rows of any table as points, for distances and classifiers."""

import numpy as np

from flowkit.schema import Encoded, Schema, Statistics
from flowkit.schema.statistics import median_and_quartiles

# Number of categories with an indicator coordinate; codes are ordered by frequency.
_CATEGORIES = 15


class Coordinates:
    """A map from encoded rows to points with coordinates of comparable scale.

    Numbers are centred at the median, divided by the interquartile range, and transformed by asinh,
    which limits the influence of outliers. The map is injective: rows with equal points are equal.

    Args:
        schema: schema of the rows.
        reference: rows from which medians and quartiles are computed.

    Attributes:
        columns: name of the column of each coordinate.
    """

    def __init__(self, schema: Schema, reference: Encoded) -> None:
        self.schema = schema
        self.columns: list[str] = []
        numbers = np.concatenate([reference.codes, reference.values], axis=1)
        self._statistics = Statistics(*np.array([_scale(x) for x in numbers.T]).reshape(-1, 2).T)
        for column in schema.discrete:
            one_hot = 0 if column.kind == "integer" else min(column.size, _CATEGORIES)
            self.columns += [column.name] * (1 + one_hot)
        for name, angle in zip(schema.continuous, schema.circular, strict=True):
            self.columns += [name] * (2 if angle else 1)

    def __call__(self, rows: Encoded) -> np.ndarray:
        """Return points ``(n, len(columns))``, NaN where a continuous value is absent."""
        numbers = np.arcsinh(rows.standardised(self._statistics))
        points = []
        for j, column in enumerate(self.schema.discrete):
            code = rows.codes[:, j]
            if column.kind == "integer":
                points.append(numbers[:, j])
                continue
            points.append(code / max(column.size, 1))
            # Rows of different states have a distance of at least 1.
            points += [(code == k) / 2**0.5 for k in range(min(column.size, _CATEGORIES))]
        for j, angle in enumerate(self.schema.circular):
            value = rows.values[:, j]
            if angle:
                points += [np.cos(value), np.sin(value)]
            else:
                points.append(numbers[:, len(self.schema.discrete) + j])
        return np.stack(points, axis=1)


def _scale(x: np.ndarray) -> tuple[float, float]:
    """Return median and interquartile range; if 0, the standard deviation, or 1."""
    x = x[~np.isnan(x)]
    if not len(x):
        return 0.0, 1.0
    middle, quartiles = median_and_quartiles(x)
    return middle, float(quartiles or x.std() or 1.0)
