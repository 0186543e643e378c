"""Sums and draws over weighted entries that belong to rows."""

import numpy as np
import torch

from flowkit.tabular.validation import seed_of


def log_sums(log_weight: np.ndarray, row: np.ndarray, n: int) -> np.ndarray:
    """Return the log of the sum of the weights of each row, ``(n,)``.

    Args:
        log_weight: ``(P,)``.
        row: the row of each, ``(P,)``.
        n: number of rows.
    """
    top = tops(log_weight, row, n)
    with np.errstate(divide="ignore"):
        sums = np.log(np.bincount(row, np.exp(log_weight - top[row]), n))
    return np.asarray(sums + top)


def tops(log_weight: np.ndarray, row: np.ndarray, n: int) -> np.ndarray:
    """Return the largest log-weight of each row, 0 where all are ``-inf``."""
    top = np.full(n, -np.inf)
    np.maximum.at(top, row, log_weight)
    return np.where(np.isfinite(top), top, 0.0)


def chosen(
    log_weight: np.ndarray, row: np.ndarray, n: int, draws: int, generator: torch.Generator
) -> np.ndarray:
    """Return indices of entries drawn by weight, ``draws`` of each row, ``(n * draws,)``.

    The draws of a row are systematic: an entry of weight w is drawn ``w * draws`` times, rounded
    up or down.

    Args:
        log_weight: ``(P,)``.
        row: the row of each, ascending; each row has one at least.
        n: number of rows.
        draws: number of draws of each row.
        generator: of the draws.
    """
    weight = np.exp(log_weight - tops(log_weight, row, n)[row])
    total = np.bincount(row, weight, n)
    # Each row on a stretch of length one, so that sums of many rows lose no digits.
    place = np.cumsum(weight / np.where(total > 0, total, 1.0)[row])
    last = np.cumsum(np.bincount(row, minlength=n)) - 1
    start = np.concatenate([[0.0], place[last[:-1]]])
    width = place[last] - start
    first = torch.rand(n, 1, dtype=torch.float64, generator=generator).numpy()
    goals = start[:, None] + width[:, None] * (np.arange(draws) + first) / draws
    at = np.searchsorted(place, goals.ravel(), side="right")
    lowest = np.repeat(np.concatenate([[0], last[:-1] + 1]), draws)
    return np.asarray(at.clip(lowest, np.repeat(last, draws)))


def effective(log_weight: np.ndarray, row: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the relative standard error of the mean weight of each row, and its effective draws.

    Args:
        log_weight: ``(P,)``.
        row: the row of each, ``(P,)``.
        n: number of rows.
    """
    weight = np.exp(log_weight - tops(log_weight, row, n)[row])
    first, second = np.bincount(row, weight, n), np.bincount(row, weight * weight, n)
    share = second / np.maximum(first, 1e-300) ** 2
    number = np.maximum(np.bincount(row, minlength=n), 1)
    return np.sqrt(np.maximum(share - 1 / number, 0.0)), 1 / np.maximum(share, 1e-300)


def generator_of(random_state: int | np.random.RandomState | None) -> torch.Generator:
    """Return a generator of a seed; by default of another one each time."""
    return torch.Generator().manual_seed(seed_of(random_state))
