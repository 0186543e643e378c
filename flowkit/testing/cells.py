"""Cell counts of draws, compared with integrals or sums of the density."""

import itertools
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from torch import Tensor

# Cells per feature, for one and for two features; parts of a cell, and nodes in each part.
_CELLS = {1: 32, 2: 8}
_PARTS, _NODES = 4, 8
# Share of the draws beyond the outermost cells on each side: far tails need too many nodes.
_TAIL = 0.01
# If two quadratures differ by more than this, there is no test.
_UNSETTLED = 0.05
_FEWEST = 10.0
_CHUNK = 65_536

Score = Callable[[Tensor], Tensor]


def quadrature_test(rows: Tensor, log_prob: Score) -> float | None:
    """Return the p-value of counts in cells against integrals of the density.

    The edges of the cells are quantiles of half of the draws; the other half is counted. The
    outside of all cells is one more cell. The difference of two quadratures is not counted as a
    deviation; if this difference is too large, the result is None.

    Args:
        rows: draws ``(n, D)``, of one or two features.
        log_prob: from ``(k, D)`` to ``(k,)``.
    """
    half = len(rows) // 2
    coarse, fine = (_masses(rows[:half], log_prob, parts) for parts in (_PARTS // 2, _PARTS))
    edges = _edges(rows[:half], 1)
    if np.abs(fine - coarse).sum() > _UNSETTLED:
        return None
    counted, _ = np.histogramdd(rows[half:].double().numpy(), edges)
    counted = counted.ravel()
    n = len(rows) - half
    expected = n * np.append(fine, 1 - fine.sum())
    error = n * np.append(np.abs(fine - coarse), np.abs(fine - coarse).sum())
    return _chi_square(np.append(counted, n - counted.sum()), expected, error)


def _edges(rows: Tensor, parts: int) -> list[np.ndarray]:
    """Return the edges of parts of cells, ``(cells * parts + 1,)``, for each feature."""
    shares = np.linspace(_TAIL, 1 - _TAIL, _CELLS[rows.shape[-1]] * parts + 1)
    return [np.quantile(column.double().numpy(), shares) for column in rows.T]


def _masses(rows: Tensor, log_prob: Score, parts: int) -> np.ndarray:
    """Return the integral of the density over each cell, flat."""
    at, weights = np.polynomial.legendre.leggauss(_NODES)
    axes, widths = [], []
    for edge in _edges(rows, parts):
        width = np.diff(edge)
        nodes = edge[:-1, None] + width[:, None] * (at + 1) / 2  # (cells * parts, nodes)
        axes.append(torch.from_numpy(nodes.ravel()).to(rows.dtype))
        widths.append((width[:, None] * weights / 2).reshape(-1, parts * _NODES))
    grid = torch.cartesian_prod(*axes).reshape(-1, len(axes))
    with torch.no_grad():
        density = torch.cat([log_prob(part).double().exp() for part in grid.split(_CHUNK)])
    # (cells, nodes of each) of each feature
    masses = density.numpy().reshape([size for width in widths for size in width.shape])
    for width in reversed(widths):
        masses = np.moveaxis(np.einsum("...cp,cp->...c", masses, width), -1, 0)
    return masses.ravel()


def enumeration_test(rows: Tensor, states: Tensor, log_prob: Score) -> float:
    """Return the p-value of counts of states against their probabilities.

    Args:
        rows: draws ``(n, D)``.
        states: states ``(S, D)``; all other vectors are counted as one more state.
        log_prob: from ``(k, D)`` to ``(k,)``.
    """
    with torch.no_grad():
        parts = [log_prob(part).double().exp() for part in states.split(_CHUNK)]
    probabilities = torch.cat(parts).numpy()
    index = {tuple(state): i for i, state in enumerate(states.tolist())}
    counted = np.zeros(len(states) + 1)
    for row in rows.tolist():
        counted[index.get(tuple(row), len(states))] += 1
    rest = max(1 - probabilities.sum(), 0.0)
    if probabilities.sum() > 1 + 1e-4:
        return 0.0  # the values are not probabilities
    return _chi_square(counted, len(rows) * np.append(probabilities, rest), 1e-9)


def all_states(features: int, levels: int) -> Tensor:
    """Return every vector of levels 0, 1, ..., ``(levels ** features, features)``."""
    return torch.tensor(list(itertools.product(range(levels), repeat=features))).float()


def _chi_square(counted: np.ndarray, expected: np.ndarray, error: np.ndarray | float) -> float:
    """Return the p-value of Pearson's statistic; cells of few expected draws are merged."""
    error = np.broadcast_to(error, expected.shape)
    few = expected < _FEWEST
    if few.any():
        counted, expected, error = (
            np.append(part[~few], part[few].sum()) for part in (counted, expected, error)
        )
    if expected[-1] < _FEWEST and few.any():  # the count of the merged cell is Poisson
        p_rest = float(stats.poisson.sf(counted[-1] - 1, max(expected[-1] + error[-1], 1e-300)))
        counted, expected, error = counted[:-1], expected[:-1], error[:-1]
    else:
        p_rest = 1.0
    deviation = np.maximum(np.abs(counted - expected) - error, 0.0)
    degrees = max(len(expected) - 1, 1)
    p_cells = float(stats.chi2.sf((deviation**2 / expected).sum(), degrees))
    return min(1.0, 2 * min(p_cells, p_rest))
