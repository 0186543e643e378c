"""Inference of the kind of a column from its values."""

from collections import Counter
from dataclasses import replace

import numpy as np

from flowkit.errors import DataError
from flowkit.schema.columns import Category, Column
from flowkit.schema.distinct import text_counts
from flowkit.schema.point_masses import few_levels, point_masses, sentinels
from flowkit.schema.precision import float_of
from flowkit.schema.series import Series
from flowkit.schema.steps import decimal_step, shared_factor, time_step
from flowkit.schema.ticks import DAY

# Values repeat if there are fewer distinct ones than this share of the rows.
_OWN_VALUES = 0.5

# Integers with so many rows each are levels if there are two of them, or few that are at most this
# share of the range: 1, 2, 5, 10, but not 0 to 10.
_LEVEL_ROWS, _SPARSE = 5, 0.5

# Text that differs in nearly all of so many rows is an identifier.
_FEWEST_NAMES, _NEARLY = 20, 0.95

# Fewer numbers among text may well be names.
_MANY_NUMBERS = 10


def infer(series: Series, *, distinct_rows: int, overridden: bool = False) -> Column:
    """Return the inferred column.

    Text, booleans and categorical dtypes are categorical; times are datetimes. Times of day are
    circular and durations real, both in seconds. Calendar periods are integers. A column without
    values is empty. Text that differs in nearly all of twenty rows or more is an identifier.
    Empty columns and identifiers are not part of the density.

    Integers are integers, and so are whole floats that repeat or have missing values. Other
    numbers are real. Bounds are never inferred, as the next row may exceed them; integers without
    a negative value have a soft bound. Values that rows share exactly are point masses. Numbers
    that are only 0 and 1 are levels.

    Args:
        series: the column.
        distinct_rows: number of distinct rows of the table. Values that repeat only in repeated
            rows do not count as repeated.
        overridden: whether the user has given the kind.

    Raises:
        DataError: numbers with text among them.
    """
    present = series.values[~series.missing]
    column = Column(
        series.name,
        "real",
        series.dtype,
        missing=bool(series.missing.any()),
        levels=series.levels or (),
        ordered=series.ordered,
    )
    if len(present) == 0:
        return replace(column, kind="empty", zone=series.zone)
    if series.levels is not None:
        return replace(column, kind="categorical", categories=_seen(series, present))
    if series.family in ("text", "boolean"):
        if series.family == "boolean":
            return replace(column, kind="categorical", categories=(False, True))
        values, counts = text_counts(present)
        if not overridden:
            _check_no_numbers(series, values, counts)
            if len(present) >= _FEWEST_NAMES and len(values) >= _NEARLY * len(present):
                return replace(column, kind="identifier")
        order = np.lexsort((values, -counts))  # the frequent first
        return replace(column, kind="categorical", categories=tuple(values[order].tolist()))
    if series.family == "period":
        return replace(column, kind="integer")
    if series.family == "clock":
        column = replace(column, kind="circular", period=DAY)
    levels, counts = np.unique(present, return_counts=True)
    if series.family == "time":
        column = replace(column, kind="datetime", zone=series.zone)
        return with_masses(column, series, levels, counts)
    repeats = len(levels) < _OWN_VALUES * min(distinct_rows, len(present))
    whole = bool((levels == np.round(levels)).all() and (np.abs(levels) <= 2**53).all())
    whole = whole and series.family not in ("clock", "duration")
    if series.family == "integer" or (whole and len(levels) > 1 and (repeats or column.missing)):
        return as_integer(column, levels.astype(np.int64), counts)
    return with_masses(column, series, levels, counts)


def with_masses(
    column: Column, series: Series, levels: np.ndarray, counts: np.ndarray, *, few: bool = True
) -> Column:
    """Return a column of reals or times with its point masses and its step.

    Args:
        column: the column; a step that it has is kept.
        series: the values.
        levels: the distinct values, ascending.
        counts: number of rows of each.
        few: whether all repeated values are point masses if there are few.
    """
    masses = point_masses(levels, counts, len(series.values), few=few)
    off_atoms = ~np.isin(levels, masses.atoms)
    smooth, step = levels[off_atoms], column.step
    if step is None and series.family in ("time", "clock", "duration"):
        step = time_step(smooth)
    elif step is None:
        step = decimal_step(smooth, float(np.finfo(float_of(column.dtype)).eps))
    repeats = len(smooth) < _OWN_VALUES * counts[off_atoms].sum()
    return replace(
        column,
        atoms=masses.atoms,
        at_levels=masses.levels,
        sentinels=masses.sentinels,
        step=step,
        resolution=column.resolution or (step if repeats else None),
    )


def as_integer(column: Column, levels: np.ndarray, counts: np.ndarray) -> Column:
    """Return a column of integers with its levels, or with its soft bound and step.

    Args:
        column: the column.
        levels: the distinct values, ascending int64.
        counts: number of rows of each.
    """
    column = replace(column, kind="integer")
    if _are_levels(levels, counts):
        frequent = levels[np.argsort(-counts, kind="stable")]
        return replace(column, at_levels=True, atoms=tuple(frequent.tolist()))
    far = sentinels(levels, counts)
    usual = levels[~np.isin(levels, [value for value, _ in far])]
    factor = shared_factor(usual)
    return replace(
        column,
        soft_lower=0.0 if usual[0] >= 0 else None,
        step=float(factor) if factor > 1 else None,
        sentinels=far,
    )


def _seen(series: Series, present: np.ndarray) -> tuple[Category, ...]:
    """Return the categories that have rows: an ordered dtype's order, else frequent ones first."""
    counts = Counter(present.tolist())
    if series.ordered and series.levels:
        return tuple(level for level in series.levels if level in counts)
    return tuple(sorted(counts, key=lambda level: (-counts[level], str(level))))


def _are_levels(levels: np.ndarray, counts: np.ndarray) -> bool:
    """Return whether integers are a constant, a flag, or few with most numbers between unused."""
    if len(levels) == 1 or set(levels.tolist()) <= {0, 1}:
        return True
    if counts.min() < _LEVEL_ROWS:
        return False
    span = (levels[-1] - levels[0]) // shared_factor(levels) + 1
    sparse = len(levels) <= _SPARSE * span
    return len(levels) == 2 or bool(sparse and len(few_levels(levels, counts)))


def _check_no_numbers(series: Series, values: np.ndarray, counts: np.ndarray) -> None:
    """Raise if text is mostly numbers: a typing error must not make a column categorical."""
    numbers = np.array([_is_number(value) for value in values])
    rows = counts[numbers].sum()
    if numbers.all() or numbers.sum() < _MANY_NUMBERS or rows < counts.sum() / 2:
        return
    odd = ~series.missing & np.isin(series.values.astype(str), values[~numbers])
    row = int(np.flatnonzero(odd)[0])
    raise DataError(
        f"column {series.name!r}, row {row}",
        f"a number, as in {rows:,} rows (for a column of text, give it the kind categorical)",
        repr(str(series.values[row])),
    )


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
