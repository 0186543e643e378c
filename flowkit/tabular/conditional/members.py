"""Members of a conditional density: each turns features into a mixture of normals."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor

from flowkit.tabular.conditional.normal_mixture import NormalMixture, narrowing
from flowkit.tabular.conditional.trees import Trees

# Scales of the background, in standard deviations of the target, and its shares.
_BACKGROUND = np.array([1.0, 3.0, 10.0, 100.0])
_BACKGROUND_SHARES = np.array([0.5, 0.3, 0.15, 0.05])
# Fewer residuals, by weight, get a fixed shape: shares, means, and scales in units of their size.
_FEWEST_RESIDUALS = 60
_FEW_RESIDUALS = np.array([[0.85, 0.15], [0.0, 0.0], [0.9, 2.0]])
# Components of the distribution of standardised residuals.
_RESIDUAL_COMPONENTS = 6
# No tree has more leaves than this: the model file grows with them.
_MOST_LEAVES = 4_096


def background(n: int) -> NormalMixture:
    """Return the target without features, for ``n`` rows: a floor under all members."""
    shape = (n, len(_BACKGROUND))
    return NormalMixture(
        np.broadcast_to(_BACKGROUND_SHARES, shape),
        np.zeros(shape),
        np.broadcast_to(_BACKGROUND, shape),
    )


class LinearMember:
    """Linear regression with a ridge, and a mixture for the residuals."""

    def __init__(self, coefficients: np.ndarray, residuals: np.ndarray) -> None:
        self.coefficients, self.residuals = coefficients, residuals

    @classmethod
    def fit(cls, features: np.ndarray, t: np.ndarray, weights: np.ndarray) -> "LinearMember":
        """Fit to network features ``(n, c)`` and targets ``(n,)``; the ridge is one row's worth."""
        x = _with_one(features)
        gram = (x.T * weights) @ x + np.diag([*np.ones(x.shape[1] - 1), 1e-6])
        coefficients = np.linalg.solve(gram, (x.T * weights) @ t)
        # As if each row had been left out: its leverage shrinks its residual.
        leverage = np.einsum("ij,ij->i", x, np.linalg.solve(gram, x.T).T)
        residuals = (t - x @ coefficients) / np.maximum(1 - leverage, 0.1)
        if weights.sum() < _FEWEST_RESIDUALS:
            size = np.sqrt(np.average(residuals**2, weights=weights) + 1e-12)
            return cls(coefficients, _FEW_RESIDUALS * np.array([[1.0], [1.0], [size]]))
        return cls(coefficients, residual_mixture(residuals, weights))

    def mixture(self, features: np.ndarray) -> NormalMixture:
        """Return the residuals' mixture around the linear prediction."""
        return around(
            _with_one(features) @ self.coefficients, np.ones(len(features)), self.residuals
        )

    def state(self) -> dict[str, Any]:
        """Return coefficients and the mixture of residuals, for a model file."""
        return {"coefficients": self.coefficients, "residuals": self.residuals}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "LinearMember":
        """Make a member from what `state` returned."""
        return cls(state["coefficients"], state["residuals"])


class ForestMember:
    """Extremely randomised trees: a normal in each leaf, and an equal share of each tree.

    Reference: Geurts, Ernst and Wehenkel, *Extremely randomized trees*, 2006.
    """

    def __init__(self, trees: Trees) -> None:
        self.trees = trees

    @classmethod
    def fit(
        cls,
        features: np.ndarray,
        t: np.ndarray,
        weights: np.ndarray,
        *,
        trees: int,
        seed: int,
        threads: int = 1,
    ) -> "ForestMember":
        """Fit to tree features ``(n, c)``, NaN where missing, and targets ``(n,)``."""
        model = ExtraTreesRegressor(
            trees,
            min_samples_leaf=2,
            max_leaf_nodes=_MOST_LEAVES if len(t) > _MOST_LEAVES else None,
            max_features=1.0,
            bootstrap=True,
            random_state=seed,
            n_jobs=threads,
        ).fit(features, t, weights)
        values = []
        leaves = model.apply(features)
        for i, tree in enumerate(model.estimators_):
            leaf, nodes = leaves[:, i], tree.tree_.node_count
            count = np.bincount(leaf, weights, nodes)
            mean = np.bincount(leaf, weights * t, nodes) / np.maximum(count, 1e-12)
            square = np.bincount(leaf, weights * (t - mean[leaf]) ** 2, nodes)
            # The variance within a leaf, drawn towards the mean variance by half a row.
            common = square.sum() / count.sum()
            variance = (square + 0.5 * common) / np.maximum(count, 1.0)
            values.append(np.stack([mean, np.sqrt(np.maximum(variance, 1e-12))], 1))
        return cls(Trees.of_forest([e.tree_ for e in model.estimators_], values))

    def mixture(self, features: np.ndarray) -> NormalMixture:
        """Return the normals of a row's leaves."""
        values = self.trees.values[self.trees.leaves(features)].astype(np.float64)
        shape = values.shape[:2]
        return NormalMixture(np.full(shape, 1 / shape[1]), values[:, :, 0], values[:, :, 1])

    def state(self) -> dict[str, Any]:
        """Return the trees, for a model file."""
        return {"trees": self.trees.state()}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "ForestMember":
        """Make a member from what `state` returned."""
        return cls(Trees.of_state(state["trees"]))


