"""Importance weights: effective sample size, Pareto smoothing and tail index."""

import math
from typing import NamedTuple

import numpy as np

from flowkit.errors import ShapeError

_FEWEST = 25  # weights that a tail can be fitted to
_ROUNDING = 1e-5  # rounding of float32 log-densities: weights that differ by less count as equal


class Smoothed(NamedTuple):
    """Importance weights with a smoothed tail.

    Attributes:
        log_weights: normalised log-weights, ``(n,)``; their exponentials sum to 1.
        pareto_k: shape of the generalised Pareto distribution of the largest weights. Below 0.5 the
            variance is finite; up to 0.7 estimates are reliable; above, the proposal misses mass.
    """

    log_weights: np.ndarray
    pareto_k: float


def effective_samples(log_weights: np.ndarray) -> float:
    """Return the effective sample size ``(sum w)² / sum w²`` of log-weights ``(n,)``.

    Example:
        >>> round(effective_samples(np.log([1.0, 1.0, 2.0])), 4)
        2.6667
    """
    w = np.exp(log_weights - log_weights.max())
    return float(w.sum() ** 2 / np.square(w).sum())


def psis(log_weights: np.ndarray) -> Smoothed:
    """Smooth the tail of importance weights by a generalised Pareto distribution (PSIS).

    The largest ``min(n / 5, 3 sqrt(n))`` weights are replaced by quantiles of the distribution
    fitted to these weights, truncated at the largest weight.

    Args:
        log_weights: ``(n,)``, unnormalised.

    Raises:
        ShapeError: fewer than 25 weights.

    Reference: Vehtari, Simpson, Gelman, Yao and Gabry, *Pareto smoothed importance sampling*, 2015
    (2024), algorithm 1 and section 2.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> psis(0.3 * rng.normal(size=10_000)).pareto_k < 0.5
        True
        >>> psis(np.log(rng.pareto(1.0, size=10_000))).pareto_k > 0.7
        True
    """
    x = np.asarray(log_weights, dtype=np.float64)
    if x.ndim != 1 or len(x) < _FEWEST:
        raise ShapeError("log_weights", f"at least {_FEWEST} numbers (n,)", x.shape)
    x = x - x.max()
    n = len(x)
    tail = math.ceil(min(0.2 * n, 3 * math.sqrt(n)))
    order = np.argsort(x)
    largest, cut = order[-tail:], x[order[-tail - 1]]
    excess = np.exp(x[largest]) - math.exp(cut)
    smoothed = x.copy()
    k = math.inf
    if excess[-1] > _ROUNDING and np.ptp(excess) > 0:
        k, scale = generalised_pareto(excess)
        p = (np.arange(tail) + 0.5) / tail
        with np.errstate(over="ignore"):  # quantiles are truncated at the largest weight
            quantiles = scale * np.expm1(-k * np.log1p(-p)) / k if k else -scale * np.log1p(-p)
        smoothed[largest] = np.minimum(np.log(quantiles + math.exp(cut)), 0.0)
    elif excess[-1] <= _ROUNDING:
        k = -math.inf  # equal weights have no tail
    total = math.log(np.exp(smoothed).sum())
    return Smoothed(smoothed - total, float(k))


def generalised_pareto(excess: np.ndarray) -> tuple[float, float]:
    """Fit shape k and scale of a generalised Pareto distribution to ascending excesses ``(m,)``.

    The estimate is the mean of the profile posterior; a weak prior shrinks k towards 0.5.

    Reference: Zhang and Stephens, *A new and efficient estimation method for the generalized Pareto
    distribution*, 2009, section 4; Vehtari et al., 2015, appendix C, for the weak prior.

    Example:
        >>> u = (np.arange(5000) + 0.5) / 5000
        >>> k, scale = generalised_pareto(2 * np.expm1(-0.3 * np.log1p(-u)) / 0.3)
        >>> round(k, 2), round(scale, 1)
        (0.3, 2.0)
    """
    m = len(excess)
    grid = 30 + int(math.sqrt(m))
    quartile = max(excess[int(m / 4 + 0.5) - 1], 1e-9 * excess[-1])
    b = 1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))
    b = b / (3 * quartile) + 1 / excess[-1]
    shape = np.log1p(-b[:, None] * excess).mean(1)
    profile = m * (np.log(-b / shape) - shape - 1)
    weight = np.exp(profile - profile.max())
    weight /= weight.sum()
    b_mean = float((b * weight).sum())
    k = float(np.log1p(-b_mean * excess).mean())
    scale = -k / b_mean
    return (m * k + 5) / (m + 10), scale
