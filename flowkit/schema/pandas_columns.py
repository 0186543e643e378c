"""Columns of pandas: NumPy's dtypes, nullable ones, those on Arrow, and pandas' own."""

import re
from dataclasses import replace
from typing import Any

import numpy as np

from flowkit.schema import arrow_columns, numpy_columns, objects
from flowkit.schema.series import (
    Series,
    of_codes,
    rebuilding,
    refused,
    to_codes,
    whole_numbers,
)

_NULLABLE = re.compile(r"U?Int(8|16|32|64)|Float(32|64)|boolean")
# A name, never the path of a file.
_ZONED = re.compile(r"datetime64\[(s|ms|us|ns), ((?:dateutil/)?(?!/)(?!.*\.\.)[\w+\-:/]+)\]")
_PERIOD = re.compile(r"period\[(.+)\]")
_INTERVAL = re.compile(r"interval\[(.+), (left|right|both|neither)\]")
_SPARSE = re.compile(r"Sparse\[(.+), ([^,]+)\]")
_CATEGORY = re.compile(r"category<(.+?)(, ordered)?>")
_TEXT = {"str": np.nan, "string": None}
_ARROW = "[pyarrow]"


def read(name: str, column: Any, rows_from: int = 0) -> Series:
    """Return a column, a pandas Series, as arrays.

    Raises:
        DataError: a dtype without scalars that a density is of, or a value that is none.
    """
    import pandas as pd

    dtype = column.dtype
    if isinstance(dtype, np.dtype):
        if dtype.kind in "OVc":
            if dtype.kind == "O":
                return objects.read(name, column.to_numpy(), rows_from)
            raise refused(name, dtype)
        return numpy_columns.read(name, column.to_numpy(), rows_from)
    missing = column.isna().to_numpy(dtype=bool)
    if isinstance(dtype, pd.ArrowDtype):
        import pyarrow as pa

        stored = pa.chunked_array(column.array.__arrow_array__())
        found = arrow_columns.read(name, stored, rows_from)
        return replace(found, dtype=found.dtype + _ARROW)
    if isinstance(dtype, pd.CategoricalDtype):
        elements = _read_categories(name, dtype.categories)
        ordered = bool(dtype.ordered)
        word = f"category<{elements.dtype}{', ordered' if ordered else ''}>"
        codes = column.cat.codes.to_numpy().astype(np.int64)
        return of_codes(name, word, codes, elements, ordered=ordered)
    if isinstance(dtype, pd.StringDtype):
        values = np.where(missing, "", column.to_numpy(dtype=object))
        word = f"{dtype}[python]" if dtype.storage == "python" else str(dtype)
        return Series(name, "text", word, values, missing)
    if isinstance(dtype, pd.DatetimeTZDtype):
        zone = _zone_of(dtype)
        plain = column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
        word = f"datetime64[{dtype.unit}, {zone}]"
        return replace(numpy_columns.read(name, plain), dtype=word, zone=zone)
    if isinstance(dtype, pd.PeriodDtype):
        ordinals = np.where(missing, 0, column.array.asi8)
        return Series(name, "period", str(dtype), ordinals, missing)
    if isinstance(dtype, pd.IntervalDtype):
        return _read_intervals(name, column, missing)
    if isinstance(dtype, pd.SparseDtype):
        dense = read(name, column.sparse.to_dense(), rows_from)
        return replace(dense, dtype=str(dtype))
    if _NULLABLE.fullmatch(str(dtype)):
        return _read_nullable(name, column, missing, rows_from)
    raise refused(name, dtype)


def _read_categories(name: str, index: Any) -> Series:
    """Return categories as arrays; those that are text and numbers side by side stay so."""
    plain = all(isinstance(v, str | int | float | bool) for v in index)
    if index.dtype == object and plain and len({type(v) for v in index}) > 1:
        missing = np.zeros(len(index), dtype=bool)
        return Series(name, "text", "object", index.to_numpy(), missing)
    return read(name, index.to_series())


def _read_nullable(name: str, column: Any, missing: np.ndarray, rows_from: int) -> Series:
    word = str(column.dtype)
    if word == "boolean":
        values = column.to_numpy(dtype=bool, na_value=False)
        return Series(name, "boolean", word, values, missing)
    if word.startswith("Float"):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return Series(name, "float", word, values, missing | np.isnan(values))
    plain = column.to_numpy(dtype=column.dtype.numpy_dtype, na_value=0)
    return Series(name, "integer", word, whole_numbers(name, plain, missing, rows_from), missing)


def _zone_of(dtype: Any) -> str:
    """Return the name of a time zone, which makes an equal dtype; UTC's, if there is none."""
    import pandas as pd

    for name in (str(dtype.tz), _file_of(dtype.tz)):
        try:
            if pd.DatetimeTZDtype(dtype.unit, name) == dtype:
                return name
        except (ValueError, TypeError, KeyError):  # no zone has this name
            continue
    found = re.search(r"zoneinfo/(.+?)'", str(dtype.tz))
    return "UTC" if found is None else found[1]


def _file_of(zone: Any) -> str:
    """Return a zone of dateutil, which has the path of a file for a name, in pandas' words."""
    return f"dateutil/{str(getattr(zone, '_filename', '')).rpartition('zoneinfo/')[2]}"


