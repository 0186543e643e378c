"""Quadrature of a density over one column, for many rows at once, to a relative error of 1e-7."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from flowkit.tabular.conditioning.closed import Given
from flowkit.tabular.conditioning.weights import tops
from flowkit.tabular.continuous.fitted_member import FittedMember

# Gauss and Kronrod's rules of 7 and 15 nodes on [-1, 1]; the first are every second of the latter.
_NODES = np.array(
    [
        *(0.991455371120813, 0.949107912342759, 0.864864423359769, 0.741531185599394),
        *(0.586087235467691, 0.405845151377397, 0.207784955007898, 0.0),
    ]
)
_KRONROD = np.array(
    [
        *(0.022935322010529, 0.063092092629979, 0.104790010322250, 0.140653259715525),
        *(0.169004726639267, 0.190350578064785, 0.204432940075298, 0.209482141084728),
    ]
)
_GAUSS = np.array([0.129484966168870, 0.279705391489277, 0.381830050505119, 0.417959183673469])
NODES = np.concatenate([-_NODES, _NODES[-2::-1]])
KRONROD = np.concatenate([_KRONROD, _KRONROD[-2::-1]])
GAUSS = np.zeros(15)
GAUSS[1::2] = np.concatenate([_GAUSS, _GAUSS[-2::-1]])
# Ends of the first panels, in standard deviations of the column.
_EDGES = np.array([-40.0, -8, -3, -1, 1, 3, 8, 40])
_ROUNDS, _TOLERANCE = 40, 1e-7
_AT_ONCE = 200_000
_ROWS = 2_000

LogDensity = Callable[[np.ndarray, np.ndarray], np.ndarray]


def log_integral(
    log_density: LogDensity, low: np.ndarray, high: np.ndarray, edges: np.ndarray = _EDGES
) -> np.ndarray:
    """Return the log-integral of a density of each row from ``low`` to ``high``, ``(n,)``.

    Panels are halved until the difference of the two rules is small beside the row's integral.

    Args:
        log_density: function of indices of rows and points, ``(m,)`` both.
        low: lower ends, ``(n,)``, perhaps ``-inf``.
        high: upper ends.
        edges: ends of the first panels.
    """
    n = len(low)
    inner = np.broadcast_to(edges, (n, len(edges)))
    low, high = np.maximum(low, edges[0]), np.minimum(high, edges[-1])
    ends = np.sort(np.column_stack([low, inner.clip(low[:, None], high[:, None]), high]), axis=1)
    row = np.repeat(np.arange(n), ends.shape[1] - 1)
    a, b = ends[:, :-1].ravel(), ends[:, 1:].ravel()
    row, a, b = (part[b > a] for part in (row, a, b))
    settled = np.full(n, -np.inf)
    for turn in range(_ROUNDS):
        values = _at_nodes(log_density, row, a, b)
        # Halves of a panel may have lower values than the whole, so each turn has its own scale.
        top = tops(values.max(1), row, n)
        scaled = np.exp(values - top[row, None]) * (0.5 * (b - a))[:, None]
        fine, coarse = scaled @ KRONROD, scaled @ GAUSS
        with np.errstate(divide="ignore"):
            total = np.logaddexp(settled, np.log(np.bincount(row, fine, n)) + top)
            error = np.log(np.abs(fine - coarse)) + top[row]
        is_open = error > total[row] + np.log(_TOLERANCE / 10)
        is_open &= turn < _ROUNDS - 1
        with np.errstate(divide="ignore"):
            done = np.log(np.bincount(row[~is_open], fine[~is_open], n)) + top
        settled = np.logaddexp(settled, done)
        if not is_open.any():
            break
        middle = 0.5 * (a[is_open] + b[is_open])
        row = np.repeat(row[is_open], 2)
        a, b = (
            np.column_stack(ends).ravel() for ends in ((a[is_open], middle), (middle, b[is_open]))
        )
    return settled


def _at_nodes(log_density: LogDensity, row: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the log-density at the nodes of panels, ``(panels, 15)``."""
    points = 0.5 * (a + b)[:, None] + 0.5 * (b - a)[:, None] * NODES
    rows, flat = np.repeat(row, len(NODES)), points.ravel()
    parts = [
        log_density(rows[i : i + _AT_ONCE], flat[i : i + _AT_ONCE])
        for i in range(0, len(flat), _AT_ONCE)
    ]
    found = np.concatenate([np.zeros(0), *parts]).reshape(points.shape)
    return np.where(np.isnan(found), -np.inf, found)


@torch.no_grad()
def log_marginal(fitted: FittedMember, given: Given, hidden: np.ndarray) -> np.ndarray:
    """Return a member's log-density of rows with one entry integrated out, ``(n,)``.

    The integral is taken in the column's standardised coordinate, in which the density is smooth.

    Args:
        fitted: the member.
        given: the rows; the hidden entry may have a range.
        hidden: the column of each row that is integrated out, ``(n,)``.
    """
    parts = [np.zeros(0)]
    for start in range(0, len(hidden), _ROWS):
        some = slice(start, start + _ROWS)
        parts.append(_log_marginal(fitted, given.take(some), hidden[some]))
    return np.concatenate(parts)


def _log_marginal(fitted: FittedMember, given: Given, hidden: np.ndarray) -> np.ndarray:
    n, map_ = len(hidden), fitted.standardiser
    y, log_slope = torch.from_numpy(given.values), torch.zeros(n).double()
    at = np.arange(n)
    ends = [np.full(n, -np.inf), np.full(n, np.inf)]
    for k, end in enumerate((given.low, given.high)):
        image = torch.from_numpy(end)
        if map_ is not None:
            image = map_.marginals.map(torch.where(image.isinf(), torch.nan, image))[0]
        own = np.where(np.isinf(end), end, image.numpy())[at, hidden]
        ends[k] = np.where(np.isnan(own), ends[k], own)
    if map_ is not None:
        y, log_slope = map_.marginals.map_present(y)
    context = None if given.context is None else torch.from_numpy(given.context).double()

    def log_density(rows: np.ndarray, points: np.ndarray) -> np.ndarray:
        x = y[rows]
        x[torch.arange(len(rows)), torch.from_numpy(hidden[rows])] = torch.from_numpy(points)
        c = None if context is None else context[rows]
        slope: Tensor | float = 0.0
        if map_ is not None and map_.residuals is not None:
            x, slope = map_.residuals(x, c)
        found: np.ndarray = (fitted.member.log_prob(x, c) + slope).numpy()
        return found

    circle = np.asarray(fitted.member.circular)[hidden]
    ends[0] = np.where(circle & np.isinf(ends[0]), -np.pi, ends[0])
    ends[1] = np.where(circle & np.isinf(ends[1]), np.pi, ends[1])
    integral: np.ndarray = log_integral(log_density, *ends) + log_slope.numpy()
    return integral
