"""Point masses of a column of numbers: values that several rows share exactly."""

from typing import NamedTuple

import numpy as np

# A value of a continuous distribution never repeats. A value with at least this share of the rows,
# and so many of them, is an atom; fewer repetitions come from rounding.
_ATOM_SHARE = 0.05
_ATOM_ROWS = 10
_ATOM_CONTRAST = 4
# Few levels: so many, each with so many rows in the mean, and so much of the rows on them.
_FEW_LEVELS, _LEVEL_ROWS, _LEVEL_SHARE = 32, 5, 0.95
# A sentinel lies beyond the other values by this multiple of their range; there are at most so
# many on a side, and at least so many other values.
_FAR, _MOST_SENTINELS, _LEAST_LEVELS = 2.0, 3, 8


class Masses(NamedTuple):
    """Point masses of a column.

    Args:
        atoms: the values, in the order of their states.
        levels: whether every row is at one of them.
        sentinels: those far from all other values, with their rows.
    """

    atoms: tuple[float, ...]
    levels: bool
    sentinels: tuple[tuple[float, int], ...]


def point_masses(levels: np.ndarray, counts: np.ndarray, rows: int, *, few: bool = True) -> Masses:
    """Return the point masses of a column of reals or times.

    Point masses are values of many rows, such as zeros and caps; all repeated values where there
    are few; and sentinels, such as -999 for a missing value.

    Args:
        levels: the distinct values, ascending.
        counts: number of rows of each.
        rows: number of rows of the table.
        few: whether repeated values may be point masses because there are few.
    """
    far = sentinels(levels, counts)
    chosen = np.zeros(0, dtype=np.int64)
    if few or len(levels) == 1:
        chosen = few_levels(levels, counts)
    if not len(chosen):
        chosen = _heavy(counts, rows)
    atoms = [float(levels[i]) + 0.0 for i in chosen]  # -0.0 is 0.0
    atoms += [value for value, _ in far if value not in atoms]
    return Masses(tuple(atoms), len(atoms) == len(levels), far)


def sentinels(levels: np.ndarray, counts: np.ndarray) -> tuple[tuple[float, int], ...]:
    """Return values that repeat exactly and lie far from all others, with their rows.

    Far is a distance of twice the range of the others. Ordinary repeated values of a rounded
    column lie amid their neighbours.
    """
    k = len(levels)
    for beyond in range(1, 2 * _MOST_SENTINELS + 1):
        if k - beyond < _LEAST_LEVELS:
            break
        for below in range(max(0, beyond - _MOST_SENTINELS), min(beyond, _MOST_SENTINELS) + 1):
            first, last = below, k - 1 - (beyond - below)
            least = _FAR * (levels[last] - levels[first])
            if first > 0 and levels[first] - levels[first - 1] <= least:
                continue
            if last < k - 1 and levels[last + 1] - levels[last] <= least:
                continue
            ends = [*range(first), *range(last + 1, k)]
            return tuple((float(levels[i]), int(counts[i])) for i in ends if counts[i] >= 2)
    return ()


def few_levels(levels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the indices of the levels of a column of few levels, the frequent first.

    For other columns the result is empty. A few rows may be off the levels.
    """
    chosen = np.flatnonzero(counts >= 2) if len(levels) > 1 else np.zeros(1, dtype=np.int64)
    rows = counts[chosen].sum()
    few = 0 < len(chosen) <= _FEW_LEVELS and rows >= _LEVEL_SHARE * counts.sum()
    if len(levels) > 1 and not (few and rows >= _LEVEL_ROWS * len(chosen)):
        return chosen[:0]
    # The rarest of many levels share a feature.
    ordered: np.ndarray = chosen[np.argsort(-counts[chosen], kind="stable")]
    return ordered


def _heavy(counts: np.ndarray, rows: int) -> np.ndarray:
    """Return the indices of values that have many rows, and whose neighbours have few."""
    heavy = np.flatnonzero((counts >= _ATOM_ROWS) & (counts >= _ATOM_SHARE * rows))
    contrast = [counts[i] >= _ATOM_CONTRAST * _around(counts, int(i)) for i in heavy]
    atoms: np.ndarray = heavy[np.array(contrast, dtype=bool)]
    return atoms


def _around(counts: np.ndarray, i: int) -> float:
    """Return the median number of rows of the neighbouring values."""
    near = np.concatenate([counts[max(i - 4, 0) : i], counts[i + 1 : i + 5]])
    return float(np.median(near))
