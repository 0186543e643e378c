"""Simulation-based calibration: ranks of true parameters among posterior draws."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from flowkit.metrics.calibration import Band, Uniformity
from flowkit.metrics.posterior_draws import Draws, paired, positions, ranks_among


@dataclass(frozen=True)
class SBC:
    """Result of simulation-based calibration.

    Attributes:
        ranks: number of draws below each true parameter, integers 0 to L, ``(n, d)``.
        n_draws: L, the number of draws per row.
        columns: the distribution of the ranks of each parameter, with its band and p-value.
    """

    ranks: np.ndarray
    n_draws: int
    columns: tuple[Uniformity, ...]

    @property
    def p_value(self) -> np.ndarray:
        """Probability that a calibrated posterior has a curve at least as extreme, ``(d,)``."""
        return np.array([column.p_value for column in self.columns])

    @property
    def within(self) -> np.ndarray:
        """Whether the curve of each parameter stays within its band, ``(d,)``."""
        return np.array([column.within for column in self.columns])


def sbc_ranks(theta: Any, draws: Draws, x: Any = None, *, seed: int = 0) -> np.ndarray:
    """Return the number of posterior draws below each true parameter, integers ``(n, d)``.

    For a calibrated posterior each of the ranks 0 to L is equally probable.

    Args:
        theta: true parameters, drawn from the prior, ``(n, d)``, in any unit.
        draws: posterior draws given each observation, ``(n, L, d)``, in the unit of ``theta``, or a
            function ``draws(x)`` that returns them.
        x: observations simulated from ``theta``, ``(n, c)``; only for a function.
        seed: random seed of ties.

    Raises:
        ShapeError: theta or draws of another shape.
        DataError: a number that is not finite.
        ArgumentError: a function without observations.

    Reference: Talts, Betancourt, Simpson, Vehtari and Gelman, *Validating Bayesian inference
    algorithms with simulation-based calibration*, 2018, theorem 1.

    Example:
        >>> draws = np.arange(9.0).reshape(1, 9, 1)
        >>> sbc_ranks(np.array([[3.5]]), draws)
        array([[4]])
    """
    theta, draws = paired(theta, draws, x)
    return ranks_among(theta, draws, np.random.default_rng(seed))


def sbc(
    theta: Any,
    draws: Draws,
    x: Any = None,
    *,
    level: float = 0.95,
    points: int = 50,
    seed: int = 0,
) -> SBC:
    """Compare the ranks of true parameters among posterior draws with uniform ranks.

    The curve of a parameter is the distribution function of its ranks minus the diagonal. A narrow
    posterior has a curve above 0 on the left and below 0 on the right; a wide one the reverse. A
    posterior with too large draws has a curve above 0 everywhere.

    Ranks are spread evenly within their places, so that the test is exact for any number of draws.
    Bands and p-values are those of single parameters: among d parameters, compare the smallest
    p-value with ``(1 - level) / d``. Draws must be independent; thin those of a Markov chain. Draws
    of the prior have uniform ranks too. A column that depends on ``x`` as well, such as the
    log-likelihood of parameters and of draws, reveals them.

    Args:
        theta: true parameters, drawn from the prior, ``(n, d)``, in any unit.
        draws: posterior draws given each observation, ``(n, L, d)``, in the unit of ``theta``, or a
            function ``draws(x)`` that returns them.
        x: observations simulated from ``theta``, ``(n, c)``; only for a function.
        level: probability that uniform ranks stay within the band at all points at once.
        points: number of intervals of the `Band`.
        seed: random seed of ties, of positions within places, and of the `Band`.

    Raises:
        ShapeError: theta or draws of another shape.
        DataError: a number that is not finite.
        ArgumentError: an option is out of range, or a function without observations.

    Reference: Talts, Betancourt, Simpson, Vehtari and Gelman, *Validating Bayesian inference
    algorithms with simulation-based calibration*, 2018, theorem 1; Säilynoja, Bürkner and Vehtari,
    2022, for the band; Modrák et al., *Simulation-based calibration checking for Bayesian
    computation: the choice of test quantities shapes sensitivity*, 2023, for columns of ``x``.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> theta = rng.normal(size=(500, 1))
        >>> x = theta + rng.normal(size=(500, 1))
        >>> exact = x[:, None] / 2 + 0.5**0.5 * rng.normal(size=(500, 99, 1))
        >>> sbc(theta, exact).within
        array([ True])
        >>> sbc(theta, lambda x: x[:, None] / 2 + 0.3 * rng.normal(size=(500, 99, 1)), x).within
        array([False])
    """
    theta, draws = paired(theta, draws, x)
    rng = np.random.default_rng(seed)
    ranks = ranks_among(theta, draws, rng)
    band = Band(len(theta), None, level=level, points=points, seed=seed)
    places = positions(ranks, draws.shape[1], rng)
    return SBC(ranks, draws.shape[1], tuple(band.of(column) for column in places.T))
