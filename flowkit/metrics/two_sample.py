"""Classifier two-sample tests."""

from dataclasses import dataclass

import numpy as np

from flowkit._boosting import one_thread, trainable
from flowkit.errors import ShapeError

FEWEST_ROWS = 20
_Z = 1.96  # quantile of a two-sided normal interval of 95 %


@dataclass(frozen=True)
class TwoSample:
    """Result of a classifier two-sample test.

    Attributes:
        auc: area under the ROC curve of held-out rows: 0.5 for equal distributions, 1 for disjoint.
        null_low: lower end of the 95 % interval of ``auc`` for equal distributions.
        null_high: upper end of that interval.
        importance: permutation importance of each feature, the fall of ``auc``, ``(d,)``.
    """

    auc: float
    null_low: float
    null_high: float
    importance: np.ndarray


def two_sample(x: np.ndarray, y: np.ndarray, *, seed: int = 0) -> TwoSample:
    """Train boosted trees to classify half of ``x`` against half of ``y``; score the other halves.

    The null interval is the normal approximation of the Mann-Whitney statistic, which is valid for
    held-out rows. Cross-validation is not used: areas of folds are correlated, and their standard
    deviation is half as large again as in that formula.

    Args:
        x: ``(n, d)``, NaN for missing values.
        y: ``(m, d)``.
        seed: random seed of halves and trees.

    Raises:
        ShapeError: numbers of columns that differ, or fewer than 20 rows in either table.

    Reference: Lopez-Paz and Oquab, *Revisiting classifier two-sample tests*, 2017.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> far = two_sample(rng.normal(size=(60, 2)), rng.normal(9, 1, size=(60, 2)))
        >>> far.auc > far.null_high
        True
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ShapeError("y", f"the number of columns of x, {x.shape}", y.shape)
    if min(len(x), len(y)) < FEWEST_ROWS:
        expected = f"at least {FEWEST_ROWS} rows each"
        raise ShapeError("x and y", expected, f"{len(x)} and {len(y)}")
    rng = np.random.default_rng(seed)
    halves = [
        (a[: len(a) // 2], a[len(a) // 2 :]) for a in (rng.permutation(x), rng.permutation(y))
    ]
    (train, labels), (test, truth) = (
        (np.concatenate(parts), np.repeat([0, 1], [len(part) for part in parts]))
        for parts in zip(*halves, strict=True)
    )
    trees = HistGradientBoostingClassifier(
        max_iter=100, max_leaf_nodes=15, early_stopping=False, random_state=seed
    )
    with one_thread():
        trees.fit(trainable(train), labels)

        def area(rows: np.ndarray) -> float:
            return float(roc_auc_score(truth, trees.predict_proba(rows)[:, 1]))

        auc, falls = area(test), np.zeros(x.shape[1])
        for j in range(x.shape[1]):
            shuffled = test.copy()
            shuffled[:, j] = rng.permutation(shuffled[:, j])
            falls[j] = auc - area(shuffled)
    ones = int(truth.sum())
    zeros = len(truth) - ones
    half = _Z * float(np.sqrt((zeros + ones + 1) / (12 * zeros * ones)))
    return TwoSample(auc, 0.5 - half, 0.5 + half, falls)


def classifier_accuracy(x: np.ndarray, y: np.ndarray, *, folds: int = 5, seed: int = 0) -> float:
    """Return the accuracy of a network that classifies two samples: 0.5 for equal distributions.

    This is the C2ST of simulation-based inference: two hidden layers of ten units per column, on
    columns standardised by ``x``, with cross-validation.

    Args:
        x: ``(n, d)``.
        y: ``(m, d)``, with m about n.
        folds: number of folds of the cross-validation.
        seed: random seed of folds and network.

    Raises:
        ShapeError: numbers of columns that differ, or fewer than 20 rows in either sample.

    Reference: Lopez-Paz and Oquab, *Revisiting classifier two-sample tests*, 2017; Lueckmann et
    al., *Benchmarking simulation-based inference*, 2021, for the network.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> classifier_accuracy(rng.normal(size=(60, 2)), rng.normal(9, 1, size=(60, 2)))
        1.0
    """
    from sklearn.model_selection import KFold, cross_val_score
    from sklearn.neural_network import MLPClassifier

    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ShapeError("y", f"the number of columns of x, {x.shape}", y.shape)
    if min(len(x), len(y)) < FEWEST_ROWS:
        raise ShapeError("x and y", f"at least {FEWEST_ROWS} rows each", f"{len(x)} and {len(y)}")
    mean, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    rows = (np.concatenate([x, y]) - mean) / scale
    labels = np.repeat([0, 1], [len(x), len(y)])
    network = MLPClassifier(
        (10 * x.shape[1],) * 2, max_iter=10_000, solver="adam", random_state=seed
    )
    split = KFold(folds, shuffle=True, random_state=seed)
    return float(cross_val_score(network, rows, labels, cv=split, scoring="accuracy").mean())
