"""Conditional probabilities of a categorical target: members fitted by folds, and weighted."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from scipy.special import softmax
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from flowkit._boosting import one_thread, trainable
from flowkit.tabular.conditional.regression import FEWEST_ROWS, Features
from flowkit.tabular.conditional.trees import Trees
from flowkit.tabular.settings import FitSettings
from flowkit.tabular.stacking import selected_weights

# With more states than this, boosting would fit too many trees.
_MOST_BOOSTED = 30
_TREES = {"fast": 50, "default": 100, "best": 200}
_ITERATIONS = 100
_FEW_ROWS_PRIOR = 0.1


class Logistic:
    """Multinomial logistic regression over network features."""

    def __init__(self, coefficients: np.ndarray, states: np.ndarray, size: int) -> None:
        self.coefficients, self.states, self.size = coefficients, states, size

    @classmethod
    def fit(cls, x: Features, code: np.ndarray, weights: np.ndarray, size: int) -> "Logistic":
        """Fit to codes ``(n,)`` of at least two states."""
        model = LogisticRegression(max_iter=300).fit(x.networks, code, weights)
        coefficients, states = np.c_[model.coef_, model.intercept_], model.classes_
        if len(states) == 2:
            coefficients = np.stack([np.zeros(coefficients.shape[1]), coefficients[0]])
        return cls(coefficients, states.astype(np.int64), size)

    def __call__(self, x: Features) -> np.ndarray:
        """Return probabilities ``(n, size)``."""
        with_one = np.column_stack([x.networks, np.ones(len(x.networks))])
        return _placed(softmax(with_one @ self.coefficients.T, axis=1), self.states, self.size)

    def state(self) -> dict[str, Any]:
        """Return the regression for a model file."""
        return {"coefficients": self.coefficients, "states": self.states, "size": self.size}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "Logistic":
        """Make a regression from what `state` returned."""
        return cls(state["coefficients"], state["states"], state["size"])


class ForestClasses:
    """Extremely randomised trees: the shares of states in a row's leaves, averaged."""

    def __init__(self, trees: Trees) -> None:
        self.trees = trees

    @classmethod
    def fit(
        cls, x: Features, code: np.ndarray, weights: np.ndarray, size: int, trees: int, seed: int
    ) -> "ForestClasses":
        """Fit to codes ``(n,)``."""
        model = ExtraTreesClassifier(
            trees,
            min_samples_leaf=2,
            max_features=None,
            bootstrap=True,
            random_state=seed,
            max_leaf_nodes=max(200_000 // size, 64) if len(code) > 20_000 else None,
        ).fit(x.trees, code, weights)
        prior = np.bincount(code, weights, size) / weights.sum()
        leaves, values = model.apply(x.trees), []
        for i, tree in enumerate(model.estimators_):
            nodes = tree.tree_.node_count
            counts = np.bincount(leaves[:, i] * size + code, weights, nodes * size)
            counts = counts.reshape(nodes, size) + prior
            values.append(counts / counts.sum(1, keepdims=True))
        return cls(Trees.of_forest([e.tree_ for e in model.estimators_], values))

    def __call__(self, x: Features) -> np.ndarray:
        """Return probabilities ``(n, size)``."""
        leaves = self.trees.leaves(x.trees)
        total = np.zeros((len(leaves), self.trees.values.shape[1]))
        for tree in leaves.T:
            total += self.trees.values[tree]
        shares: np.ndarray = total / leaves.shape[1]
        return shares

    def state(self) -> dict[str, Any]:
        """Return the trees for a model file."""
        return {"trees": self.trees.state()}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "ForestClasses":
        """Make a forest from what `state` returned."""
        return cls(Trees.of_state(state["trees"]))


class BoostedClasses:
    """Gradient-boosted trees for the logits of the states."""

    def __init__(
        self, trees: list[Trees], states: np.ndarray, baseline: np.ndarray, size: int
    ) -> None:
        self.trees, self.states, self.baseline, self.size = trees, states, baseline, size

    @classmethod
    def fit(
        cls, x: Features, code: np.ndarray, weights: np.ndarray, size: int, seed: int
    ) -> "BoostedClasses":
        """Fit to codes ``(n,)`` of at least two states."""
        model = HistGradientBoostingClassifier(
            learning_rate=0.05,
            max_iter=_ITERATIONS,
            max_leaf_nodes=15,
            min_samples_leaf=10,
            l2_regularization=1.0,
            early_stopping=False,
            random_state=seed,
        )
        with one_thread():
            model.fit(trainable(x.trees), code, weights)
        return cls(
            Trees.of_boosting(model),
            model.classes_.astype(np.int64),
            model._baseline_prediction.ravel().astype(np.float64),
            size,
        )

    def __call__(self, x: Features) -> np.ndarray:
        """Return probabilities ``(n, size)``."""
        raw = np.stack([trees.sums(x.trees) for trees in self.trees], 1) + self.baseline
        if raw.shape[1] == 1:
            raw = np.column_stack([np.zeros(len(raw)), raw])
        return _placed(softmax(raw, axis=1), self.states, self.size)

    def state(self) -> dict[str, Any]:
        """Return the trees for a model file."""
        trees = [trees.state() for trees in self.trees]
        return {
            "trees": trees,
            "states": self.states,
            "baseline": self.baseline,
            "size": self.size,
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "BoostedClasses":
        """Make boosted trees from what `state` returned."""
        trees = [Trees.of_state(one) for one in state["trees"]]
        return cls(trees, state["states"], state["baseline"], state["size"])


class Certain:
    """The one state that a fold has."""

    def __init__(self, probabilities: np.ndarray) -> None:
        self.probabilities = probabilities

    def __call__(self, x: Features) -> np.ndarray:
        """Return probabilities ``(n, size)``."""
        return np.broadcast_to(self.probabilities, (len(x.trees), len(self.probabilities)))

    def state(self) -> dict[str, Any]:
        """Return the probabilities for a model file."""
        return {"probabilities": self.probabilities}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "Certain":
        """Make it from what `state` returned."""
        return cls(state["probabilities"])


class Classifier(Protocol):
    """A member: probabilities of the known states."""

    def __call__(self, x: Features) -> np.ndarray:
        """Return probabilities ``(n, size)``."""

    def state(self) -> dict[str, Any]:
        """Return the member for a model file."""


_KINDS: dict[str, Any] = {
    "logistic": Logistic,
    "forest": ForestClasses,
    "boosted": BoostedClasses,
}


class ConditionalClasses:
    """The stacked members: features in, probabilities of all states out.

    An unseen state, the last one, has the probability of half a row.

    Args:
        size: number of known states.
        prior: their probabilities without features, ``(size,)``.
        unseen: probability of an unseen state.
    """

    def __init__(self, size: int, prior: np.ndarray, unseen: float) -> None:
        self.size, self.prior, self.unseen = size, prior, unseen
        self.shares: dict[str, float] = {"prior": 1.0}
        self.members: dict[str, list[Classifier]] = {}
        self.held_out: dict[str, float] = {}

    @classmethod
    def fit(
        cls,
        code: np.ndarray,
        size: int,
        x: Features,
        weights: np.ndarray,
        fold_of_row: np.ndarray,
        settings: FitSettings,
    ) -> "ConditionalClasses":
        """Fit to codes ``(n,)``, those of unseen states aside."""
        counts = np.bincount(code, weights, size) + 0.5
        self = cls(size, counts / counts.sum(), 0.5 / (weights.sum() + 1))
        folds = [fold_of_row == fold for fold in np.unique(fold_of_row)]
        if len(np.unique(code)) < 2:
            return self
        if weights.sum() < FEWEST_ROWS:
            self.members = {"logistic": [Logistic.fit(x, code, weights, size)]}
            self.shares = {"prior": _FEW_ROWS_PRIOR, "logistic": 1 - _FEW_ROWS_PRIOR}
            return self
        scores = {"prior": np.log(self.prior[code])}
        for kind in ("logistic", "forest", "boosted"):
            if kind == "boosted" and len(np.unique(code)) > _MOST_BOOSTED:
                continue
            settings.report(kind, 0, len(folds), "probabilities of a category")
            members, score = [], np.empty(len(code))
            for e, out in enumerate(folds):
                part = Features(x.trees[~out], x.networks[~out])
                member = _fitted(kind, part, code[~out], weights[~out], size, settings, e)
                probabilities = member(Features(x.trees[out], x.networks[out]))
                score[out] = np.log(probabilities[np.arange(out.sum()), code[out]] + 1e-300)
                members.append(member)
            self.members[kind], scores[kind] = members, score
        kinds = list(scores)
        table = np.stack([scores[kind] for kind in kinds], 1)
        share = selected_weights(table, weights)
        share[0] = max(share[0], 1e-3)
        share /= share.sum()
        self.shares = {k: float(s) for k, s in zip(kinds, share, strict=True) if s > 0}
        self.members = {k: m for k, m in self.members.items() if k in self.shares}
        self.held_out = {k: float(np.average(s, weights=weights)) for k, s in scores.items()}
        return self

    def __call__(self, x: Features) -> np.ndarray:
        """Return probabilities ``(n, size + 1)``, that of unseen states last."""
        total = np.broadcast_to(self.shares["prior"] * self.prior, (len(x.trees), self.size)).copy()
        for kind, members in self.members.items():
            for member in members:
                total += self.shares[kind] / len(members) * member(x)
        total *= (1 - self.unseen) / total.sum(1, keepdims=True)
        return np.column_stack([total, np.full(len(total), self.unseen)])

    def state(self) -> dict[str, Any]:
        """Return the members for a model file."""
        members = {
            kind: [{"certain": isinstance(m, Certain), **m.state()} for m in some]
            for kind, some in self.members.items()
        }
        names = ("size", "prior", "unseen", "shares", "held_out")
        return {"members": members, **{name: getattr(self, name) for name in names}}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "ConditionalClasses":
        """Make it from what `state` returned."""
        self = cls(state["size"], state["prior"], state["unseen"])
        self.shares, self.held_out = dict(state["shares"]), dict(state["held_out"])
        self.members = {
            kind: [(Certain if m["certain"] else _KINDS[kind]).of_state(m) for m in some]
            for kind, some in state["members"].items()
        }
        return self


def _fitted(
    kind: str,
    x: Features,
    code: np.ndarray,
    weights: np.ndarray,
    size: int,
    settings: FitSettings,
    fold: int,
) -> Classifier:
    if len(np.unique(code)) < 2:
        counts = np.bincount(code, weights, size) + 0.5
        return Certain(counts / counts.sum())
    if kind == "logistic":
        return Logistic.fit(x, code, weights, size)
    seed = settings.seed + fold
    if kind == "forest":
        return ForestClasses.fit(x, code, weights, size, _TREES[settings.effort], seed)
    return BoostedClasses.fit(x, code, weights, size, seed)


def _placed(probabilities: np.ndarray, states: np.ndarray, size: int) -> np.ndarray:
    """Return probabilities of some states as those of all, ``(n, size)``."""
    result = np.zeros((len(probabilities), size))
    result[:, states] = probabilities
    return result
