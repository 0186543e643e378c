"""Memorisation: distances of samples and held-out rows to the closest training row."""

from dataclasses import dataclass

import numpy as np

from flowkit.errors import ShapeError

_Z = 1.96


@dataclass(frozen=True)
class Closeness:
    """Distances of samples and held-out rows to the closest training row.

    Attributes:
        samples: distance of each sample to the closest training row.
        held_out: distance of each held-out row to the closest training row.
        closer: probability that a sample is closer than a held-out row; ties count half.
        null_low: lower end of the 95 % interval of ``closer`` for samples of the true density.
        null_high: upper end of that interval.
        copies: number of samples at distance zero.
        held_out_copies: number of held-out rows at distance zero.
    """

    samples: np.ndarray
    held_out: np.ndarray
    closer: float
    null_low: float
    null_high: float

    @property
    def copies(self) -> int:
        """Number of samples that are equal to a training row."""
        return int((self.samples == 0).sum())

    @property
    def held_out_copies(self) -> int:
        """Number of held-out rows that are equal to a training row."""
        return int((self.held_out == 0).sum())


def closeness(samples: np.ndarray, held_out: np.ndarray, training: np.ndarray) -> Closeness:
    """Compare Euclidean distances to the closest training row, in the units of the arrays.

    Samples of the true density are as close to training rows as held-out rows are: ``closer`` is
    then 0.5. Samples of a model that memorises training rows are closer.

    Args:
        samples: ``(n, d)``, finite.
        held_out: ``(m, d)``.
        training: ``(k, d)``.

    Raises:
        ShapeError: numbers of columns that differ, or no rows.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> a, b, c = (rng.normal(size=(200, 2)) for _ in range(3))
        >>> honest, parrot = closeness(a, b, c), closeness(c[:100], b, c)
        >>> honest.closer < honest.null_high, parrot.closer, parrot.copies
        (True, 1.0, 100)
    """
    from scipy.stats import mannwhitneyu
    from sklearn.neighbors import NearestNeighbors

    d = training.shape[-1]
    for name, a in (("samples", samples), ("held_out", held_out), ("training", training)):
        if a.ndim != 2 or a.shape[1] != d or not len(a):
            raise ShapeError(name, f"shape (rows, {d}), rows at least 1", a.shape)
    # Trees compute differences; from inner products, distances of copies would not be exactly 0.
    tree = NearestNeighbors(n_neighbors=1, algorithm="kd_tree").fit(training)
    near, far = (tree.kneighbors(a)[0][:, 0] for a in (samples, held_out))
    n, m = len(near), len(far)
    closer = 1 - float(mannwhitneyu(near, far).statistic) / (n * m)
    half = _Z * float(np.sqrt((n + m + 1) / (12 * n * m)))
    return Closeness(near, far, closer, 0.5 - half, 0.5 + half)
