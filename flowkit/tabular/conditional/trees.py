"""Regression trees as arrays: evaluated without scikit-learn's objects, and saved as tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Rows x trees that are walked through at a time.
_BLOCK = 1_000_000
_ARRAYS = ("roots", "feature", "threshold", "left", "right", "missing_left", "values")


class Trees:
    """Binary decision trees, their nodes one after the other.

    A row goes to the left child where its feature is at most the threshold. A missing feature goes
    where the tree sends missing ones.

    Args:
        roots: index of the first node of each tree, ``(T,)``.
        feature: feature that a node splits on, ``(nodes,)``; -1 at a leaf.
        threshold: ``(nodes,)``.
        left: index of the left child, ``(nodes,)``; the node itself at a leaf.
        right: index of the right child.
        missing_left: whether missing values go left.
        values: numbers of each node, ``(nodes, V)``.
        single: whether features are rounded to float32 first, as scikit-learn's forests do.
    """

    def __init__(
        self,
        roots: np.ndarray,
        feature: np.ndarray,
        threshold: np.ndarray,
        left: np.ndarray,
        right: np.ndarray,
        missing_left: np.ndarray,
        values: np.ndarray,
        *,
        single: bool,
    ) -> None:
        self.roots, self.feature, self.threshold = roots, feature, threshold
        self.left, self.right, self.missing_left = left, right, missing_left
        self.values, self.single = values, single

    @classmethod
    def of_forest(cls, trees: Sequence[Any], values: Sequence[np.ndarray]) -> "Trees":
        """Take over the ``tree_`` of fitted scikit-learn trees, with values for their nodes."""
        parts = []
        for tree, of_nodes in zip(trees, values, strict=True):
            inner = tree.children_left >= 0
            own = np.arange(tree.node_count)
            parts.append(
                (
                    np.where(inner, tree.feature, -1),
                    tree.threshold,
                    np.where(inner, tree.children_left, own),
                    np.where(inner, tree.children_right, own),
                    tree.missing_go_to_left.astype(bool),
                    of_nodes,
                )
            )
        return cls._joined(parts, single=True)

    @classmethod
    def of_boosting(cls, model: Any) -> list["Trees"]:
        """Take over the trees of fitted histogram gradient boosting without categories.

        The values of a row's leaves add up to the model's raw prediction, less its baseline: one
        set of trees for a number or for two classes, else one for each class.
        """
        return [
            cls._joined([_nodes(predictor) for predictor in predictors], single=False)
            for predictors in zip(*model._predictors, strict=True)
        ]

    @classmethod
    def _joined(cls, parts: Sequence[tuple[np.ndarray, ...]], *, single: bool) -> "Trees":
        sizes = np.array([len(part[0]) for part in parts], dtype=np.int64)
        roots = np.concatenate([[0], sizes.cumsum()[:-1]])
        feature, threshold, left, right, missing_left, values = (
            np.concatenate([part[i] for part in parts]) for i in range(6)
        )
        shift = np.repeat(roots, sizes)
        return cls(
            roots,
            feature.astype(np.int16),
            threshold.astype(np.float64),
            (left + shift).astype(np.int32),
            (right + shift).astype(np.int32),
            missing_left,
            values.astype(np.float32 if single else np.float64),
            single=single,
        )

    def leaves(self, x: np.ndarray) -> np.ndarray:
        """Return the leaf of each row ``(n, c)`` in each tree, ``(n, T)`` indices of nodes."""
        if self.single:
            x = x.astype(np.float32)
        result = np.empty((len(x), len(self.roots)), dtype=np.int64)
        size = max(_BLOCK // len(self.roots), 1)
        for start in range(0, len(x), size):
            part = x[start : start + size]
            result[start : start + size] = self._walk(part)
        return result

    def _walk(self, x: np.ndarray) -> np.ndarray:
        n, c = x.shape
        node = np.broadcast_to(self.roots, (n, len(self.roots))).ravel()
        row = np.repeat(np.arange(n) * c, len(self.roots))
        flat = x.ravel()
        active = np.flatnonzero(self.feature[node] >= 0)
        node = node.copy()
        while len(active):
            at = node[active]
            value = flat[row[active] + self.feature[at]]
            with np.errstate(invalid="ignore"):
                left = value <= self.threshold[at]
            left |= np.isnan(value) & self.missing_left[at]
            at = np.where(left, self.left[at], self.right[at])
            node[active] = at
            active = active[self.feature[at] >= 0]
        return node.reshape(n, -1)

    def sums(self, x: np.ndarray) -> np.ndarray:
        """Return the sum of the first value of each row's leaves, ``(n,)``."""
        result: np.ndarray = self.values[self.leaves(x), 0].sum(1)
        return result

    def state(self) -> dict[str, Any]:
        """Return the trees for a model file."""
        return {name: getattr(self, name) for name in (*_ARRAYS, "single")}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "Trees":
        """Make trees from what `state` returned."""
        return cls(*(state[name] for name in _ARRAYS), single=bool(state["single"]))


def _nodes(predictor: Any) -> tuple[np.ndarray, ...]:
    """Return the arrays of one tree of gradient boosting."""
    nodes = predictor.nodes
    leaf, own = nodes["is_leaf"].astype(bool), np.arange(len(nodes))
    return (
        np.where(leaf, -1, nodes["feature_idx"].astype(np.int64)),
        nodes["num_threshold"],
        np.where(leaf, own, nodes["left"].astype(np.int64)),
        np.where(leaf, own, nodes["right"].astype(np.int64)),
        nodes["missing_go_to_left"].astype(bool),
        nodes["value"][:, None],
    )
