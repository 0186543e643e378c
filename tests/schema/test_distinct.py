"""Counts of distinct values and rows, beside those of NumPy."""

import numpy as np
import pytest

from flowkit.schema.distinct import distinct_rows, text_codes, text_counts
from flowkit.schema.series import Series

TEXTS = ["b", "a", "", "b", "ü", "a\x00", "zz", "Z", "\ud800", "b "]


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:8], ["x"], []])
def test_texts_are_counted_as_numpy_does(texts):
    values = np.array(texts, dtype=object)
    expected, counts = np.unique(values.astype(str), return_counts=True)
    found, rows = text_counts(values)
    assert (found.tolist(), rows.tolist()) == (expected.tolist(), counts.tolist())
    own, codes = text_codes(values)
    assert own[codes].tolist() == values.astype(str).tolist()


def table(rng, rows, levels):
    numbers = rng.integers(0, levels, rows).astype(float)
    return [
        Series("a", "float", "float64", np.where(numbers == 1, -0.0, numbers), numbers == 0),
        Series("b", "text", "str", rng.choice(["x", "y"], rows).astype(object), numbers < 0),
        Series("c", "integer", "int64", rng.integers(0, 3, rows), numbers < 0),
    ]


@pytest.mark.parametrize(("rows", "levels"), [(1, 3), (40, 2), (500, 30), (500, 10**9)])
def test_rows_are_counted_as_numpy_does(rows, levels):
    columns = table(np.random.default_rng(rows), rows, levels)
    keys = [
        np.where(s.missing, np.inf, np.unique(s.values, return_inverse=True)[1]) for s in columns
    ]
    assert distinct_rows(columns) == len(np.unique(np.stack(keys, axis=1), axis=0))
    assert distinct_rows([columns[0], columns[0]]) == distinct_rows(columns[:1])
