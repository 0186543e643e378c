"""Predictive distributions of test rows, each of the form that a kind of method returns."""

from collections.abc import Callable

import numpy as np

from flowkit.tabular.conditional.normal_mixture import NormalMixture
from regression.scores import crps

# Levels between which the distribution function is integrated, and parts between two of them.
_LEVELS = np.concatenate([[1e-5, 0.001], np.linspace(0.01, 0.99, 29), [0.999, 1 - 1e-5]])
_PARTS = 8


class Predictive:
    """Distributions of the targets of ``n`` test rows, in the target's own units.

    A subclass defines `log_prob`, `cdf` and `quantiles`. The rest defaults from these.
    """

    def log_prob(self, y: np.ndarray) -> np.ndarray:
        """Return the method's own log-density of targets ``(n,)``."""
        raise NotImplementedError

    def cdf(self, points: np.ndarray) -> np.ndarray:
        """Return the distribution function at points ``(n, m)``."""
        raise NotImplementedError

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Return the quantiles of levels ``(m,)``, ``(n, m)``."""
        raise NotImplementedError

    def log_mass(self, y: np.ndarray, width: float) -> np.ndarray:
        """Return the log-probability of the interval of a width around each target, ``(n,)``."""
        ends = self.cdf(np.column_stack([y - width / 2, y + width / 2]))
        with np.errstate(divide="ignore"):
            return np.log(ends[:, 1] - ends[:, 0])

    def interval(self, level: float) -> np.ndarray:
        """Return the central interval of a probability, ``(n, 2)``."""
        return self.quantiles(np.array([0.5 - level / 2, 0.5 + level / 2]))

    def crps(self, y: np.ndarray) -> np.ndarray:
        """Return the continuous ranked probability score of targets, ``(n,)``."""
        knots = self.quantiles(_LEVELS)
        gaps = np.diff(knots, axis=1)[:, :, None] * (np.arange(_PARTS) / _PARTS)
        inner = (knots[:, :-1, None] + gaps).reshape(len(y), -1)
        points = np.concatenate([inner, knots[:, -1:]], 1)
        # Middles of intervals are right also for a distribution function with jumps at points.
        return crps(points, self.cdf(0.5 * (points[:, 1:] + points[:, :-1])), y)


# A method returns it after a fit.
Prediction = Callable[[], Predictive]


class Mixture(Predictive):
    """A mixture of normal distributions for each row."""

    def __init__(self, mixture: NormalMixture) -> None:
        self.mixture = mixture

    def log_prob(self, y: np.ndarray) -> np.ndarray:
        return self.mixture.log_prob(y)

    def cdf(self, points: np.ndarray) -> np.ndarray:
        return self.mixture.cdf(points)

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        return self.mixture.quantile(np.tile(levels, (len(self.mixture), 1)))

    def log_mass(self, y: np.ndarray, width: float) -> np.ndarray:
        return self.mixture.log_mass(y - width / 2, y + width / 2)


class Draws(Mixture):
    """Draws ``(n, m)`` of each row. The density is a kernel estimate of the draws.

    The kernel is normal, its width Silverman's: 0.9 min(deviation, range of quartiles / 1.34)
    ``m**-0.2``, and at least half a step of the target's grid.
    """

    def __init__(self, draws: np.ndarray, step: float) -> None:
        n, m = draws.shape
        self.draws = np.sort(draws, 1)
        low, high = np.quantile(draws, [0.25, 0.75], axis=1)
        spread = np.minimum(draws.std(1), (high - low) / 1.34)
        spread = np.where(spread > 0, spread, draws.std(1))
        width = np.maximum(0.9 * spread * m**-0.2, step / 2)
        scales = np.repeat(width[:, None], m, 1)
        super().__init__(NormalMixture(np.full((n, m), 1 / m), self.draws, scales))

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        return np.quantile(self.draws, levels, axis=1).T

    def crps(self, y: np.ndarray) -> np.ndarray:
        m = self.draws.shape[1]
        steps = np.broadcast_to(np.arange(1, m) / m, (len(y), m - 1))
        return crps(self.draws, steps, y)


class Quantiles(Predictive):
    """Quantiles ``(n, m)`` of each row: linear distribution functions, exponential tails.

    Crossed quantiles are sorted. Tied quantiles are spread over a share of the target's cell, so
    that their density is the inverse of the step, the most that an honest density has there.
    The scale of a tail is that of its two outermost quantiles, and at least ``least_scale``.
    """

    def __init__(
        self, levels: np.ndarray, values: np.ndarray, step: float, least_scale: float
    ) -> None:
        self.levels = levels
        values = np.sort(values, 1)
        tied = np.diff(values, axis=1) <= 1e-6 * step
        group = np.cumsum(np.column_stack([np.ones(len(values), bool), ~tied]).ravel()) - 1
        q = np.tile(levels, len(values))
        middle = np.bincount(group, q) / np.bincount(group)
        self.x = np.sort(values + step * (q - middle[group]).reshape(values.shape), 1)
        self.x += 1e-9 * step * np.arange(len(levels))
        outer = np.log(np.array([levels[1] / levels[0], (1 - levels[-2]) / (1 - levels[-1])]))
        ends = np.column_stack([self.x[:, 1] - self.x[:, 0], self.x[:, -1] - self.x[:, -2]])
        self.scales = np.maximum(ends / outer, least_scale)

    def log_prob(self, y: np.ndarray) -> np.ndarray:
        rows = np.arange(len(y))
        i = np.clip((self.x <= y[:, None]).sum(1) - 1, 0, len(self.levels) - 2)
        inside = np.log(np.diff(self.levels)[i]) - np.log(self.x[rows, i + 1] - self.x[rows, i])
        below, above = self._tails(y[:, None])
        low, high = np.log(self.scales).T
        result = np.where(y < self.x[:, 0], below[:, 0] - low, inside)
        return np.where(y > self.x[:, -1], above[:, 0] - high, result)

    def cdf(self, points: np.ndarray) -> np.ndarray:
        pairs = zip(points, self.x, strict=True)
        inside = np.stack([np.interp(p, x, self.levels) for p, x in pairs])
        below, above = self._tails(points)
        result = np.where(points < self.x[:, :1], np.exp(below), inside)
        return np.where(points > self.x[:, -1:], 1 - np.exp(above), result)

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        inside = np.stack([np.interp(levels, self.levels, x) for x in self.x])
        low, high = self.scales[:, :1], self.scales[:, 1:]
        below = self.x[:, :1] + low * np.log(levels / self.levels[0])
        above = self.x[:, -1:] - high * np.log((1 - levels) / (1 - self.levels[-1]))
        result = np.where(levels < self.levels[0], below, inside)
        return np.where(levels > self.levels[-1], above, result)

    def log_mass(self, y: np.ndarray, width: float) -> np.ndarray:
        ends = np.column_stack([y - width / 2, y + width / 2])
        below, above = self._tails(ends)
        result = super().log_mass(y, width)
        # In a tail, the difference of two logarithms; elsewhere that of the functions is exact.
        with np.errstate(divide="ignore"):
            lower = below[:, 1] + np.log1p(-np.exp(below[:, 0] - below[:, 1]))
            upper = above[:, 0] + np.log1p(-np.exp(above[:, 1] - above[:, 0]))
        result = np.where(ends[:, 1] < self.x[:, 0], lower, result)
        return np.where(ends[:, 0] > self.x[:, -1], upper, result)

    def _tails(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the log-probabilities below and above points that lie in the tails."""
        below = np.minimum((points - self.x[:, :1]) / self.scales[:, :1], 0)
        above = np.minimum((self.x[:, -1:] - points) / self.scales[:, 1:], 0)
        return below + np.log(self.levels[0]), above + np.log(1 - self.levels[-1])
