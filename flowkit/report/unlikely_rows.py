"""Gains in log-density of a row by a change of one column."""

import numpy as np

from flowkit.schema import Encoded
from flowkit.tabular import FlowDensity

# Number of sampled values that are tried for a column.
_CANDIDATES = 32


def gains_by_column(
    density: FlowDensity, rows: Encoded, log_density: np.ndarray, samples: Encoded
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gain in log-density of each row if one column had another value.

    Each column is set to values of samples, spread evenly over their range, while other columns are
    unchanged. The gain is that of the best value. The gain is large also for values that are common
    but contradict other columns. Densities are compared with densities, and probabilities with
    probabilities. If the flag of a number changes, the gain is that of the discrete block.

    Args:
        density: a fitted density.
        rows: n encoded rows.
        log_density: log-densities of the rows, ``(n,)``.
        samples: encoded samples of the model.

    Returns:
        Gains in nats, ``(n, columns)``, and indices of the samples with the best value, ``(n,
        columns)``. A gain is infinite if the row is impossible but the changed row is possible.
    """
    n, names = len(log_density), density.schema_.modelled
    gains, best = np.zeros((n, len(names))), np.zeros((n, len(names)), dtype=np.int64)
    for c, name in enumerate(names):
        codes = [j for j, d in enumerate(density.schema_.discrete) if d.name == name]
        values = [j for j, v in enumerate(density.schema_.continuous) if v == name]
        if not codes and not values:
            continue  # the column was empty in the fit

        def changed(
            source: Encoded, codes: list[int] = codes, values: list[int] = values
        ) -> Encoded:
            k = len(source.codes) // n
            new = rows.take(np.repeat(np.arange(n), k))
            new.codes[:, codes] = source.codes[:, codes]
            new.values[:, values] = source.values[:, values]
            new.log_slopes[:, values] = source.log_slopes[:, values]
            # The density of a number off the levels is not comparable with a probability.
            log_unseen = new.log_unseen[:, codes]
            impossible = log_unseen == -np.inf
            new.log_unseen[:, codes] = np.where(impossible, source.log_unseen[:, codes], log_unseen)
            return new

        tried = _spread(samples, codes, values)
        new = changed(samples.take(np.tile(tried, n)))
        gain = density.score_encoded(new).reshape(n, -1)
        with np.errstate(invalid="ignore"):  # -inf minus -inf: no gain
            gain = np.nan_to_num(gain - log_density[:, None], posinf=np.inf)
        if codes and values:  # a number with a flag
            flags = density.score_encoded(new, block="discrete").reshape(n, -1)
            flags = flags - density.score_encoded(rows, block="discrete")[:, None]
            same = new.codes[:, codes].reshape(n, -1) == rows.codes[:, codes]
            gain = np.where(same, gain, flags)
        at = gain.argmax(axis=1)
        gains[:, c] = np.maximum(gain[np.arange(n), at], 0.0)
        best[:, c] = tried[at]
    return gains, best


def _spread(samples: Encoded, codes: list[int], values: list[int]) -> np.ndarray:
    """Return samples spread evenly over the range of a column, and one of each state."""
    keys = [samples.values[:, j] for j in values] + [samples.codes[:, j] for j in codes]
    order = np.lexsort(keys)
    k = min(_CANDIDATES, len(order))
    tried = order[((np.arange(k) + 0.5) / k * len(order)).astype(np.int64)]
    if codes and values:
        firsts = np.unique(samples.codes[:, codes[0]], return_index=True)[1]
        tried = np.concatenate([tried, firsts])
    return tried
