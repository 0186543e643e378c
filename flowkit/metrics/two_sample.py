"""Whether a classifier can tell two tables apart."""

from dataclasses import dataclass

import numpy as np

from flowkit._checks import check_count
from flowkit.errors import ShapeError

_Z = 1.96  # of a two-sided normal interval of 95 %


@dataclass(frozen=True)
class TwoSample:
    """What a classifier made of two tables.

    Attributes:
        auc: mean over folds of the area under the ROC curve; 0.5 is chance, 1 tells all.
        null_low: lower end of the interval in which 95 % of the areas lie by chance.
        null_high: its upper end.
        importance: of each feature, how much the area falls when it is shuffled, ``(d,)``.
    """

    auc: float
    null_low: float
    null_high: float
    importance: np.ndarray


def two_sample(x: np.ndarray, y: np.ndarray, *, folds: int = 5, seed: int = 0) -> TwoSample:
    """Train boosted trees to tell ``x`` from ``y``, and score them on rows that they did not see.

    The null interval is the normal one of the Mann-Whitney statistic, for the rows of each fold.

    Args:
        x: ``(n, d)``, NaN where missing.
        y: ``(m, d)``.
        folds: of the cross-validation.
        seed: of folds and trees.

    Raises:
        ShapeError: other shapes, or fewer rows than four a fold in either table.

    Reference: Lopez-Paz and Oquab, *Revisiting classifier two-sample tests*, 2017.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> far = two_sample(rng.normal(size=(60, 2)), rng.normal(9, 1, size=(60, 2)))
        >>> far.auc > far.null_high
        True
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    check_count("folds", folds, 2)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ShapeError("y", f"as many columns as x, {x.shape}", y.shape)
    fewest = min(len(x), len(y))
    if fewest < 4 * folds:
        raise ShapeError("x and y", f"at least {4 * folds} rows each", f"{len(x)} and {len(y)}")
    rows, labels = np.concatenate([x, y]), np.repeat([0, 1], [len(x), len(y)])
    rng = np.random.default_rng(seed)
    areas, variances, falls = [], [], []
    # Threads that wait for each other on busy cores cost far more than they bring to small trees.
    with threadpool_limits(1, user_api="openmp"):
        for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(
            rows, labels
        ):
            trees = HistGradientBoostingClassifier(
                max_iter=100, max_leaf_nodes=15, early_stopping=False, random_state=seed
            )
            # The trees want at least one number in each column.
            empty = np.isnan(rows[train]).all(axis=0)
            known = np.where(empty, 0.0, rows)
            trees.fit(known[train], labels[train])
            # The same rows with one column shuffled, one such copy for each column.
            copies = np.tile(known[test], (rows.shape[1] + 1, 1, 1))
            for j in range(rows.shape[1]):
                copies[1 + j, :, j] = rng.permutation(copies[1 + j, :, j])
            area, *less = [
                float(roc_auc_score(labels[test], trees.predict_proba(copy)[:, 1]))
                for copy in copies
            ]
            areas.append(area)
            falls.append(area - np.array(less))
            ones = int(labels[test].sum())
            zeros = len(test) - ones
            variances.append((zeros + ones + 1) / (12 * zeros * ones))
    half = _Z * float(np.sqrt(np.sum(variances))) / folds
    return TwoSample(float(np.mean(areas)), 0.5 - half, 0.5 + half, np.mean(falls, axis=0))