def _read_intervals(name: str, column: Any, missing: np.ndarray) -> Series:
    """Return intervals as ordered categories, written "(0.0, 1.5]"."""
    import pandas as pd

    dtype, array = column.dtype, column.array
    if dtype.subtype is None or missing.all():
        empty = np.full(len(missing), "", dtype=object)
        return Series(name, "text", str(dtype), empty, missing, levels=(), ordered=True)
    codes, distinct = pd.factorize(array, sort=True)
    ends = [
        read(name, pd.Series(side).reset_index(drop=True)).labels()
        for side in (distinct.left, distinct.right)
    ]
    first = "[" if dtype.closed in ("left", "both") else "("
    last = "]" if dtype.closed in ("right", "both") else ")"
    texts = np.empty(len(distinct), dtype=object)
    texts[:] = [f"{first}{a}, {b}{last}" for a, b in zip(*ends, strict=True)]
    elements = Series(name, "text", "", texts, np.zeros(len(distinct), dtype=bool))
    return of_codes(name, str(dtype), codes.astype(np.int64), elements, ordered=True)


def build(series: Series) -> Any:
    """Return a series as a pandas Series of its dtype.

    Raises:
        DataError: there is no such dtype.
    """
    import pandas as pd

    with rebuilding(series, "pandas"):
        return pd.Series(_build(series), name=series.name)


def _build(series: Series) -> Any:
    import pandas as pd

    word, missing = series.dtype, series.missing
    if word.endswith(_ARROW):
        array = arrow_columns.build(replace(series, dtype=word.removesuffix(_ARROW)))
        return pd.arrays.ArrowExtensionArray(array)
    if found := _CATEGORY.fullmatch(word):
        return _build_category(series, found[1], ordered=bool(found[2]))
    if word == "category":  # of files in which categories' own dtype was not yet kept
        values = series.values.astype(object)
        values[missing] = None
        return pd.Series(values).astype("category")
    if word.removesuffix("[python]") in _TEXT:
        na = _TEXT[word.removesuffix("[python]")]
        storage = "python" if word.endswith("[python]") else "pyarrow"
        dtype = pd.StringDtype(storage, na_value=pd.NA if na is None else na)
        return pd.array(series.texts(), dtype=dtype)
    if found := _ZONED.fullmatch(word):
        plain = numpy_columns.build(replace(series, dtype=f"datetime64[{found[1]}]"))
        return pd.Series(plain).dt.tz_localize("UTC").dt.tz_convert(found[2])
    if found := _PERIOD.fullmatch(word):
        ordinals = series.integers(-(2**62), 2**62)
        ordinals[missing] = np.iinfo(np.int64).min
        return pd.PeriodIndex.from_ordinals(ordinals, freq=found[1])
    if found := _INTERVAL.fullmatch(word):
        return _build_intervals(series, found[1], found[2])
    if found := _SPARSE.fullmatch(word):
        return _build_sparse(series, found[1], found[2])
    if _NULLABLE.fullmatch(word):
        return _build_nullable(series)
    array = numpy_columns.build(series)
    return pd.Series(array, dtype=object) if array.dtype == object else array


def _build_category(series: Series, word: str, *, ordered: bool) -> Any:
    import pandas as pd

    codes, levels = to_codes(series)
    elements = replace(arrow_columns.elements(series.name, levels), dtype=word)
    index = pd.Index(build(elements), dtype=object if word.startswith("object") else None)
    index = index.rename(None)
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(index, ordered))


def _build_intervals(series: Series, subtype: str, closed: str) -> Any:
    import pandas as pd

    codes, levels = to_codes(series)
    ends = [str(level)[1:-1].split(", ") for level in levels]
    sides = []
    for k in (0, 1):
        values = np.empty(len(ends), dtype=object)
        values[:] = [end[k] for end in ends]
        if subtype.startswith(("float", "int", "uint")):
            values = values.astype(np.dtype(subtype))
        side = Series(series.name, "text", subtype, values, np.zeros(len(ends), dtype=bool))
        sides.append(build(side))
    distinct = pd.arrays.IntervalArray.from_arrays(*sides, closed=closed)
    return distinct.take(codes, allow_fill=True)


def _build_sparse(series: Series, subtype: str, fill: str) -> Any:
    import pandas as pd

    dense = numpy_columns.build(replace(series, dtype=subtype))
    known = {"nan": np.nan, "True": True, "False": False}
    value: Any = known.get(fill)
    if "NaT" in fill:
        value = np.array("NaT", dense.dtype)[()]
    elif value is None:
        value = int(fill) if fill.lstrip("-").isdigit() else float(fill)
    return pd.arrays.SparseArray(dense, fill_value=value, dtype=pd.SparseDtype(dense.dtype, value))


def _build_nullable(series: Series) -> Any:
    import pandas as pd

    mask = series.missing.copy()
    plain = numpy_columns.build(
        replace(
            series,
            dtype={"boolean": "bool"}.get(series.dtype, series.dtype.lower()),
            missing=np.zeros(len(mask), dtype=bool),
            values=np.where(mask, 0, series.values) if mask.any() else series.values,
        )
    )
    if plain.dtype == bool:
        return pd.arrays.BooleanArray(plain, mask)
    array = pd.arrays.FloatingArray if plain.dtype.kind == "f" else pd.arrays.IntegerArray
    return array(plain, mask)
