"""Line of a numeric target: its values as standardised numbers, and the cells of its grid."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from flowkit.schema import Column
from flowkit.schema.codec import from_line, to_line
from flowkit.schema.steps import rounded
from flowkit.tabular.conditional.normal_mixture import NormalMixture
from flowkit.tabular.continuous.preprocessing import Marginals

# Integers below a soft bound share the probability of so many rows, and those off the step do.
_ROWS_BELOW = 0.5


@dataclass(frozen=True)
class Line:
    """Map between a target in its own units and a standardised number t, with the target's cells.

    An integer y has the cell from y - step / 2 to y + step / 2, and its probability is the mass of
    the cell. So has a continuous target on a grid; its density is the mass divided by the step,
    constant over the cell. A cell at a bound takes all mass beyond the bound. Targets without a
    grid have a density at each value.

    Beyond the values of the fit the map is a straight line, but for a side with a bound. So a
    density that has a mean in t has one in the target's own units, however curved the map is.

    Args:
        column: the target.
        marginal: the map from the whole line, or an angle after ``cut``, to t.
        cut: the angle that is the end of the line, for circular targets.
        below: probability of all integers below a soft bound, and of those off the step.
        tails: values in own units, below and above which the map is straight; infinite if never.
    """

    column: Column
    marginal: Marginals
    cut: float = 0.0
    below: float = 0.0
    tails: tuple[float, float] = (-np.inf, np.inf)

    @classmethod
    def fit(cls, column: Column, x: np.ndarray, weights: np.ndarray) -> "Line":
        """Fit to values ``(n,)`` in the target's own units, or angles, with their weights."""
        cut = 0.0
        line = x if column.kind == "integer" else to_line(column, x)[0]
        if column.kind == "circular":
            cut = _emptiest(line, weights)
            line = np.remainder(line - cut, 2 * np.pi)
        marginal = Marginals.fit(
            line[:, None], weights, np.array([False]), curved=column.kind != "circular", grids=False
        )
        below = _ROWS_BELOW / (weights.sum() + 1) if column.kind == "integer" else 0.0
        curved = cls(column, marginal, cut, below)
        if column.kind == "circular":
            return curved
        low, high = curved._bounds
        tails = (-np.inf if low is not None else x.min(), np.inf if high is not None else x.max())
        return replace(curved, tails=(float(tails[0]), float(tails[1])))

    @property
    def step(self) -> float | None:
        """Width of a cell in the target's own units; None without a grid."""
        if self.column.kind == "integer":
            return float(self.column.step or 1)
        return self.column.step

    @property
    def period(self) -> float | None:
        """Length of a turn in t; None if the target is not circular."""
        if self.column.kind != "circular":
            return None
        ends = self._standardised(np.array([0.0, 2 * np.pi]))
        return float(ends[1] - ends[0])

    def t(self, x: np.ndarray) -> np.ndarray:
        """Return the number t of values, ``(n,)``; infinite at and beyond bounds."""
        t = self._standardised(self._on_line(np.clip(x, *self.tails))[0])
        for side, end, _, slope in self._straight:
            past = side * x > side * end
            t[past] += slope * (x[past] - end)
        return t

    def x(self, t: np.ndarray) -> np.ndarray:
        """Return the values of numbers t, any shape, in the target's own units."""
        flat, inside = t.reshape(-1), t.reshape(-1)
        for side, _, at, _ in self._straight:
            inside = side * np.minimum(side * inside, side * at)
        line: np.ndarray = self.marginal.restore(torch.tensor(inside[:, None])).numpy()[:, 0]
        if self.column.kind == "circular":
            line = np.remainder(line + self.cut + np.pi, 2 * np.pi) - np.pi
        values = line if self.column.kind == "integer" else from_line(self.column, line)
        for side, end, at, slope in self._straight:
            past = side * flat > side * at
            values[past] = end + (flat[past] - at) / slope
        return values.reshape(t.shape)

    def whole(self, x: np.ndarray) -> np.ndarray:
        """Return values as values of the target: integers are rounded, and within their ends."""
        if self.column.kind != "integer":
            return x
        whole: np.ndarray = np.clip(rounded(x, self.step or 1.0), *self.ends)
        return whole

    def cells(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the bounds in t of the cells that values lie in, ``(n,)`` each."""
        assert self.step is not None  # noqa: S101  for the type checker
        middle = rounded(x, self.step)
        lower, upper = self.around(middle, self.step)
        least, most = self.ends
        if least is not None:
            lower = np.where(middle <= least, -np.inf, lower)
        if most is not None:
            upper = np.where(middle >= most, np.inf, upper)
        # Values within a bound are multiples that lie inside: none is on the bound.
        low, high = self._bounds
        if low is not None:
            lower = np.where(middle - self.step <= low + 1e-9 * self.step, -np.inf, lower)
        if high is not None:
            upper = np.where(middle + self.step >= high - 1e-9 * self.step, np.inf, upper)
        return lower, upper

    def around(self, x: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the bounds in t of intervals around values, ``(n,)`` each."""
        lower, upper = (self.edge(x + half) for half in (-0.5 * width, 0.5 * width))
        if self.period is not None:  # across the cut
            upper = np.where(upper < lower, upper + self.period, upper)
        return lower, upper

    def log_prob(self, mixture: NormalMixture, x: np.ndarray) -> np.ndarray:
        """Return the log-density of values ``(n,)`` in the target's own units.

        For an integer it is the log-probability.
        """
        if self.period is not None:
            return self._log_prob_of_angles(mixture, x, self.period)
        if self.step is None:
            density: np.ndarray = mixture.log_prob(self.t(x)) + self._log_slope(x)
            return density
        # An integer off the step belongs to the multiple below.
        whole = x if self.column.kind != "integer" else np.floor(x / self.step) * self.step
        result: np.ndarray = mixture.log_mass(*self.cells(whole))
        if self.column.kind != "integer":
            # Cells of point masses belong to these: the rest has all other mass.
            taken = np.zeros(len(x))
            for atom in self.column.atoms:
                ends = self.cells(np.full(len(x), atom))
                taken += np.exp(mixture.log_mass(*ends))
            return np.asarray(result - np.log(self.step) - np.log1p(-np.minimum(taken, 1 - 1e-12)))
        if self.step > 1:
            # Of each cell a small share is spread evenly over the integers off the step.
            off = np.log(self.below) - np.log(self.step - 1)
            on_step = x == whole
            result += np.where(on_step, np.log1p(-self.below), off)
        soft = self.soft_lower
        if soft is not None:
            # Each further integer below the bound has half of the rest.
            rest = np.log(self.below) - np.log(2.0) * np.maximum(soft - x, 1.0)
            result = np.where(x < soft, rest, result + np.log1p(-self.below))
        least, most = self.column.lower, self.column.upper
        outside = np.zeros(len(x), dtype=bool)
        if least is not None:
            outside |= x < least
        if most is not None:
            outside |= x > most
        return np.where(outside, -np.inf, result)

    def _log_prob_of_angles(
        self, mixture: NormalMixture, x: np.ndarray, period: float
    ) -> np.ndarray:
        """Return the log-density of angles: wrapped normals, and uniform for very wide ones."""
        wide = mixture.scales > period
        share = np.where(wide, mixture.weights, 0.0).sum(1)
        narrow = NormalMixture(
            np.where(wide, 0.0, mixture.weights),
            mixture.means,
            np.where(wide, 1.0, mixture.scales),
        ).wrapped(period)
        with np.errstate(divide="ignore"):
            uniform = np.log(share / period)
            if self.step is None:
                density = np.logaddexp(narrow.log_prob(self.t(x)), uniform)
                total: np.ndarray = density + self._log_slope(x)
                return total
            lower, upper = self.cells(x)
            mass = np.logaddexp(narrow.log_mass(lower, upper), uniform + np.log(upper - lower))
            return np.asarray(mass - np.log(self.step))

    def state(self) -> dict[str, Any]:
        """Return the line for a model file, the column aside."""
        tensors = {name: tensor.numpy() for name, tensor in self.marginal.state_dict().items()}
        return {"cut": self.cut, "below": self.below, "tails": self.tails, "marginal": tensors}

    @classmethod
    def of_state(cls, column: Column, state: Mapping[str, Any]) -> "Line":
        """Make a line from its column and what `state` returned."""
        marginal = Marginals(1)
        tensors = {name: torch.from_numpy(a) for name, a in state["marginal"].items()}
        marginal.load_state_dict(tensors)
        low, high = state.get("tails", (-np.inf, np.inf))  # files of before have none
        cut, below = float(state["cut"]), float(state["below"])
        return cls(column, marginal, cut, below, (float(low), float(high)))

    def _on_line(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values on the whole line, or as angles after the cut, and log-slopes."""
        if self.column.kind == "integer":
            return x.astype(np.float64), np.zeros(len(x))
        with np.errstate(all="ignore"):
            line, log_slope = to_line(self.column, x)
        if self.column.kind == "circular":
            line = np.remainder(line - self.cut, 2 * np.pi)
        return line, log_slope

    def _standardised(self, line: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            t: np.ndarray = self.marginal.map(torch.tensor(line[:, None]))[0].numpy()[:, 0]
        return t

    def _log_slope(self, x: np.ndarray) -> np.ndarray:
        """Return the logarithm of ``|dt / dx|``, ``(n,)``."""
        line, log_slope = self._on_line(np.clip(x, *self.tails))
        own: np.ndarray = self.marginal.map(torch.tensor(line[:, None]))[1].numpy()[:, 0]
        total: np.ndarray = log_slope + own
        return total

    @cached_property
    def _straight(self) -> list[tuple[int, float, float, float]]:
        """The finite tails: side -1 or 1, value, t there, and the slope ``dt / dx``."""
        ends = np.array(self.tails)
        with np.errstate(all="ignore"):
            t = self._standardised(self._on_line(ends)[0])
            slopes = np.exp(self._log_slope(ends))
        every = zip((-1, 1), self.tails, t, slopes, strict=True)
        return [tail for tail in every if np.isfinite(tail[1])]

    def edge(self, x: np.ndarray) -> np.ndarray:
        """Return t at edges of cells; those at or beyond a bound are infinite."""
        low, high = self._bounds
        inside = x
        if low is not None:
            inside = np.maximum(inside, np.nextafter(low, np.inf))
        if high is not None:
            inside = np.minimum(inside, np.nextafter(high, -np.inf))
        t = self.t(inside)
        if low is not None:
            t = np.where(x <= low, -np.inf, t)
        if high is not None:
            t = np.where(x >= high, np.inf, t)
        return t

    @property
    def soft_lower(self) -> float | None:
        """The soft bound of integers; none if a sentinel lies below."""
        soft = self.column.soft_lower
        if soft is None or any(value < soft for value, _ in self.column.sentinels):
            return None
        return soft

    @property
    def _bounds(self) -> tuple[float | None, float | None]:
        """The hard bounds of a continuous target, which no value reaches."""
        if self.column.kind == "positive":
            return 0.0, None
        if self.column.kind == "bounded":
            return self.column.lower, self.column.upper
        return None, None

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """The smallest and the largest integer; None without a bound."""
        if self.column.kind != "integer":
            return None, None
        least = [b for b in (self.column.lower, self.soft_lower) if b is not None]
        return max(least, default=None), self.column.upper


def _emptiest(angles: np.ndarray, weights: np.ndarray) -> float:
    """Return the middle of the emptiest twelfth of the circle."""
    counts, edges = np.histogram(
        np.remainder(angles, 2 * np.pi), 72, (0, 2 * np.pi), weights=weights
    )
    around = np.convolve(np.concatenate([counts[-3:], counts, counts[:3]]), np.ones(7), "valid")
    return float(edges[int(around.argmin())] + np.pi / 72)
