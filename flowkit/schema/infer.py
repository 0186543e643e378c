"""Guessing what a column is from its values."""

from collections import Counter
from dataclasses import replace

import numpy as np

from flowkit.errors import DataError
from flowkit.schema.columns import Category, Column
from flowkit.schema.series import Series
from flowkit.schema.ticks import DAY

# A value of a continuous law never repeats. One that at least this share of the rows have, and
# this many of them, is an atom; fewer repetitions come from rounding.
_ATOM_SHARE = 0.05
_ATOM_ROWS = 10
_ATOM_CONTRAST = 4

# Where fewer than this share of the rows bring a value of their own, values were rounded.
_OWN_VALUES = 0.5
_MANY_LEVELS = 2000

# Fewer numbers among text may well be names.
_MANY_NUMBERS = 10


def infer(series: Series, *, distinct_rows: int, told: bool = False) -> Column:
    """Return what a column is taken to be.

    Text, booleans and categorical dtypes are categorical, the last with the dtype's own levels,
    times datetimes. Times of day are circular, durations real, both in seconds; stretches of the
    calendar are integers. A column without a value is empty.

    Whole numbers are integers, and counts if none is negative; so are floats that are all whole and
    repeat, as integers with missing values are stored. Other numbers are real: bounds are never
    inferred, as the next row may exceed them.

    Args:
        series: the column.
        distinct_rows: rows of the table that differ; repetitions of whole rows are no rounding.
        told: whether the user has said what the column is.

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
        values, counts = np.unique(present.astype(str), return_counts=True)
        if series.family == "boolean":
            return replace(column, kind="categorical", categories=(False, True))
        if not told:
            _check_no_numbers(series, values, counts)
        order = np.lexsort((values, -counts))  # the frequent first
        return replace(column, kind="categorical", categories=tuple(values[order].tolist()))
    if series.family == "time":
        return replace(column, kind="datetime", zone=series.zone)
    if series.family == "period":
        return replace(column, kind="integer")
    if series.family == "clock":
        column = replace(column, kind="circular", period=DAY)
    levels, counts = np.unique(present, return_counts=True)
    repeats = len(levels) < _OWN_VALUES * min(distinct_rows, len(present))
    whole = bool((levels == np.round(levels)).all() and (np.abs(levels) <= 2**53).all())
    whole = whole and series.family not in ("clock", "duration")
    if series.family == "integer" or (whole and repeats and len(levels) > 1):
        return replace(column, kind="integer", lower=0.0 if levels[0] >= 0 else None)
    column = replace(column, atoms=atoms(levels, counts, len(series.values)))
    on_atoms = np.isin(levels, column.atoms)
    smooth, rows = levels[~on_atoms], min(distinct_rows, len(present)) - counts[on_atoms].sum()
    return replace(
        column, resolution=_resolution(smooth) if len(smooth) < _OWN_VALUES * rows else None
    )


def _seen(series: Series, present: np.ndarray) -> tuple[Category, ...]:
    """Return the categories that have rows: in their own order if it means something.

    Otherwise the frequent come first.
    """
    counts = Counter(present.tolist())
    if series.ordered and series.levels:
        return tuple(level for level in series.levels if level in counts)
    return tuple(sorted(counts, key=lambda level: (-counts[level], str(level))))


def _check_no_numbers(series: Series, values: np.ndarray, counts: np.ndarray) -> None:
    """Raise if text is mostly numbers: one typing error must not make a column categorical."""
    numbers = np.array([_is_number(value) for value in values])
    rows = counts[numbers].sum()
    if numbers.all() or numbers.sum() < _MANY_NUMBERS or rows < counts.sum() / 2:
        return
    odd = ~series.missing & np.isin(series.values.astype(str), values[~numbers])
    row = int(np.flatnonzero(odd)[0])
    raise DataError(
        f"column {series.name!r}, row {row}",
        f"a number, as in {rows:,} rows (if all of the column is text, say that it is categorical)",
        repr(str(series.values[row])),
    )


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def atoms(levels: np.ndarray, counts: np.ndarray, rows: int) -> tuple[float, ...]:
    """Return the values that have a probability of their own."""
    if len(levels) == 1:
        return (float(levels[0]),)
    heavy = (counts >= _ATOM_ROWS) & (counts >= _ATOM_SHARE * rows)
    found = [
        i for i in np.flatnonzero(heavy) if counts[i] >= _ATOM_CONTRAST * _around(counts, int(i))
    ]
    return tuple(float(levels[i]) + 0.0 for i in found)  # -0.0 is 0.0


def _around(counts: np.ndarray, i: int) -> float:
    """Return how often the values next to one are had: all that are rounded repeat."""
    near = np.concatenate([counts[max(i - 4, 0) : i], counts[i + 1 : i + 5]])
    return float(np.median(near))


def _resolution(levels: np.ndarray) -> float | None:
    if len(levels) < 2:
        return None
    gaps = np.diff(levels)
    return float(gaps.min() if len(levels) < _MANY_LEVELS else np.median(gaps))
