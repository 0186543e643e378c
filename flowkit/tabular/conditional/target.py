"""Conditional distribution of one target, given the features of rows."""

from dataclasses import dataclass

import numpy as np

from flowkit.schema.steps import rounded
from flowkit.tabular.conditional.line import Line
from flowkit.tabular.conditional.normal_mixture import NormalMixture

# Quantiles that a mean is taken of.
_GRID = 200
# Probability beyond the grid, on each side.
_TAIL = 1e-5


@dataclass(frozen=True)
class NumericTarget:
    """Distributions of a numeric target for ``n`` rows: point masses, and a mixture on a line.

    Missing targets are left aside: probabilities are those of a target that is there.

    Args:
        line: the target's line.
        mixture: conditional of values that are at no point mass, ``n`` rows.
        points: values of the point masses, ascending, ``(m,)``.
        masses: their probabilities, ``(n, m)``.
    """

    line: Line
    mixture: NormalMixture
    points: np.ndarray
    masses: np.ndarray

    def __len__(self) -> int:
        return len(self.mixture)

    @property
    def rest(self) -> np.ndarray:
        """Return the probability of a value at no point mass, ``(n,)``."""
        rest: np.ndarray = 1 - self.masses.sum(1)
        return rest

    def cdf(self, y: np.ndarray) -> np.ndarray:
        """Return ``P(Y <= y)`` for values ``(n, m)`` in the target's own units, ``(n, m)``.

        Within a cell of a continuous target's grid, the distribution function is linear.
        """
        flat = y.ravel()
        if self.line.step is None:
            below = self.mixture.cdf(self.line.t(flat).reshape(y.shape))
        else:
            ends = [edge.reshape(y.shape) for edge in self.line.cells(flat)]
            start, below = (self.mixture.cdf(edge) for edge in ends)
            if self.line.column.kind != "integer":
                below = start + (y / self.line.step + 0.5) % 1.0 * (below - start)
        at_points = np.zeros(y.shape)
        for k, point in enumerate(self.points):
            at_points += self.masses[:, k, None] * (y >= point)
        result: np.ndarray = at_points + self.rest[:, None] * below
        return result

    def jump(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the distribution function below and at values ``(n,)``, ``(n,)`` each.

        They differ at point masses and integers, and over the cells of a grid.
        """
        if self.line.step is None:
            lower = upper = self.mixture.cdf(self.line.t(y))
        else:
            lower, upper = (self.mixture.cdf(edge) for edge in self.line.cells(y))
        before = (self.masses * (self.points < y[:, None])).sum(1)
        at = (self.masses * (self.points == y[:, None])).sum(1)
        on_point = at > 0
        lower, upper = (before + self.rest * edge for edge in (lower, upper))
        middle = 0.5 * (lower + upper)
        return np.where(on_point, middle, lower), np.where(on_point, middle + at, upper)

    def log_mass(self, y: np.ndarray, width: float) -> np.ndarray:
        """Return the log-probability of an interval around values ``(n,)``."""
        lower, upper = self.line.around(y, width)
        log_mass = self.mixture.log_mass(lower, upper) + np.log(np.maximum(self.rest, 1e-300))
        near = np.abs(self.points - y[:, None]) <= width / 2
        at_points = (self.masses * near).sum(1)
        with np.errstate(divide="ignore"):
            result: np.ndarray = np.logaddexp(log_mass, np.log(at_points))
        return result

    def mode(self) -> np.ndarray:
        """Return the value of largest density, or the point mass of most probability, ``(n,)``."""
        levels = np.linspace(0.005, 0.995, 199)
        t = self.mixture.quantile(np.broadcast_to(levels, (len(self), len(levels))))
        x = self.line.x(t)
        density = np.stack([self.line.log_prob(self.mixture, column) for column in x.T], 1)
        rows = np.arange(len(self))
        best = density.argmax(1)
        mode: np.ndarray = self._whole(x[rows, best])
        if not len(self.points):
            return mode
        width = x[:, -1] - x[:, 0]
        heaviest = self.masses.argmax(1)
        # A point mass counts as if spread over a hundredth of the bulk.
        spread = np.log(self.masses[rows, heaviest] + 1e-300) - np.log(width / 100 + 1e-300)
        continuous = density[rows, best] + np.log(np.maximum(self.rest, 1e-300))
        return np.where(spread > continuous, self.points[heaviest], mode)

    def quantiles(self, q: np.ndarray) -> np.ndarray:
        """Return the quantiles of probabilities ``(n, m)``, in the target's own units.

        An integer's quantile is the smallest integer whose distribution function reaches q.
        """
        if not len(self.points):
            x = self.line.x(self.mixture.quantile(q))
            return self._whole(x)
        return self._searched(q)

    def _whole(self, x: np.ndarray) -> np.ndarray:
        """Return values of the line as values of the target: integers are rounded."""
        if self.line.column.kind != "integer":
            return x
        whole: np.ndarray = np.clip(rounded(x, self.line.step or 1.0), *self.line.ends)
        return whole

    def _searched(self, q: np.ndarray) -> np.ndarray:
        """Return quantiles by bisection of the distribution function."""
        ends = np.array([[_TAIL / 10, 1 - _TAIL / 10]]).repeat(len(self), 0)
        span = self.line.x(self.mixture.quantile(ends))
        low = np.minimum(span[:, :1], self.points.min(initial=np.inf)) - 1e-9
        high = np.maximum(span[:, 1:], self.points.max(initial=-np.inf))
        low, high = (np.broadcast_to(end, q.shape).copy() for end in (low, high))
        for _ in range(60):
            middle = 0.5 * (low + high)
            enough = self.cdf(middle) >= q
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        return self._whole(high)

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Return points ``(n, g)`` and the distribution function there, for integrals."""
        shares = np.concatenate([[_TAIL, 0.001], np.linspace(0.01, 0.99, 29), [0.999, 1 - _TAIL]])
        knots = self.quantiles(np.broadcast_to(shares, (len(self), len(shares))))
        # Between quantiles, evenly spaced points.
        parts = np.linspace(0, 1, 9)[:-1]
        x = knots[:, :-1, None] + (knots[:, 1:] - knots[:, :-1])[:, :, None] * parts
        x = np.concatenate([x.reshape(len(self), -1), knots[:, -1:]], 1)
        return x, self.cdf(x)

    def mean(self) -> np.ndarray:
        """Return the mean of each row, ``(n,)``; of an angle, the mean direction."""
        mean: np.ndarray
        if self.line.period is not None:
            x = self.line.x(self._spaced())
            turns = 2 * np.pi * x / (self.line.column.period or 1.0)
            direction = np.arctan2(np.sin(turns).mean(1), np.cos(turns).mean(1))
            mean = direction % (2 * np.pi) / (2 * np.pi) * (self.line.column.period or 1.0)
            return mean
        at_points = (self.masses * self.points).sum(1)
        if self.line.is_straight:
            middle = self.line.x(self.mixture.mean())
        else:
            middle = self.line.x(self._spaced()).mean(1)
        mean = at_points + self.rest * middle
        return mean

    def _spaced(self) -> np.ndarray:
        """Return evenly spaced quantiles of the mixture, ``(n, g)``."""
        shares = (np.arange(_GRID) + 0.5) / _GRID
        return self.mixture.quantile(np.broadcast_to(shares, (len(self), _GRID)))

    def crps(self, y: np.ndarray) -> np.ndarray:
        """Return the continuous ranked probability score of values ``(n,)``, in their units.

        It is the integral of ``(F(u) - 1{u >= y})²`` over u; smaller is better.

        Reference: Gneiting and Raftery, *Strictly proper scoring rules*, 2007, equation 20.
        """
        x, f = self.grid()
        width = np.diff(x, axis=1)
        f = 0.5 * (f[:, 1:] + f[:, :-1])
        # The part of each interval above y.
        above = np.clip((x[:, 1:] - y[:, None]) / np.maximum(width, 1e-300), 0, 1)
        inside = (above * (f - 1) ** 2 + (1 - above) * f**2) * width
        beyond = np.maximum(x[:, 0] - y, 0) + np.maximum(y - x[:, -1], 0)
        result: np.ndarray = inside.sum(1) + beyond
        return result

    def shortest(self, level: float) -> np.ndarray:
        """Return the shortest interval of probability ``level``, ``(n, 2)``."""
        x, f = self.grid()
        starts = np.linspace(0, 1 - level, 65)[1:-1]
        inverse = [np.interp(np.stack([starts, starts + level]), f[i], x[i]) for i in range(len(x))]
        ends = np.stack(inverse)  # (n, 2, starts)
        start = starts[(ends[:, 1] - ends[:, 0]).argmin(1)]
        return self.quantiles(np.stack([start, start + level], 1))
