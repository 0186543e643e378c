"""Counts of the values of a column that comes in pieces, of all rows or of a random sample.

While there are few distinct values, all rows are counted. Beyond a limit, each counted row is
dropped with probability one half, as often as necessary. Later rows are drawn with the probability
that is left. So the counted rows are always a uniform sample.
"""

from collections import Counter
from dataclasses import replace

import numpy as np

from flowkit.schema.distinct import DistinctCount, mixed, number_keys, text_keys
from flowkit.schema.statistics import are_whole
from flowkit.schema.summary import Summary

# Keys of the estimate of distinct values: a relative error of 0.4 percent.
_KEYS = 2**16
# So many smallest and largest values of a sample keep their numbers of rows. Sentinels are at most
# three on a side.
_ENDS = 8


class NumberCounts:
    """Distinct numbers, ascending, with the rows of each.

    Args:
        limit: the most distinct numbers.
        seed: of the sample.
    """

    def __init__(self, limit: int, seed: int) -> None:
        self._limit, self._rng = limit, np.random.default_rng(seed)
        self._values, self._counts = np.zeros(0), np.zeros(0, dtype=np.int64)
        self._new: list[tuple[np.ndarray, np.ndarray]] = []
        self._distinct: DistinctCount | None = None
        self._ends = (np.zeros(0), np.zeros(0, dtype=np.int64))
        self._whole = True
        self._share = 1.0

    def add(self, values: np.ndarray, keys: np.ndarray, _rows: np.ndarray) -> None:
        """Add the values of some rows, none of them missing, with keys and numbers of the rows."""
        if self._distinct is not None:
            self._distinct.add(mixed(keys))
            self._add_to_all(values)
            values = values[self._rng.random(len(values)) < self._share]
        if not len(values):
            return
        self._new.append(np.unique(values, return_counts=True))
        if 2 * sum(len(found) for found, _ in self._new) > self._limit:
            self._merge()

    def _add_to_all(self, values: np.ndarray) -> None:
        """Add to what is exact, whatever rows are drawn."""
        self._whole = self._whole and are_whole(values)
        known, rows = self._ends
        if len(known) == 2 * _ENDS:
            values = values[(values <= known[_ENDS - 1]) | (values >= known[_ENDS])]
        if len(values):
            self._ends = _ends(*_merged([(known, rows), np.unique(values, return_counts=True)]))

    def _merge(self) -> None:
        if self._new:
            merged = _merged([(self._values, self._counts), *self._new])
            (self._values, self._counts), self._new = merged, []
        while len(self._values) > self._limit:
            if self._distinct is None:
                self._distinct = DistinctCount(min(_KEYS, self._limit))
                self._distinct.add(mixed(number_keys(self._values)))
                self._whole = are_whole(self._values)
                self._ends = _ends(self._values, self._counts)
            self._share /= 2
            counts = self._rng.binomial(self._counts, 0.5)
            self._values, self._counts = self._values[counts > 0], counts[counts > 0]

    def fill(self, summary: Summary) -> Summary:
        """Return a summary with what was counted."""
        self._merge()
        if self._distinct is None:
            distinct = len(self._values)
            return replace(summary, values=self._values, counts=self._counts, distinct=distinct)
        ends, rows = self._ends
        values, counts = _merged([(self._values, self._counts), (ends, np.zeros_like(rows))])
        # A repeated end stays repeated, though its rows may not be drawn.
        at = np.searchsorted(values, ends)
        counts[at] = np.maximum(counts[at], np.minimum(rows, 2))
        return replace(
            summary,
            values=values,
            counts=counts,
            distinct=self._distinct.total(),
            sampled=int(self._counts.sum()),
            whole=self._whole,
            ends=dict(zip(ends.tolist(), rows.tolist(), strict=True)),
        )


class TextCounts:
    """Distinct texts, or values of a categorical dtype, with the rows of each.

    Args:
        limit: the most distinct texts.
        characters: the most characters of them together.
        seed: of the sample.
    """

    def __init__(self, limit: int, characters: int, seed: int) -> None:
        self._limit, self._most, self._rng = limit, characters, np.random.default_rng(seed)
        self._counts: dict[object, int] = {}
        self._first: dict[object, int] = {}
        self._distinct: DistinctCount | None = None
        self._characters = 0
        self._share = 1.0

    def add(self, values: np.ndarray, keys: np.ndarray, rows: np.ndarray) -> None:
        """Add the values of some rows, none of them missing, with keys and numbers of the rows."""
        if self._distinct is not None:
            self._distinct.add(mixed(keys))
            drawn = self._rng.random(len(values)) < self._share
            values, rows = values[drawn], rows[drawn]
        found = values.tolist()
        counts = Counter(found)
        if not counts.keys() <= self._counts.keys():
            first = dict(zip(reversed(found), reversed(rows.tolist()), strict=True))
            for value in counts.keys() - self._counts.keys():
                self._first[value] = first[value]
                self._characters += len(str(value))
        for value, count in counts.items():
            self._counts[value] = self._counts.get(value, 0) + count
        while len(self._counts) > self._limit or self._characters > self._most:
            self._halve()

    def _halve(self) -> None:
        values = list(self._counts)
        if self._distinct is None:
            self._distinct = DistinctCount(min(_KEYS, self._limit))
            self._distinct.add(mixed(self._keys(values)))
        self._share /= 2
        counts = self._rng.binomial(list(self._counts.values()), 0.5).tolist()
        self._counts = {v: n for v, n in zip(values, counts, strict=True) if n}
        self._first = {value: self._first[value] for value in self._counts}
        self._characters = sum(len(str(value)) for value in self._counts)

    def _keys(self, values: list[object]) -> np.ndarray:
        if values and not isinstance(values[0], str):
            return number_keys(np.array(values))
        return text_keys(values)

    def fill(self, summary: Summary) -> Summary:
        """Return a summary with what was counted."""
        values = np.empty(len(self._counts), dtype=object)
        values[:] = sorted(self._counts)  # type: ignore[type-var]
        return replace(
            summary,
            values=values,
            counts=np.array([self._counts[v] for v in values], dtype=np.int64),
            distinct=len(values) if self._distinct is None else self._distinct.total(),
            sampled=None if self._distinct is None else sum(self._counts.values()),
            row_of=self._row_of,
        )

    def _row_of(self, texts: np.ndarray) -> tuple[int, str]:
        """Return the first counted row with one of some texts, and the text."""
        text = min(texts.tolist(), key=self._first.__getitem__)
        return self._first[text], str(text)


def _merged(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct values, ascending, with the sums of their counts."""
    parts = [part for part in parts if len(part[0])]
    if len(parts) < 2:
        return parts[0] if parts else (np.zeros(0), np.zeros(0, dtype=np.int64))
    values = np.concatenate([part[0] for part in parts])
    counts = np.concatenate([part[1] for part in parts])
    order = np.argsort(values, kind="stable")
    values = values[order]
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    return values[starts], np.add.reduceat(counts[order], starts)


def _ends(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and the largest values with their counts."""
    if len(values) <= 2 * _ENDS:
        return values, counts
    at = np.r_[0:_ENDS, len(values) - _ENDS : len(values)]
    return values[at], counts[at]
