"""Distinct values and distinct rows: how many there are of each, by hashes of whole columns."""

from collections.abc import Sequence

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
        keys = _mixed(keys ^ _identity(series))
        if j & (j - 1) == 0 or j == len(columns):  # after 1, 2, 4, 8, ... columns
            ordered = np.sort(keys)
            found = int(np.count_nonzero(ordered[1:] != ordered[:-1])) + 1
            if found == rows:
                break
    return found


def _identity(series: Series) -> np.ndarray:
    """Return 64 bits for each value that are equal exactly where the values are."""
    values = text_codes(series.values)[1] if series.family == "text" else series.values
    numbers = np.where(series.missing, np.inf, values.astype(np.float64)) + 0.0  # no -0.0
    bits: np.ndarray = numbers.view(np.uint64)
    return bits


def _mixed(keys: np.ndarray) -> np.ndarray:
    """Return keys mixed by a bijection, so that the next column cannot undo them."""
    for multiplier in _MULTIPLIERS:
        keys = (keys ^ (keys >> np.uint64(_SHIFT))) * np.uint64(multiplier)
    mixed: np.ndarray = keys ^ (keys >> np.uint64(_SHIFT))
    return mixed
