"""Summaries of the columns of a table that comes in batches, in memory that does not grow."""

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa

from flowkit.schema import codec, frames
from flowkit.schema.columns import WORDS
from flowkit.schema.counts import NumberCounts, TextCounts
from flowkit.schema.distinct import DistinctCount, keys_of, mixed
from flowkit.schema.overrides import check_rows
from flowkit.schema.series import Series
from flowkit.schema.summary import Summary, summary_of

# Distinct values that are kept, of a column and of all columns. A number takes 16 bytes, a text
# about 250.
_NUMBERS, _ALL_NUMBERS = 1_000_000, 20_000_000
_TEXTS, _ALL_TEXTS = 200_000, 2_000_000
_CHARACTERS = 100_000_000
# Wide tables: at least so many distinct values of a column are kept.
_FEWEST = 1000
# Keys of the estimate of distinct rows: a relative error of 0.2 percent.
_ROW_KEYS = 2**18
# Columns at a time: each needs some memory for its batch, and later for its inference.
THREADS = min(4, os.cpu_count() or 1)


class BatchSummaries:
    """Summaries of the columns of a table, from its batches.

    Args:
        kinds: kinds of columns by name, in place of inferred ones.

    Attributes:
        names: names of the columns.
        rows: number of rows.
    """

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self._kinds = {k: str(WORDS.get(v, {}).get("kind", v)) for k, v in kinds.items()}
        self._columns: list[_ColumnCounts] = []
        self._distinct = DistinctCount(_ROW_KEYS)
        self.names: list[str] = []
        self.rows = 0

    def read(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Add all batches.

        Raises:
            DataError: a value is not finite, or not of the kind of its column; its row is named.
        """
        with ThreadPoolExecutor(THREADS) as pool:
            for batch in batches:
                if batch.num_rows:
                    self._add(pa.Table.from_batches([batch]), pool)

    def _add(self, table: pa.Table, pool: ThreadPoolExecutor) -> None:
        names = frames.names(table)

        def read(at: int) -> Series:
            return frames.read_at(table, at, names[at], rows_from=self.rows)

        if not self._columns:
            self.names = names
            self._columns = _counts_of([read(at) for at in range(len(names))])

        def add(at: int) -> np.ndarray:
            series = read(at)
            codec.check_finite(series, self.rows)
            if names[at] in self._kinds:
                check_rows(names[at], self._kinds[names[at]], series, self.rows)
            return self._columns[at].add(series, self.rows)

        rows = np.zeros(table.num_rows, dtype=np.uint64)
        for keys in pool.map(add, range(len(names))):
            rows = mixed(rows ^ keys)
        self._distinct.add(rows)
        self.rows += table.num_rows

    def distinct_rows(self) -> int:
        """Return the number of rows that differ."""
        return self._distinct.total()

    def summary(self, at: int) -> Summary:
        """Return the summary of the column at a place."""
        return self._columns[at].summary()


class _ColumnCounts:
    """What is counted of one column.

    Args:
        series: some rows of it, which are not counted yet; a batch has the same types.
        counts: empty counts.
    """

    def __init__(self, series: Series, counts: NumberCounts | TextCounts) -> None:
        none = slice(0, 0)
        values, missing = series.values[none].copy(), series.missing[none].copy()
        self._head = replace(series, values=values, missing=missing, ticks=None)
        self._counts = counts
        # Levels of a categorical dtype, as far as batches have stated them.
        self._levels = None if series.levels is None else dict.fromkeys(series.levels)
        self._present = self._missing = 0

    def add(self, series: Series, rows_from: int) -> np.ndarray:
        """Count rows; return 64 bits for each, equal where the values are."""
        keys, there = keys_of(series), ~series.missing
        values = series.values[there]
        self._present += len(values)
        self._missing += len(there) - len(values)
        if self._levels is not None:
            self._levels.update(dict.fromkeys(series.levels or ()))
        if series.family == "text" and self._levels is None:
            # As NumPy, which drops NULs at the end of a text.
            values[:] = [text.rstrip("\0") for text in values.tolist()]
        self._counts.add(values, keys[there], rows_from + np.flatnonzero(there))
        return keys

    def summary(self) -> Summary:
        """Return the summary of all rows."""
        head = summary_of(self._head)
        levels = None if self._levels is None else tuple(self._levels)
        head = replace(head, levels=levels, present=self._present, missing=self._missing)
        return self._counts.fill(head)


def _counts_of(columns: Sequence[Series]) -> list[_ColumnCounts]:
    """Return empty counts for the columns of a table."""
    of_text = [series.family == "text" or series.levels is not None for series in columns]
    texts = max(sum(of_text), 1)
    numbers = max(len(columns) - sum(of_text), 1)
    most_numbers = min(_NUMBERS, max(_FEWEST, _ALL_NUMBERS // numbers))
    most_texts = min(_TEXTS, max(_FEWEST, _ALL_TEXTS // texts))
    return [
        _ColumnCounts(
            series,
            TextCounts(most_texts, _CHARACTERS // texts, at)
            if text
            else NumberCounts(most_numbers, at),
        )
        for at, (series, text) in enumerate(zip(columns, of_text, strict=True))
    ]
