"""TARP: coverage of balls around random reference points."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowkit.errors import ShapeError
from flowkit.metrics.calibration import Band, Uniformity
from flowkit.metrics.posterior_draws import Draws, finite_array, paired, positions, ranks_among

# Variance of max(u, 1/2) for a uniform u.
_VARIANCE = 5 / 192


@dataclass(frozen=True)
class TARP:
    """Expected coverage of balls around reference points.

    Attributes:
        ranks: number of draws nearer to the reference than the true parameter, 0 to L, ``(n,)``.
        n_draws: L, the number of draws per row.
        curve: expected coverage minus credibility level, with its band.
        area: area between expected coverage and credibility level, over levels above 1/2. It is
            positive for a wide posterior, and negative for a narrow one.
        area_low: lower end of the interval of ``area`` for a calibrated posterior, of the same
            level as the band.
        area_high: upper end of that interval.
    """

    ranks: np.ndarray
    n_draws: int
    curve: Uniformity
    area: float
    area_low: float
    area_high: float

    @property
    def p_value(self) -> float:
        """Probability that a calibrated posterior has a curve at least as extreme."""
        return self.curve.p_value

    @property
    def coverage(self) -> np.ndarray:
        """Expected coverage at the levels ``curve.at``, ``(k,)``."""
        result: np.ndarray = self.curve.difference + self.curve.at
        return result


def tarp(
    theta: Any,
    draws: Draws,
    x: Any = None,
    *,
    references: Any = None,
    level: float = 0.95,
    points: int = 50,
    seed: int = 0,
) -> TARP:
    """Compare expected coverage with credibility, for balls around random reference points.

    The ball of a row has its centre at the reference and the true parameter on its surface. The
    credibility of the ball is the share of draws inside. For a calibrated posterior the credibility
    is uniform. Distances are Euclidean, in units of the range of each parameter.

    References that do not depend on ``x`` cannot distinguish the prior from the posterior: draws of
    the prior pass. Pass references that are functions of ``x`` to detect such draws.

    Args:
        theta: true parameters, drawn from the prior, ``(n, d)``, in any unit.
        draws: posterior draws given each observation, ``(n, L, d)``, in the unit of ``theta``, or a
            function ``draws(x)`` that returns them.
        x: observations simulated from ``theta``, ``(n, c)``; only for a function.
        references: reference points, ``(n, d)``, in the unit of ``theta``; independent of ``theta``
            given ``x``. Default: uniform in the box of all ``theta``.
        level: probability that a calibrated posterior stays within the band at all points at once.
        points: number of intervals of the `Band`.
        seed: random seed of references, ties, positions within places, and of the `Band`.

    Raises:
        ShapeError: theta, draws or references of another shape.
        DataError: a number that is not finite.
        ArgumentError: an option is out of range, or a function without observations.

    Reference: Lemos, Coogan, Hezaveh and Perreault-Levasseur, *Sampling-based accuracy testing of
    posterior estimators for general inference*, 2023, equations 2 and 4, algorithm 2.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> theta = rng.normal(size=(500, 2))
        >>> x = theta + rng.normal(size=(500, 2))
        >>> exact = x[:, None] / 2 + 0.5**0.5 * rng.normal(size=(500, 99, 2))
        >>> tarp(theta, exact).curve.within
        True
        >>> narrow = tarp(theta, lambda x: x[:, None] / 2 + 0.3 * rng.normal(size=(500, 99, 2)), x)
        >>> narrow.curve.within, narrow.area < narrow.area_low
        (False, True)
    """
    theta, draws = paired(theta, draws, x)
    rng = np.random.default_rng(seed)
    low, high = theta.min(0), theta.max(0)
    if references is None:
        centres = rng.uniform(low, high, theta.shape)
    else:
        expected = f"shape {theta.shape}, as theta"
        centres = finite_array("references", references, 2, expected)
        if centres.shape != theta.shape:
            raise ShapeError("references", expected, centres.shape)
    scale = np.where(high > low, high - low, 1.0)
    radius = np.linalg.norm((theta - centres) / scale, axis=-1)
    distance = np.linalg.norm((draws - centres[:, None]) / scale, axis=-1)
    ranks = ranks_among(radius, distance, rng)
    band = Band(len(theta), None, level=level, points=points, seed=seed)
    credibility = positions(ranks, draws.shape[1], rng)
    # The area is the integral of the distribution function of the credibility, minus the level.
    area = 5 / 8 - float(np.maximum(credibility, 0.5).mean())
    half = _half_width(level, len(theta))
    return TARP(ranks, draws.shape[1], band.of(credibility), area, -half, half)


def _half_width(level: float, n: int) -> float:
    """Return the half width of the interval of the area of n rows, by the normal approximation."""
    from scipy.stats import norm

    return float(norm.ppf((1 + level) / 2)) * math.sqrt(_VARIANCE / n)
