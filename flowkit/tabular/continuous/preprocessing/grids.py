"""Rounding grids: columns whose values lie on a grid, found by leave-one-out and smoothed.

Rounded values, prices and repeated settings have a density that is a comb of narrow boxes, even
after noise of the rounding's width. A histogram on the grid resolves the comb; a smooth model does
not. Let ``r`` be the ratio of the histogram's density to the same density smoothed. The map
``y(t) = ∫ r dt`` is piecewise linear, stays close to the identity, and gives ``y`` the smooth
density: the comb is in the log-derivative.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_BANDWIDTH = 0.3  # of the smoothing, in standard deviations
_MANTISSAS = (1.0, 2.0, 2.5, 5.0)
_DECADES = 7
_STRENGTHS = (3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4)
_DISCOUNTS = (0.0, 0.5, 0.9)
# A grid must gain this per row, and this in all, leave-one-out, to be believed: many are tried,
# and the best of many finds some gain in any rows.
_LEAST_MEAN_GAIN, _LEAST_GAIN = 0.02, 25.0
# If there are more rows, so many at random are searched first. The gain per row of a comb rises
# with the number of rows, so that half of the gain suffices there.
_SCREENING_ROWS = 50_000
_SCREENING_SHARE = 0.5


class RoundingGrid(NamedTuple):
    """Knots of the piecewise linear map: ``edges`` to ``images``, increasing both."""

    edges: np.ndarray
    images: np.ndarray
    gain: float


class _Cells(NamedTuple):
    """The occupied cells of one grid."""

    low: np.ndarray
    high: np.ndarray
    rows: np.ndarray
    smooth: np.ndarray  # mass that the smoothed density gives the cell, and the part that is
    own: np.ndarray  # each of its rows' own


class _Found(NamedTuple):
    """The best grid of some rows, with its leave-one-out gain in nats and the law of its masses."""

    gain: float
    width: float
    cells: _Cells
    strength: float
    discount: float


def find_grid(
    x: np.ndarray,
    w: np.ndarray,
    bend: Callable[[np.ndarray], np.ndarray],
    spread: float,
) -> RoundingGrid | None:
    """Return the map for a column, or None if there is no grid that pays.

    Grids are the decimal ones, cells ``[k g, (k + 1) g)`` or centred on ``k g``, with g no finer
    than the finest difference between two values where values repeat exactly: a rounding has a
    width. The cells' masses are those of a Pitman-Yor process around the smoothed density, its
    strength and discount chosen by the leave-one-out score. Only levels seen at least twice are
    kept, and no more of them than a third of the rows.

    Of more than 50,000 values, 50,000 at random show first whether there is a grid at all, and how
    wide its cells are at most. A grid itself is always that of all values.

    Args:
        x: the values, ``(n,)``.
        w: their weights.
        bend: the smooth map that comes before, increasing.
        spread: standard deviation of ``bend(x)``.
    """
    widest = np.inf
    if len(x) > _SCREENING_ROWS:
        some = np.random.default_rng(0).choice(len(x), _SCREENING_ROWS, replace=False)
        screened = _best_grid(x[some], w[some], bend, spread, widest)
        least = _SCREENING_SHARE * _LEAST_MEAN_GAIN * float(w[some].sum())
        if screened is None or screened.gain < least:
            return None
        widest = screened.width  # more rows favour no wider cells
    found = _best_grid(x, w, bend, spread, widest)
    total = float(w.sum())
    if found is None or found.gain < max(_LEAST_MEAN_GAIN * total, _LEAST_GAIN):
        return None
    return _grid(found.cells, found.strength, found.discount, total=total, gain=found.gain / total)


def _best_grid(
    x: np.ndarray,
    w: np.ndarray,
    bend: Callable[[np.ndarray], np.ndarray],
    spread: float,
    widest: float,
) -> _Found | None:
    """Return the grid of the largest gain with cells no wider than ``widest``, if there is any."""
    # Sorted once, the rows of a cell of any grid stand next to each other.
    order = np.argsort(x, kind="stable")
    x, w = x[order], w[order]
    reach = float(x[-1] - x[0])
    gaps = np.diff(x)
    distinct = gaps > 0
    n_distinct = 1 + np.count_nonzero(distinct)
    if n_distinct < 8 or not 0 < reach < 1e200:
        return None
    floor = float(gaps[distinct].min()) * (1 - 1e-6) if n_distinct < len(x) else 0.0
    floor = max(floor, 1e-13 * float(max(-x[0], x[-1])))
    top = math.floor(math.log10(reach))
    best: _Found | None = None
    total = float(w.sum())
    for decade in range(top - _DECADES, top + 1):
        for mantissa in _MANTISSAS:
            g = mantissa * 10.0**decade
            if g < floor or g > widest or reach / g < 12:
                continue
            for phase in (0.0, 0.5):
                cells = _cells(x, w, g, phase, bend, spread)
                if cells is None:
                    continue
                gain, strength, discount = _best_prior(cells, total)
                if best is None or gain > best.gain:
                    best = _Found(gain, g, cells, strength, discount)
    return best


def _cells(
    x: np.ndarray,
    w: np.ndarray,
    g: float,
    phase: float,
    bend: Callable[[np.ndarray], np.ndarray],
    spread: float,
) -> _Cells | None:
    """Return the occupied cells of sorted values, or None if they are no comb."""
    key = np.floor(x / g + phase + 1e-9)
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    unique, rows = key[starts], np.diff(starts, append=len(x))
    if rows[rows > 1].sum() < 0.02 * len(x) or (rows > 1).sum() > len(x) / 3:
        return None
    count = np.add.reduceat(w, starts)
    low, high = bend((unique - phase) * g), bend((unique + 1 - phase) * g)
    length = np.maximum(high - low, 1e-300)
    middle = (low + high) / 2
    h = _BANDWIDTH * spread
    smooth, peak = _smoothed(middle, count, h)
    return _Cells(low, high, count, smooth * length, peak * length / float(w.sum()))


def _smoothed(points: np.ndarray, count: np.ndarray, h: float) -> tuple[np.ndarray, float]:
    """Return a Gaussian kernel estimate at the points, by binning, and the kernel's peak."""
    step = h / 5
    # Far outliers would need a grid without end; they are no comb, and share its last bins.
    low = max(points.min(), np.median(points) - 2_000 * h)
    high = min(points.max(), np.median(points) + 2_000 * h)
    bins = int((high - low) / step) + 60
    place = np.clip((points - low) / step, 0, (high - low) / step) + 29
    index = place.astype(int)
    part = place - index
    mass = np.bincount(index, count * (1 - part), bins) + np.bincount(index + 1, count * part, bins)
    kernel = np.exp(-0.5 * (np.arange(-25, 26) / 5) ** 2)
    kernel /= kernel.sum() * step
    density = np.convolve(mass, kernel, "same") / count.sum()
    return np.interp(place, np.arange(bins), density), float(kernel.max())


