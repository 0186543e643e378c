"""Baselines of a density: a Gaussian, a Gaussian mixture, and independent columns."""

from collections.abc import Callable

import numpy as np
import torch

from flowkit.schema import Encoded, Schema
from flowkit.tabular.continuous.members import MixtureMember
from flowkit.tabular.continuous.preprocessing import Marginals
from flowkit.tabular.discrete import DiscreteBlock

_COMPONENTS = (1, 2, 4, 8, 16)
# More rows do not change the fitted mixtures noticeably.
_ROWS = 20_000

Score = Callable[[Encoded], np.ndarray]


def baselines(schema: Schema, training: Encoded, seed: int = 0) -> dict[str, Score]:
    """Fit a Gaussian, a Gaussian mixture, and independent columns; return their log-densities.

    Continuous columns are mapped to the line and standardised; missing values are integrated out.
    Flags, categories and integers are independent, with their frequencies. The number of components
    is selected by a held-out tenth of the rows. Log-densities have the units of the model's.

    Args:
        schema: schema of the table.
        training: rows to fit.
        seed: random seed of the mixtures.
    """
    chosen = np.random.default_rng(seed).permutation(len(training.values))[:_ROWS]
    rows = training.take(chosen)
    codes = None
    if schema.discrete:
        codes = DiscreteBlock.fit(training.codes, schema.discrete, networks=False)
    scores: dict[str, Score] = {}
    if schema.continuous:
        every = list(range(len(schema.continuous)))
        scores["Gaussian"] = _score(codes, [_mixture(rows, schema, every, (1,), seed)])
        mixture = _mixture(rows, schema, every, _COMPONENTS, seed)
        scores["Gaussian mixture"] = _score(codes, [mixture])
    alone = [_mixture(rows, schema, [j], _COMPONENTS, seed) for j in range(len(schema.continuous))]
    scores["independent columns"] = _score(codes, alone)
    return scores


def _score(codes: DiscreteBlock | None, parts: list[Callable[[np.ndarray], np.ndarray]]) -> Score:
    def score(rows: Encoded) -> np.ndarray:
        total = rows.log_jacobian
        if codes is not None:
            total = total + codes.log_prob(rows.codes)
        for part in parts:
            total = total + part(rows.values)
        return total

    return score


def _mixture(
    rows: Encoded, schema: Schema, columns: list[int], components: tuple[int, ...], seed: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the log-density of columns under a mixture; held-out rows select its size.

    If all columns of a row are missing, the log-density is 0.
    """
    values = rows.values[:, columns]
    values = values[~np.isnan(values).all(axis=1)]
    if not len(values):
        return lambda new: np.zeros(len(new))
    circular, ones = schema.circular[columns], np.ones(len(values))
    marginals = Marginals.fit(values, ones, circular, curved=False, grids=False)
    y = marginals.map(torch.from_numpy(values))[0].numpy()
    tenth = max(len(y) // 10, 1)
    fitting = [k for k in components if k == 1 or 10 * k * len(columns) ** 0.5 <= len(y)]

    def fit(k: int, part: np.ndarray) -> MixtureMember:
        return MixtureMember.fit(part, np.ones(len(part)), k, circular, seed=seed)

    def held_out(k: int) -> float:
        return float(fit(k, y[tenth:]).log_prob(torch.from_numpy(y[:tenth])).mean())

    mixture = fit(max(fitting, key=held_out) if len(fitting) > 1 else 1, y)

    def log_prob(new: np.ndarray) -> np.ndarray:
        x, log_slope = marginals.map_present(
            torch.from_numpy(np.ascontiguousarray(new[:, columns]))
        )
        total: np.ndarray = (mixture.log_prob(x) + log_slope).numpy()
        return total

    return log_prob
