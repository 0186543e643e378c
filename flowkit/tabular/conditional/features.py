"""Features of a table: numbers for trees, and standardised numbers for networks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowkit.schema import Encoded, Schema
from flowkit.schema.statistics import location_and_scale

# Categories up to so many get an input each; of more, the mean target stands for the category.
_MOST_INPUTS = 16
# Mean targets are drawn towards the common mean by so many rows.
_ROWS_OF_PRIOR = 10.0
# Standardised numbers are softly within this bound.
_BOUND = 4.0
# Those of trees are within this one, as forests compare in float32.
_FAR = 1e30


@dataclass(frozen=True)
class Inputs:
    """Columns that features are made of.

    Args:
        numbers: ``(n, a)``, NaN where absent.
        codes: ``(n, b)``, non-negative integers.
        sizes: number of known states of each column of codes.
    """

    numbers: np.ndarray
    codes: np.ndarray
    sizes: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: np.ndarray) -> "Inputs":
        """Return some of the rows."""
        return Inputs(self.numbers[rows], self.codes[rows], self.sizes)

    def beside(self, others: "Inputs") -> "Inputs":
        """Return these columns, followed by others of the same rows."""
        return Inputs(
            np.concatenate([self.numbers, others.numbers], 1),
            np.concatenate([self.codes, others.codes], 1),
            self.sizes + others.sizes,
        )


def inputs_of(schema: Schema, encoded: Encoded) -> Inputs:
    """Return the columns of encoded rows; an angle is its cosine and sine."""
    numbers, codes, sizes = [], [], []
    for j, part in enumerate(schema.discrete):
        code = encoded.codes[:, j]
        if part.kind == "integer":
            numbers.append(np.where(part.present(encoded.codes), code, np.nan))
            continue
        codes.append(code)
        sizes.append(part.size)
        column = schema.columns[schema.names.index(part.name)]
        if column.at_levels:  # numbers, though coded: their order counts
            levels = np.append(column.atoms, [np.nan, np.nan])
            numbers.append(levels[code.clip(max=len(levels) - 1)])
    for j, circular in enumerate(schema.circular):
        value = encoded.values[:, j]
        numbers += [np.cos(value), np.sin(value)] if circular else [value]
    n = len(encoded.codes)
    return Inputs(
        np.stack(numbers, 1) if numbers else np.zeros((n, 0)),
        np.stack(codes, 1) if codes else np.zeros((n, 0), dtype=np.int64),
        tuple(sizes),
    )


class FeatureMap:
    """Features of inputs, for trees ``(n, c)`` and for networks ``(n, k)``.

    Trees get standardised numbers, with NaN where absent. Networks get them standardised, softly
    bounded, and 0 where absent, with a flag. A column of codes becomes one input for each state,
    or the mean target of its state if there are many.

    Args:
        center: of numbers, ``(a,)``.
        scale: of numbers.
        holes: which numbers were absent in any row of the fit.
        sizes: number of known states of each column of codes.
        means: mean standardised target of each state of the columns with many, one array each.
    """

    def __init__(
        self,
        center: np.ndarray,
        scale: np.ndarray,
        holes: np.ndarray,
        sizes: tuple[int, ...],
        means: list[np.ndarray],
    ) -> None:
        self.center, self.scale, self.holes = center, scale, holes
        self.sizes, self.means = sizes, means

    @classmethod
    def fit(cls, inputs: Inputs, t: np.ndarray, weights: np.ndarray) -> "FeatureMap":
        """Fit to the columns of the training rows and their standardised targets ``(n,)``."""
        a = inputs.numbers.shape[1]
        center, scale = np.zeros(a), np.ones(a)
        for j in range(a):
            here = ~np.isnan(inputs.numbers[:, j])
            if here.any():
                center[j], scale[j] = location_and_scale(inputs.numbers[here, j], weights[here])
        means = [
            _mean_targets(inputs.codes[:, j], size, t, weights)
            for j, size in enumerate(inputs.sizes)
            if size > _MOST_INPUTS
        ]
        return cls(center, scale, np.isnan(inputs.numbers).any(0), inputs.sizes, means)

    def trained(
        self, inputs: Inputs, t: np.ndarray, weights: np.ndarray, fold_of_row: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the features of the training rows.

        The mean targets of a row are those of the other folds, so none contains the row's own. They
        do contain targets of the fold that a member holds out.
        """
        codes = [j for j, size in enumerate(self.sizes) if size > _MOST_INPUTS]
        encoded = np.zeros((len(inputs), len(codes)))
        for fold in np.unique(fold_of_row) if codes else ():
            rest, own = fold_of_row != fold, fold_of_row == fold
            for i, j in enumerate(codes):
                column = inputs.codes[:, j]
                means = _mean_targets(column[rest], self.sizes[j], t[rest], weights[rest])
                encoded[own, i] = means[column[own].clip(max=self.sizes[j])]
        return self._features(inputs, encoded)

    def __call__(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """Return the features of new rows."""
        codes = [j for j, size in enumerate(self.sizes) if size > _MOST_INPUTS]
        encoded = [
            means[inputs.codes[:, j].clip(max=self.sizes[j])]
            for j, means in zip(codes, self.means, strict=True)
        ]
        n = len(inputs)
        return self._features(inputs, np.stack(encoded, 1) if encoded else np.zeros((n, 0)))

    def _features(self, inputs: Inputs, encoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        straight = ((inputs.numbers - self.center) / self.scale).clip(-_FAR, _FAR)
        z = straight / np.sqrt(1 + (straight / _BOUND) ** 2)
        absent = np.isnan(z)
        states = [
            (inputs.codes[:, j, None] == np.arange(size)).astype(np.float64)
            for j, size in enumerate(self.sizes)
            if size <= _MOST_INPUTS
        ]
        shared = [encoded, *states]
        for_trees = np.concatenate([straight, *shared], 1)
        flags = absent[:, self.holes].astype(np.float64)
        for_networks = np.concatenate([np.where(absent, 0.0, z), flags, *shared], 1)
        return for_trees, for_networks

    def state(self) -> dict[str, Any]:
        """Return the map for a model file."""
        names = ("center", "scale", "holes", "means")
        return {"sizes": list(self.sizes), **{name: getattr(self, name) for name in names}}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "FeatureMap":
        """Make a map from what `state` returned."""
        sizes, means = tuple(state["sizes"]), list(state["means"])
        return cls(state["center"], state["scale"], state["holes"], sizes, means)


def _mean_targets(codes: np.ndarray, size: int, t: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean target of each state, and of an unseen one, ``(size + 1,)``."""
    codes = codes.clip(max=size)
    common = np.average(t, weights=weights)
    count = np.bincount(codes, weights, size + 1)
    total = np.bincount(codes, weights * t, size + 1)
    means: np.ndarray = (total + _ROWS_OF_PRIOR * common) / (count + _ROWS_OF_PRIOR)
    return means