def _best_prior(cells: _Cells, total: float) -> tuple[float, float, float]:
    """Return the best leave-one-out gain over the smooth density, with strength and discount."""
    smooth = np.maximum(cells.smooth - cells.own, 1e-300) * total / max(total - 1, 1)
    best = (-math.inf, 0.0, 0.0)
    for discount in _DISCOUNTS:
        others = np.maximum(cells.rows - 1 - discount, 0)
        for strength in _STRENGTHS:
            prior = strength + discount * len(others)
            mass = (others + prior * smooth) / (total - 1 + prior)
            gain = float((cells.rows * np.log(mass / smooth)).sum())
            if gain > best[0]:
                best = gain, strength, discount
    return best


def _grid(
    cells: _Cells, strength: float, discount: float, *, total: float, gain: float
) -> RoundingGrid:
    prior = strength + discount * len(cells.rows)
    background = prior / (total + prior)
    kept = cells.rows > 1.5
    ratio = np.maximum(cells.rows - discount, 0) / (total + prior) / cells.smooth + background
    low, high, ratio = cells.low[kept], cells.high[kept], ratio[kept]
    edges = np.column_stack([low, high]).ravel()
    slopes = np.column_stack([ratio, np.full_like(ratio, background)]).ravel()[:-1]
    # Neighbours share an edge but for its last digits.
    widths = np.maximum(np.diff(edges), 0)
    edges = edges[0] + np.concatenate([[0.0], np.cumsum(widths)])
    images = edges[0] + np.concatenate([[0.0], np.cumsum(widths * slopes)])
    distinct = np.concatenate([[True], np.diff(edges) > 0])
    return RoundingGrid(edges[distinct], images[distinct], gain)
