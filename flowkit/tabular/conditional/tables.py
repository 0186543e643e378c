"""Tables of features and targets: taken apart, checked, and with names."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, column_or_1d

from flowkit.errors import ArgumentError, DataError, ShapeError
from flowkit.schema import Column, Schema
from flowkit.schema.array_tables import Arrays
from flowkit.schema.codec import check_finite, from_line
from flowkit.schema.codec import numbers as numbers_of
from flowkit.schema.frames import length, names, opened_or_none, read
from flowkit.tabular import validation


def target_names(target: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the targets; none if they come apart from the features."""
    if target is None:
        return ()
    chosen = (target,) if isinstance(target, str) else tuple(target)
    if not chosen or not all(isinstance(name, str) for name in chosen):
        raise ArgumentError("target", "a name of a column, or some", repr(target))
    if len(set(chosen)) < len(chosen):
        raise ArgumentError("target", "columns that differ", repr(target))
    return chosen


def named(table: Any) -> Any:
    """Return a table with names for its columns: those of an array are x0, x1, ..."""
    found = opened_or_none(table)
    plain = table if found is None else found[0]
    if isinstance(plain, np.ndarray) and plain.ndim == 2:
        return Arrays({f"x{j}": plain[:, j] for j in range(plain.shape[1])}, {})
    return plain


def check_targets(table: Any, targets: Sequence[str]) -> None:
    """Raise unless a table has all targets, and a feature beside them."""
    columns = names(table)
    for name in targets:
        if name not in columns:
            shown = ", ".join(map(repr, columns[:10]))
            raise ArgumentError("target", f"the name of a column, such as {shown}", repr(name))
    if len(columns) == len(targets):
        raise ArgumentError("target", "at least one column left as a feature", "all columns")


def without(schema: Schema, dropped: Sequence[str]) -> Schema:
    """Return the schema of the other columns."""
    kept = tuple(column for column in schema.columns if column.name not in dropped)
    return Schema(kept, schema.library)


def only(schema: Schema, kept: Sequence[str]) -> Schema:
    """Return the schema of some columns, in the order of their names."""
    columns = {column.name: column for column in schema.columns}
    return Schema(tuple(columns[name] for name in kept), schema.library)


def target_table(
    y: Any, estimator: BaseEstimator, rows: int, columns: Sequence[str] = ()
) -> tuple[Any, bool]:
    """Return targets that come apart as a table, and whether they are one column without a table.

    Args:
        y: ``(rows,)``, or a table.
        estimator: named in warnings.
        rows: number of rows of the features.
        columns: names of the targets of the fit, which those of an array get.

    Raises:
        ShapeError: there are not as many rows as features have.
    """
    found = opened_or_none(y)
    if found is not None and not isinstance(found[0], np.ndarray):
        table, single = found[0], False
    else:
        array = _array(y, estimator)
        single = array.ndim == 1
        if single:
            name = columns[0] if columns else str(getattr(y, "name", None) or "y")
            table = Arrays({name: array}, {})
        else:
            chosen = columns or [f"y{j}" for j in range(array.shape[1])]
            if len(chosen) != array.shape[1]:
                raise ShapeError("y", f"{len(chosen)} targets, as in the fit", array.shape)
            table = Arrays(dict(zip(chosen, array.T, strict=True)), {})
    if length(table) != rows:
        raise ShapeError("y", f"one row for each of the {rows} rows of X", length(table))
    return table, single


def _array(y: Any, estimator: BaseEstimator) -> np.ndarray:
    """Return targets as an array; infinities are errors, NaN is a missing target."""
    if y is None:
        raise ArgumentError(
            "y",
            f"This {type(estimator).__name__} requires y to be passed, but the target y is None. "
            "Pass y, or name the target column with target=...",
        )
    array: np.ndarray = check_array(
        np.asarray(y),
        ensure_2d=False,
        dtype=None,
        ensure_all_finite="allow-nan",
        ensure_min_samples=0,
        input_name="y",
        estimator=estimator,
    )
    if array.ndim == 2 and array.shape[1] == 1:
        array = column_or_1d(array, warn=True)
    if array.ndim > 2:
        raise ShapeError("y", "(rows,) or (rows, targets)", array.shape)
    return array