class BoostedMember:
    """Gradient-boosted trees for the location and for the logarithm of the scale.

    The scale is fitted to residuals of held-out rows, and so is a mixture for the residuals in
    units of the scale.

    Reference: Friedman, *Greedy function approximation*, 2001.
    """

    def __init__(
        self, location: list[Trees], scale: Trees, baselines: np.ndarray, residuals: np.ndarray
    ) -> None:
        self.location, self.scale = location, scale
        self.baselines, self.residuals = baselines, residuals

    def predictions(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return location, scale, and the variance between the folds' locations, ``(n,)`` each."""
        sums = np.stack([trees.sums(features) for trees in self.location])
        locations = sums + self.baselines[0]
        location = locations.mean(0)
        raw = self.scale.sums(np.column_stack([features, location])) + self.baselines[1]
        return location, np.exp(0.5 * raw), locations.var(0)

    def mixture(
        self, location: np.ndarray, scale: np.ndarray, between: np.ndarray
    ) -> NormalMixture:
        """Return the residuals' mixture around the location, in units of the scale.

        The scale is that of the residuals of one fold's trees. Those of their mean are smaller, by
        the variance between them.
        """
        mixture = around(location, scale, self.residuals)
        return mixture.spread(narrowing(mixture.variance(), mixture.variance() - between))

    def state(self) -> dict[str, Any]:
        """Return trees and residuals, for a model file."""
        return {
            "location": [trees.state() for trees in self.location],
            "scale": self.scale.state(),
            "baselines": self.baselines,
            "residuals": self.residuals,
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "BoostedMember":
        """Make a member from what `state` returned."""
        return cls(
            [Trees.of_state(trees) for trees in state["location"]],
            Trees.of_state(state["scale"]),
            state["baselines"],
            state["residuals"],
        )


def boosting(n: int, effort: str, *, seed: int) -> HistGradientBoostingRegressor:
    """Return gradient boosting of the location for ``n`` rows, not fitted."""
    few, fast = n < 3_000, effort == "fast"
    return HistGradientBoostingRegressor(
        learning_rate=0.1 if fast else 0.05,
        max_iter=100 if fast else 400 if n < 20_000 else 600,
        max_leaf_nodes=15 if few else 31,
        min_samples_leaf=5 if few else 10,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    )


def scale_boosting(seed: int) -> HistGradientBoostingRegressor:
    """Return gradient boosting of the logarithm of squared residuals' mean, not fitted."""
    return HistGradientBoostingRegressor(
        loss="gamma",
        learning_rate=0.1,
        max_iter=50,
        max_leaf_nodes=8,
        min_samples_leaf=20,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    )


def residual_mixture(residuals: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return shares, means and scales of a mixture of normals for residuals, ``(3, K)``.

    EM from components of growing width. A floor keeps the narrowest from collapsing.
    """
    size = np.abs(residuals)
    levels = np.array([0.2, 0.4, 0.6, 0.8, 0.95, 0.995])[:_RESIDUAL_COMPONENTS]
    order = np.argsort(size)
    place = np.cumsum(weights[order]) / weights.sum()
    scales = np.interp(levels, place, size[order])
    floor = 0.05 * np.interp(0.5, place, size[order]) + 1e-6
    scales = np.maximum(scales, floor)
    means, shares = np.zeros(len(levels)), np.full(len(levels), 1 / len(levels))
    r = residuals[:, None]
    for _ in range(100):
        log_joint = np.log(shares) - 0.5 * ((r - means) / scales) ** 2 - np.log(scales)
        joint = np.exp(log_joint - log_joint.max(1, keepdims=True))
        joint *= (weights / joint.sum(1))[:, None]
        counts = joint.sum(0) + 1e-2
        shares = counts / counts.sum()
        means = (joint * r).sum(0) / (counts + 2)
        scales = np.sqrt((joint * (r - means) ** 2).sum(0) / counts + floor**2)
    return np.stack([shares, means, scales])


def around(location: np.ndarray, scale: np.ndarray, residuals: np.ndarray) -> NormalMixture:
    """Return the residuals' mixture ``(3, K)`` at locations and scales, ``(n,)`` each."""
    shares, means, scales = residuals
    return NormalMixture(
        np.broadcast_to(shares, (len(location), len(shares))),
        location[:, None] + scale[:, None] * means,
        scale[:, None] * scales,
    )


def _with_one(features: np.ndarray) -> np.ndarray:
    return np.column_stack([features, np.ones(len(features))])
