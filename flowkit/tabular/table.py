"""What scikit-learn asks of an estimator's input, for arrays and frames alike."""

from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_feature_names, _check_n_features, validate_data

from flowkit.errors import ArgumentError, ShapeError
from flowkit.schema.frames import length, names


def checked(estimator: BaseEstimator, X: Any, *, reset: bool) -> Any:
    """Return the table as an array or a frame, and check its columns or, at a fit, note them.

    Values are left to the schema, which knows what a column is, and the row of what is wrong.
    """
    if nw.dependencies.is_into_dataframe(X):
        names(X)  # are no two the same
        if reset:
            _check_n_features(estimator, X, reset=True)
            _check_feature_names(estimator, X, reset=True)
        return X
    return validate_data(
        estimator,
        X,
        reset=reset,
        dtype=None,
        ensure_all_finite=False,
        ensure_min_samples=2 if reset else 1,
    )


def checked_weights(weights: Any, X: Any) -> np.ndarray | None:
    """Return the weights of the rows as float64, or None.

    Raises:
        ArgumentError: weights that are not as many as rows, not finite, negative, or all zero.
    """
    if weights is None:
        return None
    rows = length(X)
    given: np.ndarray = np.asarray(weights, dtype=np.float64)
    if given.ndim == 0:
        given = np.full(rows, float(given))
    if given.shape != (rows,):
        raise ShapeError("sample_weight", f"one weight per row, ({rows},)", given.shape)
    bad = np.flatnonzero(~(np.isfinite(given) & (given >= 0)))
    if len(bad):
        raise ArgumentError(
            "sample_weight", "finite weights of zero or more", f"{given[bad[0]]} in row {bad[0]}"
        )
    if not given.any():
        raise ArgumentError("sample_weight", "at least one weight above zero", "only zeros")
    return given