def checked_features(estimator: BaseEstimator, X: Any, *, reset: bool) -> Any:
    """Return features as a table, checked as scikit-learn does."""
    return named(validation.checked(estimator, X, reset=reset))


def check_informative(schema: Schema) -> None:
    """Raise if a target has nothing to learn: constant, without values, or all distinct texts."""
    for column in schema.columns:
        where = f"target {column.name!r}"
        if column.kind == "empty":
            expected = "has no values; choose another target, or leave this one out"
            raise DataError(where, expected)
        if column.kind == "identifier":
            expected = "has another text in each row; choose a target whose values repeat"
            raise DataError(where, expected)
        if column.at_levels and len(column.atoms) == 1 and not column.missing:
            raise DataError(where, "values that differ", f"{column.atoms[0]:g} in every row")
        if column.kind == "categorical" and len(column.categories) < 2 and not column.missing:
            raise DataError(where, "values that differ", f"{column.categories[0]!r} in every row")


def first_column(table: Any, name: str) -> np.ndarray:
    """Return a column of a table as an array, ``(rows,)``."""
    plain = named(table)
    if isinstance(plain, Arrays):
        arrays = list(plain.columns.values())
        return np.asarray(plain.columns.get(name, arrays[0]))
    column = plain[name]
    values: np.ndarray = column.to_numpy() if hasattr(column, "to_numpy") else np.asarray(column)
    return values


def in_units(column: Column, x: np.ndarray) -> np.ndarray:
    """Return numbers as values of a column: those of dates are datetimes, in UTC."""
    if column.kind != "datetime":
        return x
    return np.round(x * 1e6).astype("datetime64[us]")


def numbers(schema: Schema, table: Any) -> np.ndarray:
    """Return the one numeric target of a table in its own units, ``(rows,)``.

    Values off the levels or beyond the bounds of the fit are returned as they are.

    Raises:
        DataError: a target is missing, or no number.
    """
    (column,) = schema.columns
    series = read(table, column.name)
    check_finite(series, 0)
    missing = np.flatnonzero(series.missing)
    if len(missing):
        where = f"target {column.name!r}, row {missing[0]}"
        raise DataError(where, "a value (leave out rows without a target)", "none")
    whole = column.kind == "integer" and series.family in ("integer", "boolean")
    values = series.values if whole else numbers_of(column, series, 0)
    result: np.ndarray = values.astype(np.float64)
    return result


def columns_of_numbers(schema: Schema, codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return numeric targets in their own units, ``(rows, targets)``; NaN where missing.

    Raises:
        ArgumentError: a target is a category.
    """
    result = np.full((len(codes), len(schema.columns)), np.nan)
    for k, column in enumerate(schema.columns):
        at = [i for i, d in enumerate(schema.discrete) if d.name == column.name]
        if column.kind == "categorical":
            raise ArgumentError(f"target {column.name!r}", "a number", "a category")
        if column.at_levels:
            levels = np.append(column.atoms, [np.nan, np.nan])
            result[:, k] = levels[codes[:, at[0]].clip(max=len(levels) - 1)]
            continue
        state = codes[:, at[0]] if column.has_flag else np.zeros(len(codes), dtype=np.int64)
        if column.kind == "integer":
            result[:, k] = np.where(state == 0, codes[:, at[-1]], np.nan)
            continue
        result[:, k] = from_line(column, values[:, schema.continuous.index(column.name)])
        for i, atom in enumerate(column.atoms):
            result[state == 1 + i, k] = atom
    return result


def measure(column: Column) -> str:
    """Return what the density of a target is with respect to, in words."""
    if column.kind == "categorical" or column.at_levels or column.kind == "integer":
        return "probability"
    words = "density"
    if column.step is not None:
        words = f"density, constant over steps of {column.step:g}"
    if column.atoms or column.missing:
        words += "; probability of point masses and missing values"
    return words
