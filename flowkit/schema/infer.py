"""Inference of the kind of a column from its values."""

from dataclasses import replace

import numpy as np

from flowkit.errors import DataError
from flowkit.schema.columns import Category, Column
from flowkit.schema.point_masses import few_levels, point_masses, sentinels
from flowkit.schema.precision import float_of
from flowkit.schema.statistics import are_whole
from flowkit.schema.steps import decimal_step, shared_factor, time_step
from flowkit.schema.summary import Summary
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


def infer(summary: Summary, *, distinct_rows: int, overridden: bool = False) -> Column:
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
        summary: the column.
        distinct_rows: number of distinct rows of the table. Values that repeat only in repeated
            rows do not count as repeated.
        overridden: whether the user has given the kind.

    Raises:
        DataError: numbers with text among them.
    """
    column = Column(
        summary.name,
        "real",
        summary.dtype,
        missing=summary.missing > 0,
        levels=summary.levels or (),
        ordered=summary.ordered,
    )
    if summary.present == 0:
        return replace(column, kind="empty", zone=summary.zone)
    if summary.levels is not None:
        return replace(column, kind="categorical", categories=_seen(summary))
    values, counts = summary.values, summary.counts
    if summary.family in ("text", "boolean"):
        if summary.family == "boolean":
            return replace(column, kind="categorical", categories=(False, True))
        if not overridden:
            _check_no_numbers(summary)
            names = summary.distinct >= _NEARLY * summary.present
            if summary.present >= _FEWEST_NAMES and names:
                return replace(column, kind="identifier")
        order = np.argsort(-counts, kind="stable")  # the frequent first
        return replace(column, kind="categorical", categories=tuple(values[order].tolist()))
    if summary.family == "period":
        return replace(column, kind="integer")
    if summary.family == "clock":
        column = replace(column, kind="circular", period=DAY)
    if summary.family == "time":
        column = replace(column, kind="datetime", zone=summary.zone)
        return with_masses(column, summary, values)
    repeats = summary.distinct < _OWN_VALUES * min(distinct_rows, summary.present)
    whole = are_whole(values) and summary.whole and summary.family not in ("clock", "duration")
    if summary.family == "integer" or (whole and len(values) > 1 and (repeats or column.missing)):
        return as_integer(column, values.astype(np.int64), counts)
    return with_masses(column, summary, values)


def with_masses(
    column: Column, summary: Summary, levels: np.ndarray, *, few: bool = True
) -> Column:
    """Return a column of reals or times with its point masses and its step.

    Args:
        column: the column; a step that it has is kept.
        summary: the values.
        levels: the distinct values of the summary as float64.
        few: whether all repeated values are point masses if there are few.
    """
    counts = summary.counts
    masses = point_masses(levels, counts, summary.counted, few=few)
    off_atoms = ~np.isin(levels, masses.atoms)
    smooth, step = levels[off_atoms], column.step
    if step is None and summary.family in ("time", "clock", "duration"):
        step = time_step(smooth)
    elif step is None:
        step = decimal_step(smooth, float(np.finfo(float_of(column.dtype)).eps))
    # Distinct values and rows of the whole column, of which the counted rows may be a sample.
    distinct = summary.distinct - (len(levels) - len(smooth))
    of_rows = summary.present * int(counts[off_atoms].sum())
    repeats = distinct * int(counts.sum()) < _OWN_VALUES * of_rows
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


def _seen(summary: Summary) -> tuple[Category, ...]:
    """Return the categories that have rows: an ordered dtype's order, else frequent ones first."""
    counts = dict(zip(summary.values.tolist(), summary.counts.tolist(), strict=True))
    if summary.ordered and summary.levels:
        return tuple(level for level in summary.levels if level in counts)
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


def _check_no_numbers(summary: Summary) -> None:
    """Raise if text is mostly numbers: a typing error must not make a column categorical."""
    values, counts = summary.values, summary.counts
    numbers = np.array([_is_number(value) for value in values])
    rows = counts[numbers].sum()
    if numbers.all() or numbers.sum() < _MANY_NUMBERS or rows < counts.sum() / 2:
        return
    row, text = summary.row_of(values[~numbers])
    more = "at least " if summary.sampled is not None else ""
    raise DataError(
        f"column {summary.name!r}, row {row}",
        f"a number, as in {more}{rows:,} rows (for a column of text, give it the kind categorical)",
        repr(text),
    )


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
