"""Conditional distribution of one target, given the features of rows."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from flowkit.schema.codec import to_line
from flowkit.schema.steps import rounded
from flowkit.tabular.conditional.line import Line
from flowkit.tabular.conditional.normal_mixture import NormalMixture

# Probability beyond the grid, on each side.
_TAIL = 1e-5
# A discrete target of more values is integrated as if it had a density.
_MOST_JUMPS = 2_000


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

    def take(self, rows: np.ndarray) -> "NumericTarget":
        """Return the distributions of some rows."""
        return replace(self, mixture=self.mixture.take(rows), masses=self.masses[rows])

    @property
    def rest(self) -> np.ndarray:
        """Return the probability of a value at no point mass, ``(n,)``."""
        rest: np.ndarray = 1 - self.masses.sum(1)
        return rest

    def log_prob(self, y: np.ndarray) -> np.ndarray:
        """Return the log-density of values ``(n,)``; the log-probability of integers, ``(n,)``.

        Point masses are left aside, with their cells: the density integrates to `rest`.
        """
        step, column = self.line.step, self.line.column
        with np.errstate(all="ignore"):
            log_prob = self.line.log_prob(self.mixture, y) + np.log(np.maximum(self.rest, 0))
            if self.is_whole:
                return np.where(y == np.round(y), log_prob, -np.inf)
            outside = to_line(column, y)[1] == -np.inf
        if step is not None:
            outside |= np.isin(rounded(y, step), rounded(self.points, step))
        return np.where(outside | np.isnan(log_prob), -np.inf, log_prob)

    def point_mass(self, y: np.ndarray) -> np.ndarray:
        """Return the probability that point masses put on values ``(n,)``, ``(n,)``."""
        mass: np.ndarray = (self.masses * (self.points == y[:, None])).sum(1)
        return mass

    def cdf(self, y: np.ndarray) -> np.ndarray:
        """Return ``P(Y <= y)`` for values ``(n, m)`` in the target's own units, ``(n, m)``.

        Within a cell of a continuous target's grid, the distribution function is linear.
        """
        at_points = np.zeros(y.shape)
        for k, point in enumerate(self.points):
            at_points += self.masses[:, k, None] * (y >= point)
        result: np.ndarray = at_points + self.rest[:, None] * self._of_mixture(y)
        return result

    def _of_mixture(self, y: np.ndarray) -> np.ndarray:
        """Return the distribution function of values at no point mass, ``(n, m)``."""
        flat, step = y.ravel(), self.line.step
        if step is None:
            return self.mixture.cdf(self.line.edge(flat).reshape(y.shape))
        if self.is_whole:
            flat = np.floor(flat / step + 1e-9) * step
            below = self.mixture.cdf(self.line.cells(flat)[1].reshape(y.shape))
            least, _ = self.line.ends
            return below if least is None else np.where(flat.reshape(y.shape) < least, 0.0, below)
        middle = np.floor(flat / step + 0.5) * step
        start, end = (self.mixture.cdf(e.reshape(y.shape)) for e in self.line.cells(middle))
        share = (y / step + 0.5) % 1.0
        return self._beside_points(start + share * (end - start))

    def _beside_points(self, f: np.ndarray) -> np.ndarray:
        """Return the mixture's distribution function ``(n, m)`` less the cells of point masses."""
        taken, total = np.zeros(f.shape), np.zeros((len(self), 1))
        for point in self.points:
            ends = self.line.cells(np.full(len(self), point))
            lower, upper = (self.mixture.cdf(end)[:, None] for end in ends)
            taken += np.clip(f - lower, 0.0, upper - lower)
            total += upper - lower
        rest: np.ndarray = (f - taken) / np.maximum(1 - total, 1e-12)
        return rest

    @property
    def is_whole(self) -> bool:
        """Whether the target is an integer."""
        return self.line.column.kind == "integer"

    def jump(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the distribution function below and at values ``(n,)``, ``(n,)`` each.

        They differ at point masses and integers, and over the cells of a grid.
        """
        step, column = self.line.step, y[:, None]
        if step is None:
            lower = upper = self._of_mixture(column)[:, 0]
        elif self.is_whole:
            lower, upper = (self._of_mixture(column - back)[:, 0] for back in (step, 0.0))
        else:
            lower, upper = (
                self._beside_points(self.mixture.cdf(edge)[:, None])[:, 0]
                for edge in self.line.cells(y)
            )
        before = (self.masses * (self.points < column)).sum(1)
        at = (self.masses * (self.points == column)).sum(1)
        lower, upper = (before + self.rest * edge for edge in (lower, upper))
        middle = 0.5 * (lower + upper)
        return np.where(at > 0, middle, lower), np.where(at > 0, middle + at, upper)

    def log_mass(self, y: np.ndarray, width: float) -> np.ndarray:
        """Return the log-probability of an interval around values ``(n,)``."""
        step = self.line.step
        own_cell = step is not None and np.isclose(width, step)
        lower, upper = self.line.cells(y) if own_cell else self.line.around(y, width)
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
        x = self.line.whole(self.line.x(t))
        density = np.stack([self.line.log_prob(self.mixture, column) for column in x.T], 1)
        rows = np.arange(len(self))
        best = density.argmax(1)
        mode: np.ndarray = x[rows, best]
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
            return self.line.whole(x)
        return self._searched(q)

    def _searched(self, q: np.ndarray) -> np.ndarray:
        """Return quantiles by bisection of the distribution function, on the line."""
        ends = np.array([[_TAIL / 10, 1 - _TAIL / 10]]).repeat(len(self), 0)
        span = self.mixture.quantile(ends)
        with np.errstate(divide="ignore"):
            at = self.line.t(self.points)
        at = at[np.isfinite(at)]
        low = np.minimum(span[:, :1], at.min(initial=np.inf)) - 1e-9
        high = np.maximum(span[:, 1:], at.max(initial=-np.inf)) + 1e-9
        low, high = (np.broadcast_to(end, q.shape).copy() for end in (low, high))
        for _ in range(60):
            middle = 0.5 * (low + high)
            enough = self.cdf(self.line.x(middle)) >= q
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        result = self.line.whole(self.line.x(high))
        for point in self.points:
            lower, upper = self.jump(np.full(len(self), point))
            at_point = (q > lower[:, None]) & (q <= upper[:, None])
            result = np.where(at_point, point, result)
        return result

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Return points ``(n, g)`` and the distribution function there, for integrals."""
        shares = np.concatenate([[_TAIL, 0.001], np.linspace(0.01, 0.99, 29), [0.999, 1 - _TAIL]])
        knots = self.quantiles(np.broadcast_to(shares, (len(self), len(shares))))
        # Between quantiles, evenly spaced points; at a point mass both limits.
        parts = np.linspace(0, 1, 9)[:-1]
        x = knots[:, :-1, None] + (knots[:, 1:] - knots[:, :-1])[:, :, None] * parts
        x = np.concatenate([x.reshape(len(self), -1), knots[:, -1:]], 1)
        f = self.cdf(x)
        for point in self.points:
            at = np.full(len(self), point)
            x = np.column_stack([x, at, at])
            f = np.column_stack([f, *self.jump(at)])
        order = np.lexsort((f, x), axis=1)
        return np.take_along_axis(x, order, 1), np.take_along_axis(f, order, 1)

    def mean(self) -> np.ndarray:
        """Return the mean of each row, ``(n,)``; of an angle, the mean direction."""
        return self._each(NumericTarget._mean)

    def _mean(self) -> np.ndarray:
        mean: np.ndarray
        period = self.line.column.period
        if period is not None:
            turn = 2 * np.pi / period
            cosine, sine = (self.masses @ f(turn * self.points) for f in (np.cos, np.sin))
            cosine = cosine + self.rest * self.mixture.expectation(
                lambda t: np.cos(turn * self.line.x(t))
            )
            sine = sine + self.rest * self.mixture.expectation(
                lambda t: np.sin(turn * self.line.x(t))
            )
            mean = np.arctan2(sine, cosine) % (2 * np.pi) / turn
            return mean
        jumps = self._jumps()
        if jumps is not None:
            mean = jumps[:, 0] + ((1 - self.cdf(jumps[:, :-1])) * np.diff(jumps)).sum(1)
            return mean
        at_points = (self.masses * self.points).sum(1)
        mean = at_points + self.rest * self.mixture.expectation(self._values)
        return mean

    def variance(self) -> np.ndarray:
        """Return the variance of each row, ``(n,)``; not for angles."""
        return self._each(NumericTarget._variance)

    def _variance(self) -> np.ndarray:
        mean, jumps = self._mean(), self._jumps()
        if jumps is not None:
            masses = np.diff(self.cdf(jumps), axis=1, prepend=0.0)
            return np.asarray((masses * (jumps - mean[:, None]) ** 2).sum(1))
        centre = np.median(mean)
        second = (self.masses * (self.points - centre) ** 2).sum(1)
        second += self.rest * self.mixture.expectation(lambda t: (self._values(t) - centre) ** 2)
        return np.asarray(np.maximum(second - (mean - centre) ** 2, 0.0))

    def _values(self, t: np.ndarray) -> np.ndarray:
        """Return the values of numbers t, within the ends of integers; not rounded."""
        return np.clip(self.line.x(t), *self.line.ends) if self.is_whole else self.line.x(t)

    def crps(self, y: np.ndarray) -> np.ndarray:
        """Return the continuous ranked probability score of values ``(n,)``, in their units.

        It is the integral of ``(F(u) - 1{u >= y})²`` over u; smaller is better.

        Reference: Gneiting and Raftery, *Strictly proper scoring rules*, 2007, equation 20.
        """
        return self._each(NumericTarget._crps, y)

    def _crps(self, y: np.ndarray) -> np.ndarray:
        x, f = self._steps()
        return _distance(y, x, f) - 0.5 * _spread(x, f)

    def distance(self, y: np.ndarray) -> np.ndarray:
        """Return the expected distance ``E|Y - y|`` from values ``(n,)``, ``(n,)``."""
        return self._each(lambda part, y: _distance(y, *part._steps()), y)

    def spread(self) -> np.ndarray:
        """Return the expected distance of two independent draws, ``(n,)``."""
        return self._each(lambda part: _spread(*part._steps()))

    def _steps(self) -> tuple[np.ndarray, np.ndarray]:
        """Return points ``(n, g)`` and the mean distribution function between, ``(n, g - 1)``."""
        jumps = self._jumps()
        if jumps is not None:
            return jumps, self.cdf(jumps)[:, :-1]
        x, f = self.grid()
        return x, 0.5 * (f[:, 1:] + f[:, :-1])

    def _each(self, function: Callable[..., np.ndarray], *values: np.ndarray) -> np.ndarray:
        """Return a function of rows, ``(n,)``: integers that spread widely by themselves.

        Those are treated as continuous. The result of a row does not depend on other rows.
        """
        wide = np.zeros(len(self), dtype=bool)
        if self.is_whole:
            wide = np.diff(self._ends)[:, 0] > _MOST_JUMPS * (self.line.step or 1.0)
        if not wide.any() or wide.all():
            return function(self, *values)
        result = np.empty(len(self))
        for rows in (wide, ~wide):
            result[rows] = function(self.take(rows), *(each[rows] for each in values))
        return result

    @cached_property
    def _ends(self) -> np.ndarray:
        """Return the quantiles beyond which there is next to no probability, ``(n, 2)``."""
        return self.quantiles(np.broadcast_to([_TAIL / 10, 1 - _TAIL / 10], (len(self), 2)))

    def _jumps(self) -> np.ndarray | None:
        """Return all values of discrete targets, ``(n, m)``; None if treated as continuous."""
        if not self.is_whole:
            if not len(self.points) or (self.rest > 1e-12).any():
                return None
            return np.broadcast_to(self.points, (len(self), len(self.points)))
        step, ends = self.line.step or 1.0, self._ends
        number = np.diff(ends)[:, 0].max(initial=0.0) / step
        if number > _MOST_JUMPS:
            return None
        jumps = ends[:, :1] + step * np.arange(-1, round(number) + 2)
        return np.asarray(np.minimum(jumps, ends[:, 1:] + step))  # of each row, no further

    def shortest(self, level: float) -> np.ndarray:
        """Return the shortest interval of probability ``level``, ``(n, 2)``."""
        x, f = self.grid()
        starts = np.linspace(0, 1 - level, 65)[1:-1]
        inverse = [np.interp(np.stack([starts, starts + level]), f[i], x[i]) for i in range(len(x))]
        ends = np.stack(inverse)  # (n, 2, starts)
        start = starts[(ends[:, 1] - ends[:, 0]).argmin(1)]
        return self.quantiles(np.stack([start, start + level], 1))


def _distance(y: np.ndarray, x: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Return the mean distance from y of distributions, as `NumericTarget._steps` has them."""
    above = np.clip((x[:, 1:] - y[:, None]) / np.maximum(np.diff(x), 1e-300), 0, 1)
    inside = (above * (1 - f) + (1 - above) * f) * np.diff(x)
    beyond = np.maximum(x[:, 0] - y, 0) + np.maximum(y - x[:, -1], 0)
    result: np.ndarray = inside.sum(1) + beyond
    return result


def _spread(x: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Return the mean distance of two draws of such distributions."""
    result: np.ndarray = 2 * (f * (1 - f) * np.diff(x)).sum(1)
    return result
