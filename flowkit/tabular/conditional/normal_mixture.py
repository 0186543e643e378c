"""Mixtures of normal distributions on the line, one for each row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr, logsumexp, ndtr, ndtri

_HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)
# Within so small a share of a component's scale, its density is constant to 1e-8.
_THIN = 1e-4
# Numbers of a block of work: rows x components.
_BLOCK = 2_000_000
_NODES = 32
# Least share of the variance of a component that an average of models keeps.
_LEAST_SHARE = 0.25


@dataclass(frozen=True)
class NormalMixture:
    """One mixture of normal distributions per row.

    Args:
        weights: ``(n, K)``, rows sum to 1.
        means: ``(n, K)``.
        scales: standard deviations, ``(n, K)``, positive.

    Example:
        >>> one = NormalMixture(np.ones((1, 1)), np.zeros((1, 1)), np.ones((1, 1)))
        >>> one.cdf(np.zeros(1))
        array([0.5])
    """

    weights: np.ndarray
    means: np.ndarray
    scales: np.ndarray

    def __len__(self) -> int:
        return len(self.weights)

    def take(self, rows: np.ndarray | slice) -> "NormalMixture":
        """Return the mixtures of some rows."""
        return NormalMixture(self.weights[rows], self.means[rows], self.scales[rows])

    def log_prob(self, t: np.ndarray) -> np.ndarray:
        """Return the log-density of each row's own value, ``(n,)``."""
        u = (t[:, None] - self.means) / self.scales
        terms = -0.5 * u * u - np.log(self.scales) - _HALF_LOG_2PI
        result: np.ndarray = logsumexp(terms, b=self.weights, axis=1)
        return result

    def log_mass(self, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
        """Return the log-probability of each row's own interval, ``(n,)``; bounds may be infinite.

        It is accurate far in the tails and for intervals much narrower than a component.
        """
        a = (lower[:, None] - self.means) / self.scales
        b = (upper[:, None] - self.means) / self.scales
        # Both bounds on the side where the distribution function is small and exact.
        flip = a > 0
        a, b = np.where(flip, -b, a), np.where(flip, -a, b)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_upper = log_ndtr(b)
            between = log_upper + np.log1p(-np.exp(np.minimum(log_ndtr(a) - log_upper, 0.0)))
            middle, width = 0.5 * (a + b), b - a
            thin = -0.5 * middle * middle - _HALF_LOG_2PI + np.log(width)
        terms = np.where(width < _THIN, thin, between)
        terms[np.isnan(terms)] = -np.inf
        result: np.ndarray = logsumexp(terms, b=self.weights, axis=1)
        return result

    def cdf(self, t: np.ndarray) -> np.ndarray:
        """Return the distribution function at ``(n,)``, or at ``(n, m)`` points of each row."""
        points = t if t.ndim == 2 else t[:, None]
        result = np.empty(points.shape)
        size = max(_BLOCK // (points.shape[1] * self.weights.shape[1]), 1)
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            u = (points[rows, :, None] - self.means[rows, None]) / self.scales[rows, None]
            result[rows] = np.einsum("nmk,nk->nm", ndtr(u), self.weights[rows])
        return result if t.ndim == 2 else result[:, 0]

    def density(self, t: np.ndarray) -> np.ndarray:
        """Return the density at ``(n, m)`` points of each row."""
        result = np.empty(t.shape)
        size = max(_BLOCK // (t.shape[1] * self.weights.shape[1]), 1)
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            u = (t[rows, :, None] - self.means[rows, None]) / self.scales[rows, None]
            heights = self.weights[rows] / self.scales[rows] / np.sqrt(2 * np.pi)
            result[rows] = np.einsum("nmk,nk->nm", np.exp(-0.5 * u * u), heights)
        return result

    def quantile(self, q: np.ndarray) -> np.ndarray:
        """Return the quantiles of ``(n, m)`` probabilities within (0, 1), ``(n, m)``.

        Bisection, between the smallest and the largest quantile of a component, and Newton's
        method once a step of it stays within the bracket.
        """
        z = ndtri(q)[:, :, None]
        result = np.empty(q.shape)
        size = max(_BLOCK // (q.shape[1] * self.weights.shape[1]), 1)
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            part = self.take(rows)
            # Components of hardly any weight would only widen the bracket.
            ends = part.means[:, None] + part.scales[:, None] * z[rows]
            low, high = ends.min(2), ends.max(2)
            t = 0.5 * (low + high)
            for _ in range(100):
                error = part.cdf(t) - q[rows]
                low, high = np.where(error < 0, t, low), np.where(error < 0, high, t)
                with np.errstate(divide="ignore", invalid="ignore"):
                    newton = t - error / part.density(t)
                inside = (newton > low) & (newton < high)
                new = np.where(inside, newton, 0.5 * (low + high))
                done = np.abs(new - t) <= 1e-12 * (1 + np.abs(t))
                t = new
                if done.all():
                    break
            result[rows] = t
        return result

    def mean(self) -> np.ndarray:
        """Return the mean of each row, ``(n,)``."""
        result: np.ndarray = (self.weights * self.means).sum(1)
        return result

    def variance(self) -> np.ndarray:
        """Return the variance of each row, ``(n,)``."""
        apart = self.means - self.mean()[:, None]
        result: np.ndarray = (self.weights * (self.scales**2 + apart**2)).sum(1)
        return result

    def expectation(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return the expectation of a smooth function of values, ``(n,)``.

        Gauss-Hermite quadrature in each component: exact for polynomials of degree 63.

        Args:
            function: of an array of any shape, for each number by itself.
        """
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        weights = weights / weights.sum()
        result = np.empty(len(self))
        size = max(_BLOCK // (_NODES * self.weights.shape[1]), 1)
        for start in range(0, len(self), size):
            part = self.take(slice(start, start + size))
            values = function(part.means[:, :, None] + part.scales[:, :, None] * nodes)
            result[start : start + size] = np.einsum("nkj,nk,j->n", values, part.weights, weights)
        return result

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Draw one value for each row, ``(n,)``."""
        chosen = drawn_columns(self.weights, rng)
        rows = np.arange(len(self))
        noise = rng.standard_normal(len(self))
        drawn: np.ndarray = self.means[rows, chosen] + self.scales[rows, chosen] * noise
        return drawn

    def spread(self, factor: float | np.ndarray) -> "NormalMixture":
        """Return the mixtures with the scales of their components times a factor, or ``(n,)``."""
        return NormalMixture(self.weights, self.means, np.reshape(factor, (-1, 1)) * self.scales)

    def within(self, low: float, high: float) -> "NormalMixture":
        """Return the mixtures with no component further beyond an interval than its length.

        Nor is a component wider than that. An interval shorter than 1 counts as 1.
        """
        length = max(high - low, 1.0)
        means = np.clip(self.means, low - length, high + length)
        return NormalMixture(self.weights, means, np.minimum(self.scales, length))

    def wrapped(self, period: float) -> "NormalMixture":
        """Return the mixtures with their components repeated three periods below and above.

        On one period this is the density of wrapped normals whose scales are below the period.
        """
        turns = range(-3, 4)
        means = [self.means + turn * period for turn in turns]
        weights, scales = (np.tile(a, (1, len(turns))) for a in (self.weights, self.scales))
        return NormalMixture(weights, np.concatenate(means, 1), scales)


def drawn_columns(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a column drawn by its weight for each row of weights ``(n, K)``, ``(n,)``."""
    total = weights.cumsum(1)
    u = rng.random(len(weights)) * total[:, -1]
    drawn: np.ndarray = (u[:, None] >= total).sum(1).clip(max=weights.shape[1] - 1)
    return drawn


def averaged(mixtures: Sequence[NormalMixture]) -> NormalMixture:
    """Return the equal mixture of models of the same rows, with narrower components.

    The squared error of the models' mean is less than their own mean squared error: by the
    variance B between their means. This holds for any target. But a mixture of models has B added
    to their mean variance W. So the scales of all components are times the root of
    ``(W - B) / (W + B)``. Components stay where they are: each may be a mode of its own.

    Reference: Krogh and Vedelsby, *Neural network ensembles, cross validation, and active
    learning*, 1995, equation 6.
    """
    mixture = pooled(mixtures, [1 / len(mixtures)] * len(mixtures))
    means = np.stack([m.mean() for m in mixtures])
    within = np.mean([m.variance() for m in mixtures], axis=0)
    between = means.var(0)
    return mixture.spread(narrowing(within + between, within - between))


def narrowing(variance: np.ndarray, less: np.ndarray) -> np.ndarray:
    """Return the factor of scales that makes variances ``(n,)`` less: at least a half."""
    factor: np.ndarray = np.sqrt(np.maximum(less / variance, _LEAST_SHARE))
    return factor


def concatenated(mixtures: Sequence[NormalMixture]) -> NormalMixture:
    """Return the mixtures of the rows of all, one after the other."""
    return NormalMixture(
        np.concatenate([m.weights for m in mixtures]),
        np.concatenate([m.means for m in mixtures]),
        np.concatenate([m.scales for m in mixtures]),
    )


def pooled(mixtures: Sequence[NormalMixture], shares: Sequence[float]) -> NormalMixture:
    """Return the mixture of mixtures of the same rows."""
    return NormalMixture(
        np.concatenate([s * m.weights for s, m in zip(shares, mixtures, strict=True)], 1),
        np.concatenate([m.means for m in mixtures], 1),
        np.concatenate([m.scales for m in mixtures], 1),
    )
