"""Calibration: probability integral transforms, and simultaneous bands for their distribution."""

from dataclasses import dataclass

import numpy as np

from flowkit._checks import check_count
from flowkit.errors import ArgumentError, ShapeError

_REPLICATES = 4_000


def ranks(values: np.ndarray, sample: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return the rank of each value among a sample, ``(n,)``, scaled to [0, 1].

    If values and sample have the same distribution, each rank is exactly uniform. A value has each
    of the m + 1 places with equal probability. Ties are broken at random, and the rank is uniform
    within the place.

    Args:
        values: ``(n,)``.
        sample: ``(m,)``, drawn from the distribution under test.
        seed: random seed of ties and of positions within places.

    Raises:
        ShapeError: no values, or an empty sample.

    Example:
        >>> ranks(np.array([-9.0, 9.0]), np.zeros(999)).round(2)
        array([0., 1.])
    """
    values, sample = (np.asarray(a, dtype=np.float64) for a in (values, sample))
    for name, a in (("values", values), ("sample", sample)):
        if a.ndim != 1 or not len(a):
            raise ShapeError(name, "shape (n,), n at least 1", a.shape)
    ordered = np.sort(sample)
    below = np.searchsorted(ordered, values, side="left")
    ties = np.searchsorted(ordered, values, side="right") - below
    place = np.random.default_rng(seed).random(len(values)) * (ties + 1)
    result: np.ndarray = (below + place) / (len(sample) + 1)
    return result


@dataclass(frozen=True)
class Uniformity:
    """Difference between the distribution function of ranks and the uniform one.

    Attributes:
        at: points in [0, 1], ``(k,)``.
        difference: share of ranks below each point, minus the point.
        lower: lower end of the band at each point.
        upper: upper end of the band at each point.
        level: probability that uniform ranks stay within the band at all points at once.
        p_value: probability that uniform ranks have a curve at least as extreme.
    """

    at: np.ndarray
    difference: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    level: float
    p_value: float

    @property
    def within(self) -> bool:
        """Whether the difference stays within the band at all points."""
        # The tolerance is for the rounding of shares.
        low, high = self.difference - self.lower, self.upper - self.difference
        return bool((np.minimum(low, high) >= -1e-12).all())


class Band:
    """A simultaneous band for the distribution function of uniform ranks.

    Counts of uniform ranks between the points are simulated: multinomial counts, with Dirichlet
    probabilities if all ranks refer to one finite sample. The band contains a share ``level`` of
    all simulated curves, with the same tail probability at each point.

    Args:
        n: number of ranks.
        sample_size: m, the size of the sample that the ranks refer to. None: each rank refers to a
            sample of its own, so that the ranks are independent.
        level: probability that uniform ranks stay within the band at all points at once.
        points: number of intervals; distribution functions are compared at interior ends.
        seed: random seed of the simulation.

    Raises:
        ArgumentError: an option is out of range.

    Reference: Säilynoja, Bürkner and Vehtari, *Graphical test for discrete uniformity and its
    applications in goodness-of-fit evaluation and multiple sample comparison*, 2022.

    Example:
        >>> band = Band(200, 1000)
        >>> even = np.linspace(0.001, 0.999, 200)
        >>> band.of(even).within, band.of(even**2).within
        (True, False)
    """

    def __init__(
        self,
        n: int,
        sample_size: int | None,
        *,
        level: float = 0.95,
        points: int = 50,
        seed: int = 0,
    ) -> None:
        check_count("points", points, 2)
        if not 0 < level < 1:
            raise ArgumentError("level", "a probability between 0 and 1", level)
        self.n, self.level = check_count("n", n), level
        self.at = np.arange(1, points) / points
        rng = np.random.default_rng(seed)
        if sample_size is None:
            probabilities = np.full((_REPLICATES, points), 1 / points)
        else:
            share = (check_count("sample_size", sample_size) + 1) / points
            probabilities = rng.dirichlet(np.full(points, share), _REPLICATES)
        counts = rng.multinomial(n, probabilities).cumsum(axis=1)[:, :-1]
        self._ordered = np.sort(counts, axis=0)
        # The smallest two-sided tail probability of each curve over all points.
        tails = [_tails(counts[:, j], self._ordered[:, j]) for j in range(points - 1)]
        self._extremes = np.stack(tails).min(0)
        threshold = np.quantile(self._extremes, 1 - level, method="lower")
        self._edge = min(max(int(np.ceil(threshold * _REPLICATES / 2)) - 1, 0), _REPLICATES // 2)

    def of(self, u: np.ndarray) -> Uniformity:
        """Compare ranks ``(n,)`` with the uniform distribution.

        Raises:
            ShapeError: another number of ranks.
        """
        u = np.asarray(u, dtype=np.float64)
        if u.shape != (self.n,):
            raise ShapeError("u", f"shape ({self.n},)", u.shape)
        observed = np.searchsorted(np.sort(u), self.at, side="left")
        columns = range(len(self.at))
        extreme = min(_tails(observed[j : j + 1], self._ordered[:, j])[0] for j in columns)
        return Uniformity(
            at=self.at,
            difference=observed / self.n - self.at,
            lower=self._ordered[self._edge] / self.n - self.at,
            upper=self._ordered[-1 - self._edge] / self.n - self.at,
            level=self.level,
            p_value=float((self._extremes <= extreme).mean()),
        )

    def contains(self, u: np.ndarray) -> bool:
        """Return whether the distribution function of ranks ``(n,)`` stays within the band."""
        observed = np.searchsorted(np.sort(u), self.at, side="left")
        low, high = self._ordered[self._edge], self._ordered[-1 - self._edge]
        return bool(((observed >= low) & (observed <= high)).all())


def uniformity(
    u: np.ndarray,
    sample_size: int | None,
    *,
    level: float = 0.95,
    points: int = 50,
    seed: int = 0,
) -> Uniformity:
    """Compare ranks with the uniform distribution, with a simultaneous `Band`.

    Args:
        u: ranks, ``(n,)``, such as those of `ranks`.
        sample_size: m, the size of the sample that the ranks refer to, or None, as in `Band`.
        level: level of the `Band`.
        points: number of intervals of the `Band`.
        seed: random seed of the `Band`.

    Raises:
        ShapeError: no ranks.
        ArgumentError: an option is out of range.

    Example:
        >>> even = np.linspace(0.001, 0.999, 200)
        >>> uniformity(even, 1000).within, uniformity(even**2, 1000).within
        (True, False)
    """
    u = np.asarray(u, dtype=np.float64)
    if u.ndim != 1 or not len(u):
        raise ShapeError("u", "shape (n,), n at least 1", u.shape)
    return Band(len(u), sample_size, level=level, points=points, seed=seed).of(u)


def _tails(counts: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Return twice the smaller tail probability of each count among simulated counts."""
    not_above = np.searchsorted(ordered, counts, side="right")
    not_below = len(ordered) - np.searchsorted(ordered, counts, side="left")
    tails: np.ndarray = 2 * np.minimum(not_above, not_below) / len(ordered)
    return tails
