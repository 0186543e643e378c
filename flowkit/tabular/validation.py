"""Validation of tables and weights by scikit-learn's conventions, for arrays and frames."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_feature_names, _check_n_features, validate_data

from flowkit.errors import ArgumentError, ShapeError
from flowkit.schema.array_tables import Arrays
from flowkit.schema.frames import length, names, opened_or_none


def seed_of(random_state: int | np.random.RandomState | None) -> int:
    """Return a seed drawn from scikit-learn's ``random_state``; without one, another each time."""
    return int(check_random_state(random_state).randint(2**31 - 1))


def opened(X: Any) -> tuple[Any, str]:
    """Return a table as an array or a frame, and its library; other objects are unchanged."""
    opened_table = opened_or_none(X)
    return (X, "numpy") if opened_table is None else opened_table


def checked(estimator: BaseEstimator, X: Any, *, reset: bool) -> Any:
    """Return the table as an array or a frame, its columns checked.

    Values are checked by the schema, whose errors name column and row.

    Args:
        estimator: the estimator.
        X: the table.
        reset: whether to record the columns, as in a fit, instead of comparing with them.
    """
    opened_table = opened_or_none(X)
    if opened_table is not None and not isinstance(opened_table[0], np.ndarray):
        X = opened_table[0]
        columns = names(X)  # raises if two are the same
        if reset:
            shown = _named(columns) if isinstance(X, Arrays) else X
            _check_n_features(estimator, shown, reset=True)
            _check_feature_names(estimator, shown, reset=True)
        return X
    if isinstance(X, np.ma.MaskedArray):  # scikit-learn drops masks
        checked(estimator, X.data, reset=reset)
        return X
    return validate_data(
        estimator,
        X,
        reset=reset,
        dtype=None,
        ensure_all_finite=False,
        ensure_min_samples=2 if reset else 1,
    )


def _named(columns: list[str]) -> Any:
    """Return an empty Arrow table of these names, which scikit-learn can read."""
    import pyarrow as pa

    return pa.table({name: pa.nulls(0) for name in columns})


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
