"""Which column makes a row unlikely."""

import numpy as np

from flowkit.schema import Encoded
from flowkit.tabular import FlowDensity

# Values of a sample that are tried in place of a column's own.
_CANDIDATES = 32


def blame(
    density: FlowDensity, rows: Encoded, log_density: np.ndarray, samples: Encoded
) -> tuple[np.ndarray, np.ndarray]:
    """Return what each row would gain if one column had another value.

    Each column in turn takes the values of sampled rows, spread evenly over its range, all else
    unchanged; what counts is the best of them. So a value is blamed that is odd beside the others
    of its row, even if it is common by itself. Densities are compared with densities alone, and
    probabilities with probabilities: what a number would gain by being missing, or at a point
    mass, is what its flag would gain in the discrete block.

    Args:
        density: fitted.
        rows: n rows.
        log_density: theirs, ``(n,)``.
        samples: rows that the model has drawn.

    Returns:
        The gain in nats, ``(n, columns)``, infinite where the row is impossible and the new one
        is not; and which sample the best value is from, ``(n, columns)``.
    """
    n, names = len(log_density), density.schema_.modelled
    gains, best = np.zeros((n, len(names))), np.zeros((n, len(names)), dtype=np.int64)
    for c, name in enumerate(names):
        codes = [j for j, d in enumerate(density.schema_.discrete) if d.name == name]
        values = [j for j, v in enumerate(density.schema_.continuous) if v == name]
        if not codes and not values:
            continue  # no value was ever seen there

        def changed(
            given: Encoded, codes: list[int] = codes, values: list[int] = values
        ) -> Encoded:
            k = len(given.codes) // n
            new = rows.take(np.repeat(np.arange(n), k))
            new.codes[:, codes] = given.codes[:, codes]
            new.values[:, values] = given.values[:, values]
            new.log_slopes[:, values] = given.log_slopes[:, values]
            # The density of a number off the levels is none to compare with a probability.
            own = new.log_unseen[:, codes]
            impossible = own == -np.inf
            new.log_unseen[:, codes] = np.where(impossible, given.log_unseen[:, codes], own)
            return new

        tried = _spread(samples, codes, values)
        new = changed(samples.take(np.tile(tried, n)))
        found = density.score_encoded(new).reshape(n, -1)
        with np.errstate(invalid="ignore"):  # -inf minus -inf: no gain
            found = np.nan_to_num(found - log_density[:, None], posinf=np.inf)
        if codes and values:  # a number with a flag
            flags = density.score_encoded(new, block="discrete").reshape(n, -1)
            flags = flags - density.score_encoded(rows, block="discrete")[:, None]
            same = new.codes[:, codes].reshape(n, -1) == rows.codes[:, codes]
            found = np.where(same, found, flags)
        at = found.argmax(axis=1)
        gains[:, c] = np.maximum(found[np.arange(n), at], 0.0)
        best[:, c] = tried[at]
    return gains, best


def _spread(samples: Encoded, codes: list[int], values: list[int]) -> np.ndarray:
    """Return samples spread evenly over the range of a column, and one of each rarer state."""
    keys = [samples.values[:, j] for j in values] + [samples.codes[:, j] for j in codes]
    order = np.lexsort(keys)
    k = min(_CANDIDATES, len(order))
    tried = order[((np.arange(k) + 0.5) / k * len(order)).astype(np.int64)]
    if codes and values:
        firsts = np.unique(samples.codes[:, codes[0]], return_index=True)[1]
        tried = np.concatenate([tried, firsts])
    return tried
