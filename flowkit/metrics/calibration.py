"""Whether ranks are uniform: probability integral transforms, and a band for their law."""

from dataclasses import dataclass

import numpy as np

from flowkit._checks import check_count
from flowkit.errors import ArgumentError, ShapeError

_REPLICATES = 4_000


def ranks(values: np.ndarray, sample: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return where values lie among a sample, ``(n,)``, within 0 and 1.

    If both are of one distribution, each rank is exactly uniform: a value takes any of the m + 1
    places among the sample with equal chance (ties at random), and lies evenly within its place.

    Args:
        values: ``(n,)``.
        sample: ``(m,)``, of the distribution that the values are held against.
        seed: of what breaks ties.

    Raises:
        ShapeError: there are no values, or there is no sample.

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
    found: np.ndarray = (below + place) / (len(sample) + 1)
    return found


@dataclass(frozen=True)
class Uniformity:
    """How the distribution function of ranks differs from that of a uniform law.

    Attributes:
        at: points within 0 and 1, ``(k,)``.
        difference: share of ranks below each point, minus the point.
        lower: lower end of the band at each point.
        upper: upper end.
        level: probability that uniform ranks stay within the band at all points at once.
        p_value: probability that uniform ranks come as near to leaving it, or leave it as far.
    """

    at: np.ndarray
    difference: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    level: float
    p_value: float

    @property
    def within(self) -> bool:
        """Whether it stays within the band."""
        # Up to the rounding of shares.
        low, high = self.difference - self.lower, self.upper - self.difference
        return bool((np.minimum(low, high) >= -1e-12).all())


def uniformity(
    u: np.ndarray, sample_size: int, *, level: float = 0.95, points: int = 50, seed: int = 0
) -> Uniformity:
    """Hold ranks against the uniform law, with a band for all points at once.

    The band comes from simulation of counts of uniform ranks between the points: multinomial,
    with probabilities that are themselves random (Dirichlet) because the sample is finite. It is
    as wide at every point as lets a share of ``level`` of all curves through.

    Args:
        u: ranks, ``(n,)``, as of `ranks`.
        sample_size: m, the size of the sample that they are ranks in.
        level: of the band.
        points: at how many points the distribution functions are held against each other.
        seed: of the simulation.

    Raises:
        ShapeError: there are no ranks.
        ArgumentError: an option is out of its range.

    Reference: Säilynoja, Bürkner and Vehtari, *Graphical test for discrete uniformity and its
    applications in goodness-of-fit evaluation and multiple sample comparison*, 2022.

    Example:
        >>> even = np.linspace(0.001, 0.999, 200)
        >>> uniformity(even, 1000).within, uniformity(even**2, 1000).within
        (True, False)
    """
    u = np.asarray(u, dtype=np.float64)
    if u.ndim != 1 or not len(u):
        raise ShapeError("u", "shape (n,), n at least 1", u.shape)
    check_count("sample_size", sample_size)
    check_count("points", points, 2)
    if not 0 < level < 1:
        raise ArgumentError("level", "a probability between 0 and 1", level)
    n, rng = len(u), np.random.default_rng(seed)
    at = np.arange(1, points) / points
    share = (sample_size + 1) / points
    probabilities = rng.dirichlet(np.full(points, share), _REPLICATES)
    counts = rng.multinomial(n, probabilities).cumsum(axis=1)[:, :-1]
    observed = np.searchsorted(np.sort(u), at, side="left")

    ordered = np.sort(counts, axis=0)
    # How far out a curve comes at its most extreme point: the two-sided tail there.
    extremes = np.stack([_tails(counts[:, j], ordered[:, j]) for j in range(points - 1)]).min(0)
    own = np.stack([_tails(observed[j : j + 1], ordered[:, j])[0] for j in range(points - 1)]).min()
    threshold = np.quantile(extremes, 1 - level, method="lower")
    k = min(max(int(np.ceil(threshold * _REPLICATES / 2)) - 1, 0), _REPLICATES // 2)
    return Uniformity(
        at=at,
        difference=observed / n - at,
        lower=ordered[k] / n - at,
        upper=ordered[-1 - k] / n - at,
        level=level,
        p_value=float((extremes <= own).mean()),
    )


def _tails(counts: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Return twice the smaller tail of each count among the simulated ones."""
    not_above = np.searchsorted(ordered, counts, side="right")
    not_below = len(ordered) - np.searchsorted(ordered, counts, side="left")
    tails: np.ndarray = 2 * np.minimum(not_above, not_below) / len(ordered)
    return tails
