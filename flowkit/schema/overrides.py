"""Overridden columns: checks against the rows, and the options that an override leaves open."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from flowkit.errors import DataError
from flowkit.schema import codec
from flowkit.schema.columns import Column
from flowkit.schema.infer import as_integer, with_masses
from flowkit.schema.series import Series
from flowkit.schema.summary import Summary


def check_rows(name: str, kind: str, series: Series, rows_from: int) -> None:
    """Raise if a value is none of an empty column or of a column of integers; its row is named.

    Args:
        name: name of the column.
        kind: its kind; columns of other kinds are checked without a row by `complete`.
        series: all rows of the column, or some.
        rows_from: number of the first row.
    """
    present = np.flatnonzero(~series.missing)
    if not len(present):
        return
    if kind == "empty":
        where = f"column {name!r}, row {rows_from + int(present[0])}"
        got = repr(series.values[present].tolist()[0])
        raise DataError(where, "no value, as the fit saw only missing ones", got)
    if kind == "integer" and series.levels is None:
        codec.integers(Column(name, kind, series.dtype), series, rows_from)


def complete(column: Column, summary: Summary, override: Any) -> Column:
    """Complete an override from the rows, and check that the rows agree with the override."""
    where = f"column {column.name!r}"
    if summary.present == 0 and column.kind != "empty":
        raise DataError(where, f"at least one value, to be {column.kind}", "only missing ones")
    if column.kind == "empty":
        return column
    if column.kind == "identifier":
        if summary.family not in ("text", "integer", "float"):
            raise DataError(where, "text or numbers, to be an identifier", summary.family)
        return column
    if summary.levels is not None and column.kind != "categorical":
        expected = f"numbers, to be {column.kind} (give it a dtype without categories)"
        raise DataError(where, expected, f"categories of dtype {column.dtype}")
    column = replace(column, missing=column.missing or summary.missing > 0)
    if column.kind == "categorical":
        return column if column.categories else replace(column, categories=_categories(summary))
    if column.kind == "integer":
        open_ended = (column.lower, column.upper) == (None, None)
        if not open_ended or column.at_levels or isinstance(override, Column):
            return column
        whole = codec.integers(column, summary.as_series(), 0)
        return as_integer(column, whole, summary.counts)
    if summary.family == "text":
        raise DataError(where, f"numbers, as it is {column.kind}", "text")
    if summary.family in ("time", "period") and column.kind != "datetime":
        raise DataError(where, f"numbers, as it is {column.kind}", "times")
    # On a bound there is no density: what the table has there are atoms.
    levels = codec.numbers(column, summary.as_series(), 0)
    smooth = isinstance(override, Mapping) and override.get("at_levels") is False
    if smooth:
        column = replace(column, at_levels=False, atoms=override.get("atoms", ()))
    few = not smooth and column.kind != "circular"
    inferred = with_masses(column, summary, levels, few=few)
    on_bound = [v for v in codec.bounds(column) if v in levels]
    every = tuple(dict.fromkeys((*inferred.atoms, *column.atoms, *on_bound)))
    on_atoms = bool(np.isin(levels, every).all())
    column = replace(inferred, atoms=every, at_levels=on_atoms and not smooth)
    _, term = codec.to_line(column, levels[~np.isin(levels, column.atoms)])
    if (term == -np.inf).any():
        raise DataError(where, f"values that are {column.describe()}", "some outside")
    return column


def _categories(summary: Summary) -> tuple[Any, ...]:
    """Return the distinct values in their order, objects as text."""
    if summary.values.dtype.kind not in "OU":
        return tuple(np.unique(summary.values).tolist())
    # NumPy drops NULs at the end of a text.
    return tuple(sorted({str(value).rstrip("\0") for value in summary.values.tolist()}))
