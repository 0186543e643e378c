"""Series: one column as NumPy arrays, the same for every library."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowkit.errors import DataError
from flowkit.schema.ticks import DAY, label, ticks_of, ticks_of_labels

Level = str | int | float | bool

REFUSED = (
    "numbers, booleans, text, times, durations or categories (leave the column out, or turn it "
    "into columns of these)"
)


@dataclass(frozen=True)
class Series:
    """A column as arrays.

    Args:
        name: its name.
        family: "float", "integer", "boolean", "text", "time", "clock" (a time of day),
            "duration" or "period" (a stretch of the calendar, counted from 1970).
        dtype: the dtype in the words of the table's library.
        values: float64; int64; bool; an object array of strings; seconds as float64 of times,
            times of day and durations; int64 of periods. A missing value has an entry without
            meaning.
        missing: which values are missing.
        zone: time zone of times.
        levels: all categories of a categorical dtype, in its order, used or not; None of another.
        ordered: whether the order of the categories has a meaning.
        ticks: the int64 that seconds were computed from, in ``unit``; exact where seconds are not.
        unit: of ``ticks``: "s", "ms", "us", "ns", ...
    """

    name: str
    family: str
    dtype: str
    values: np.ndarray
    missing: np.ndarray
    zone: str | None = None
    levels: tuple[Level, ...] | None = None
    ordered: bool = False
    ticks: np.ndarray | None = None
    unit: str | None = None

    def labels(self) -> tuple[Level, ...]:
        """Return the values as categories: numbers, booleans and text, times as exact text."""
        if self.ticks is None or self.unit is None:
            found: tuple[Level, ...] = tuple(self.values.tolist())
            return found
        return tuple(label(t, self.unit, self.family) for t in self.ticks.tolist())

    def numbers(self) -> np.ndarray:
        """Return the values as float64, 0 where they are missing."""
        if not self.missing.any():
            return self.values.astype(np.float64)
        return np.where(self.missing, 0.0, self.values).astype(np.float64)

    def integers(self, lowest: int, highest: int) -> np.ndarray:
        """Return the values as the nearest integers of a range, 0 where they are missing."""
        values = self.values
        if values.dtype.kind not in "iu":
            values = np.rint(self.numbers()).clip(-(2.0**62), 2.0**62).astype(np.int64)
        values = np.where(self.missing, 0, values)
        least, most = max(lowest, -(2**63)), min(highest, 2**63 - 1)
        clipped: np.ndarray = values.clip(least, most)
        return clipped

    def floats(self, dtype: np.dtype[Any]) -> np.ndarray:
        """Return the values as finite floats of a dtype, 0 where they are missing."""
        most = float(min(np.finfo(dtype).max, np.finfo(np.float64).max))
        found: np.ndarray = self.numbers().clip(-most, most).astype(dtype)
        return found

    def booleans(self) -> np.ndarray:
        """Return the values as booleans, False where they are missing."""
        if self.values.dtype == bool:
            present: np.ndarray = self.values & ~self.missing
            return present
        found: np.ndarray = self.numbers() >= 0.5
        return found

    def texts(self) -> np.ndarray:
        """Return the values as an object array of strings, None where they are missing."""
        found = np.empty(len(self.values), dtype=object)
        found[:] = [
            None if m else str(v)
            for v, m in zip(self.values.tolist(), self.missing.tolist(), strict=True)
        ]
        return found

    def in_ticks(self, unit: str, family: str, *, calendar: bool = False) -> np.ndarray:
        """Return times as int64 ticks of a unit, 0 where they are missing.

        Args:
            unit: of the ticks.
            family: of the column: "time", "clock" or "duration".
            calendar: whether to stay within the years 1 to 9999.
        """
        present = self.values[~self.missing]
        if len(present) and isinstance(present[0], str):
            found = np.zeros(len(self.values), dtype=np.int64)
            found[~self.missing] = ticks_of_labels(present, unit, family)
            return found
        found = ticks_of(self.numbers(), unit, calendar=calendar)
        return found % ticks_of(np.array([DAY]), unit)[0] if family == "clock" else found


def of_codes(
    name: str,
    dtype: str,
    codes: np.ndarray,
    elements: Series,
    *,
    ordered: bool,
) -> Series:
    """Return the series of a categorical column.

    Args:
        name: of the column.
        dtype: of the column.
        codes: the place of each value among the categories, -1 where it is missing.
        elements: the categories.
        ordered: whether their order has a meaning.
    """
    missing = codes < 0
    if elements.missing.any() and len(codes):  # Arrow allows a category that is missing
        missing = missing | elements.missing[np.where(missing, 0, codes)]
    labels = elements.labels()
    plain = np.empty(len(labels), dtype=object)
    plain[:] = labels
    family = elements.family if elements.ticks is None else "text"
    if family == "period":
        family = "integer"
    if family != "text":
        plain = plain.astype({"float": np.float64, "boolean": bool}.get(family, np.int64))
    levels = tuple(v for v, m in zip(labels, elements.missing, strict=True) if not m)
    if len(plain) == 0:
        values = np.full(len(codes), "", dtype=object)
    else:
        values = plain[np.where(missing, 0, codes)]
    return Series(name, family, dtype, values, missing, levels=levels, ordered=ordered)


def to_codes(series: Series) -> tuple[np.ndarray, tuple[Level, ...]]:
    """Return the place of each value among the levels, -1 where missing, and the levels.

    Levels that a series does not state are its values, in the order of their first appearance.
    """
    present = series.values[~series.missing].tolist()
    levels = series.levels if series.levels else tuple(dict.fromkeys(present))
    place = {level: i for i, level in enumerate(levels)}
    codes = np.full(len(series.values), -1, dtype=np.int64)
    codes[~series.missing] = [place[value] for value in present]
    return codes, levels


def refused(name: str, dtype: object) -> DataError:
    """Return the error of a column whose dtype has no scalars with a density."""
    return DataError(f"column {name!r}", REFUSED, f"a column of dtype {dtype}")


def whole_numbers(name: str, values: Any, missing: np.ndarray, rows_from: int) -> np.ndarray:
    """Return integers as int64, if float64 holds them exactly.

    Raises:
        DataError: one is beyond 2**53; its row is named.
    """
    values = np.where(missing, 0, np.asarray(values)) if missing.any() else np.asarray(values)
    large = (values > 2**53) | (values < -(2**53)) if values.size else np.zeros(0, dtype=bool)
    if large.any():
        i = int(np.flatnonzero(large)[0])
        raise too_large(name, rows_from + i, values[i])
    narrow: np.ndarray = values.astype(np.int64)
    return narrow


def too_large(name: str, row: int, value: object) -> DataError:
    """Return the error of an integer that float64 cannot hold."""
    return DataError(
        f"column {name!r}, row {row}",
        "integers within 2**53 (identifiers are no quantities: leave them out, or make them text)",
        value,
    )


@contextmanager
def rebuilding(series: Series, library: str) -> Iterator[None]:
    """Raise an error that names the column if its dtype cannot be made again."""
    try:
        yield
    except DataError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError) as error:
        raise DataError(
            f"column {series.name!r}", f"a dtype of {library}", repr(series.dtype)
        ) from error
