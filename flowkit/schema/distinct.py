"""Distinct values and distinct rows: the number of each, by hashes of 64 bits."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa

from flowkit.schema.series import Series

# Multipliers of the finaliser of MurmurHash3 for 64 bits, and its shift.
_MULTIPLIERS, _SHIFT = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53), 33


def text_counts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct texts of an array of strings, ascending, and the rows of each."""
    texts, codes = text_codes(values)
    return texts, np.bincount(codes, minlength=len(texts))


def text_codes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct texts of an array of strings, ascending, and the index of each row's."""
    try:
        found = pa.array(values, pa.large_string()).dictionary_encode()
    except (UnicodeError, pa.ArrowException):  # halves of a surrogate pair
        texts, codes = np.unique(values.astype(str), return_inverse=True)
        return texts, codes
    # NumPy drops NULs at the end of a text, so that two of Arrow's may be one.
    texts, again = np.unique(np.array(found.dictionary.to_pylist(), str), return_inverse=True)
    return texts, again[found.indices.to_numpy()]


def distinct_rows(columns: Sequence[Series]) -> int:
    """Return the number of rows of a table that differ.

    Rows are compared by a hash of 64 bits: of a million rows, two that differ share one with a
    probability of 3e-8. Columns are added until all rows differ.

    Args:
        columns: all columns of the table.
    """
    rows = len(columns[0].values)
    keys, found = np.zeros(rows, dtype=np.uint64), 1
    for j, series in enumerate(columns, start=1):
        keys = mixed(keys ^ _identity(series))
        if j & (j - 1) == 0 or j == len(columns):  # after 1, 2, 4, 8, ... columns
            ordered = np.sort(keys)
            found = int(np.count_nonzero(ordered[1:] != ordered[:-1])) + 1
            if found == rows:
                break
    return found


class DistinctCount:
    """Number of distinct keys in a stream of keys: exact up to a limit, then an estimate.

    Beyond the limit ``k`` only the smallest keys are kept. Of ``n`` keys that are uniform on 64
    bits, the ``k``-th smallest is near ``2**64 k / n``. The relative error is ``1 / sqrt(k)``
    (Bar-Yossef et al. 2002, "Counting distinct elements in a data stream").

    Args:
        limit: the most keys to keep.

    Example:
        >>> count = DistinctCount(100)
        >>> for first in (0, 20, 40):
        ...     count.add(mixed(np.arange(first, first + 30, dtype=np.uint64)))
        >>> count.total()
        70
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._smallest = np.zeros(0, dtype=np.uint64)
        self._new: list[np.ndarray] = []
        self._largest = np.uint64(2**64 - 1)

    def add(self, keys: np.ndarray) -> None:
        """Add keys, such as `mixed` returns."""
        self._new.append(keys[keys <= self._largest])
        if sum(map(len, self._new)) > self._limit:
            self._merge()

    def total(self) -> int:
        """Return the number of distinct keys."""
        self._merge()
        if len(self._smallest) <= self._limit:
            return len(self._smallest)
        return round(self._limit / (int(self._smallest[-1]) / 2.0**64))

    def _merge(self) -> None:
        every = np.unique(np.concatenate([self._smallest, *self._new]))
        self._smallest, self._new = every[: self._limit + 1].copy(), []
        if len(self._smallest) > self._limit:
            self._largest = self._smallest[-1]


def keys_of(series: Series) -> np.ndarray:
    """Return 64 bits for each value, equal where the values are, in all pieces of a column."""
    if series.family != "text":
        return _identity(series)
    return np.where(series.missing, np.uint64(0), text_keys(series.values.tolist()))


def text_keys(texts: Sequence[Any]) -> np.ndarray:
    """Return 64 bits for each string, equal where the strings are."""
    bits = {
        text: blake2b(text.rstrip("\0").encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for text in set(texts)
    }
    return np.frombuffer(b"".join([bits[text] for text in texts]), dtype="<u8").astype(np.uint64)


def number_keys(values: np.ndarray) -> np.ndarray:
    """Return 64 bits for each number, equal exactly where the numbers are."""
    numbers: np.ndarray = values.astype(np.float64) + 0.0  # no -0.0
    return numbers.view(np.uint64)


def _identity(series: Series) -> np.ndarray:
    """Return 64 bits for each value of a whole column, equal exactly where the values are."""
    values = text_codes(series.values)[1] if series.family == "text" else series.values
    return number_keys(np.where(series.missing, np.inf, values.astype(np.float64)))


def mixed(keys: np.ndarray) -> np.ndarray:
    """Return keys mixed by a bijection, so that the next column cannot undo them."""
    for multiplier in _MULTIPLIERS:
        keys = (keys ^ (keys >> np.uint64(_SHIFT))) * np.uint64(multiplier)
    result: np.ndarray = keys ^ (keys >> np.uint64(_SHIFT))
    return result
