"""Summaries of columns: the distinct values and the rows of each, all that inference needs."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from flowkit.schema.distinct import text_counts
from flowkit.schema.series import Level, Series


@dataclass(frozen=True)
class Summary:
    """A column as its distinct values, with the rows of each.

    Args:
        name: name of the column.
        family: as of a `Series`.
        dtype: as of a `Series`.
        zone: as of a `Series`.
        levels: all categories of a categorical dtype, as of a `Series`.
        ordered: as of a `Series`.
        values: the distinct values present, ascending; of a categorical dtype in any order.
        counts: number of rows of each value.
        present: number of rows with a value.
        missing: number of rows without one.
        distinct: number of distinct values, estimated if the rows are sampled.
        row_of: returns the first row with one of some texts, and the text.
        sampled: number of rows with a value that were drawn at random to be counted; None if all
            rows are. The smallest and the largest values are always in ``values``.
        whole: whether all numbers are whole and within 2**53. Of a whole column the values show
            it.
        ends: number of rows of the smallest and the largest values, if the rows are sampled.
    """

    name: str
    family: str
    dtype: str
    zone: str | None
    levels: tuple[Level, ...] | None
    ordered: bool
    values: np.ndarray
    counts: np.ndarray
    present: int
    missing: int
    distinct: int
    row_of: Callable[[np.ndarray], tuple[int, str]]
    sampled: int | None = None
    whole: bool = True
    ends: Mapping[float, int] = field(default_factory=dict)

    @property
    def counted(self) -> int:
        """Number of rows behind ``counts``, and of as many missing ones as belong to them."""
        if self.sampled is None:
            return self.present + self.missing
        return round((self.present + self.missing) * (int(self.counts.sum()) / self.present))

    def as_series(self) -> Series:
        """Return the distinct values as a column of one row each."""
        none = np.zeros(len(self.values), dtype=bool)
        return Series(self.name, self.family, self.dtype, self.values, none, zone=self.zone)

    def span(self, without: Iterable[float]) -> tuple[float, float] | None:
        """Return the smallest and the largest number but for some, None if there is no other."""
        rest = self.values[~np.isin(self.values, list(without))]
        return (float(rest.min()), float(rest.max())) if len(rest) else None


def summary_of(series: Series) -> Summary:
    """Return the summary of a whole column."""
    present = series.values[~series.missing]
    if series.levels is not None:
        rows_of = Counter(present.tolist())
        values = np.array(list(rows_of), dtype=present.dtype)
        counts = np.array(list(rows_of.values()), dtype=np.int64)
    elif series.family == "text":
        values, counts = text_counts(present)
    else:
        values, counts = np.unique(present, return_counts=True)

    def row_of(texts: np.ndarray) -> tuple[int, str]:
        found = ~series.missing & np.isin(series.values.astype(str), texts)
        row = int(np.flatnonzero(found)[0])
        return row, str(series.values[row])

    return Summary(
        name=series.name,
        family=series.family,
        dtype=series.dtype,
        zone=series.zone,
        levels=series.levels,
        ordered=series.ordered,
        values=values,
        counts=counts,
        present=len(present),
        missing=len(series.missing) - len(present),
        distinct=len(values),
        row_of=row_of,
    )
