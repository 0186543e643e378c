"""Tables of NumPy, pandas, polars and pyarrow: their columns as arrays, and arrays as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from flowkit.errors import DataError

LIBRARIES = ("numpy", "pandas", "polars", "pyarrow")


@dataclass(frozen=True)
class Series:
    """A column as arrays.

    Args:
        name: its name.
        family: "float", "integer", "boolean", "text" or "time".
        dtype: the dtype in the words of the table's library.
        values: float64; int64; bool; an object array of strings; or seconds as float64. What
            stands where a value is missing means nothing.
        missing: which values are missing.
        zone: time zone of times.
    """

    name: str
    family: str
    dtype: str
    values: np.ndarray
    missing: np.ndarray
    zone: str | None = None


def library(table: Any) -> str:
    """Return which library a table is of."""
    if isinstance(table, np.ndarray):
        return "numpy"
    try:
        name = nw.from_native(table, eager_only=True).implementation.value
    except TypeError as error:
        raise _no_table(table) from error
    if name not in LIBRARIES:
        raise _no_table(table)
    return str(name)


def length(table: Any) -> int:
    """Return the number of rows."""
    return int(table.shape[0])


def rows(table: Any, start: int, stop: int) -> Any:
    """Return some of the rows."""
    if isinstance(table, np.ndarray):
        return table[start:stop]
    return nw.from_native(table, eager_only=True)[start:stop].to_native()


def take(table: Any, chosen: np.ndarray) -> Any:
    """Return rows by their indices."""
    if isinstance(table, np.ndarray):
        return table[chosen]
    return nw.from_native(table, eager_only=True)[chosen.tolist()].to_native()


def names(table: Any) -> list[str]:
    """Return the names of the columns; those of an array are "x0", "x1", ..."""
    if isinstance(table, np.ndarray):
        return [f"x{j}" for j in range(table.shape[1])]
    # Of the native table, as narwhals refuses duplicates in words of its own.
    native = getattr(table, "column_names", getattr(table, "columns", None))
    if native is None or not hasattr(table, "shape"):
        raise _no_table(table)
    columns = [str(c) for c in native]
    for i, name in enumerate(columns):
        if name in columns[:i]:
            raise DataError(f"column {name!r}", "column names that differ", "it stands twice")
    return columns


def _no_table(table: Any) -> DataError:
    expected = f"an array, or a frame of {', '.join(LIBRARIES[1:])}"
    return DataError("table", expected, f"a {type(table).__name__}")


def read(table: Any, name: str, *, rows_from: int = 0) -> Series:
    """Return one column of a table as arrays."""
    if isinstance(table, np.ndarray):
        if name not in names(table):
            expected = f"a frame with a column {name!r}, as the schema has"
            raise DataError("table", expected, "an array")
        return _of_array(name, table[:, int(name[1:])], rows_from)
    if library(table) == "pandas":
        table = table.set_axis([str(c) for c in table.columns], axis=1)
    series = nw.from_native(table, eager_only=True)[name]
    column = series.to_native()
    native = str(column.dtype if hasattr(column, "dtype") else column.type)
    zone = getattr(series.dtype, "time_zone", None)
    if getattr(getattr(column, "dtype", None), "tz", None) is not None:
        # Of pandas: narwhals knows no zone with an underscore in its name.
        zone = str(column.dtype.tz)
        series = nw.from_native(column.dt.tz_convert("UTC"), series_only=True)
    dtype = series.dtype
    missing = np.array(series.is_null().to_numpy(), dtype=bool)
    if isinstance(dtype, nw.Datetime | nw.Date):
        plain = series.cast(nw.Datetime("us", getattr(dtype, "time_zone", None)))
        ticks = plain.dt.timestamp("us").fill_null(0).to_numpy().astype(np.int64)
        return Series(name, "time", native, ticks / 1e6, missing, zone)
    if dtype.is_integer():
        values = series.fill_null(0) if missing.any() else series
        return Series(name, "integer", native, _int64(name, values.to_numpy(), rows_from), missing)
    if dtype.is_float() or dtype.is_decimal():
        values = np.asarray(series.to_numpy(), dtype=np.float64)
        return Series(name, "float", native, values, missing | np.isnan(values))
    values = np.asarray(series.to_numpy(), dtype=object)
    if dtype == nw.Boolean:
        known = np.where(missing, False, values).astype(bool)
        return Series(name, "boolean", native, known, missing)
    return _of_objects(name, native, values, missing, rows_from)


def _of_array(name: str, column: np.ndarray, rows_from: int) -> Series:
    dtype = str(column.dtype)
    if column.dtype.kind == "f":
        values = column.astype(np.float64)
        return Series(name, "float", dtype, values, np.isnan(values))
    present = np.zeros(len(column), dtype=bool)
    if column.dtype.kind in "iu":
        return Series(name, "integer", dtype, _int64(name, column, rows_from), present)
    if column.dtype.kind == "b":
        return Series(name, "boolean", dtype, column, present)
    if column.dtype.kind == "M":
        missing = np.isnat(column)
        ticks = column.astype("datetime64[us]").astype(np.int64)
        return Series(name, "time", dtype, np.where(missing, 0, ticks) / 1e6, missing)
    if column.dtype.kind == "O":
        missing = np.array([v is None or v != v for v in column], dtype=bool)
        return _of_objects(name, dtype, column, missing, rows_from)
    return Series(name, "text", dtype, column.astype(object), present)


def _of_objects(
    name: str, dtype: str, values: np.ndarray, missing: np.ndarray, rows_from: int
) -> Series:
    """Return a column of Python objects: numbers if all are, or else text."""
    present = values[~missing]
    if len(present) and all(isinstance(v, int | float | np.number) for v in present):
        numbers = np.full(len(values), np.nan)
        numbers[~missing] = present.astype(np.float64)
        return Series(name, "float", dtype, numbers, missing)
    for i in np.flatnonzero(~missing):
        if not isinstance(values[i], str | bool | np.bool_ | int | float | np.number):
            got = f"a {type(values[i]).__name__}: the argument must be a string or a real number"
            raise DataError(f"column {name!r}, row {i + rows_from}", "text or a number", got)
    text = np.array(["" if m else str(v) for v, m in zip(values, missing, strict=True)], object)
    return Series(name, "text", dtype, text, missing)


def _int64(name: str, values: np.ndarray, rows_from: int) -> np.ndarray:
    """Return whole numbers that float64 holds exactly."""
    values = np.asarray(values)
    large = (values > 2**53) | (values < -(2**53)) if values.size else np.zeros(0, dtype=bool)
    if large.any():
        i = int(np.flatnonzero(large)[0])
        raise DataError(
            f"column {name!r}, row {i + rows_from}",
            "integers within 2**53 (identifiers are no quantities: leave them out, or make them "
            "text)",
            values[i],
        )
    return values.astype(np.int64)


def table_of(columns: Sequence[tuple[str, str, Any]], kind: str) -> Any:
    """Return a table of the library ``kind`` from (name, dtype, values) of each column.

    Values are arrays of the column's own dtype, or object arrays with None for missing.
    """
    if kind == "numpy":
        dtypes = {dtype for _, dtype, _ in columns}
        dtype = np.dtype(dtypes.pop()) if len(dtypes) == 1 else np.dtype(object)
        return np.stack([np.asarray(v).astype(dtype) for _, _, v in columns], axis=1)
    return _BUILDERS[kind](columns)


def _pandas(columns: Sequence[tuple[str, str, Any]]) -> Any:
    import pandas as pd

    def series(dtype: str, values: Any) -> Any:
        if dtype.startswith("datetime64[") and "," in dtype:
            zone = dtype.split(",")[1].strip(" ]")
            return pd.Series(values).dt.tz_localize("UTC").dt.tz_convert(zone).astype(dtype)
        return pd.Series(values).astype(dtype)

    return pd.DataFrame({name: series(dtype, values) for name, dtype, values in columns})


def _polars(columns: Sequence[tuple[str, str, Any]]) -> Any:
    import polars as pl

    return pl.DataFrame([pl.Series(n, list(v)).cast(_polars_dtype(d)) for n, d, v in columns])


def _polars_dtype(dtype: str) -> Any:
    import polars as pl

    simple = dtype.split("(")[0]
    if simple == "Datetime":
        zone = dtype.split("time_zone=")[1].strip(")'\"") if "time_zone='" in dtype else None
        return pl.Datetime("us", zone)
    return pl.String if simple == "Enum" else getattr(pl, simple)


def _pyarrow(columns: Sequence[tuple[str, str, Any]]) -> Any:
    import pyarrow as pa

    arrays = []
    for _, dtype, values in columns:
        if dtype.startswith("dictionary"):
            arrays.append(pa.array(list(values), pa.string()).dictionary_encode())
        else:
            arrays.append(pa.array(list(values), arrow_type(dtype)))
    return pa.table(arrays, names=[name for name, _, _ in columns])


def arrow_type(dtype: str) -> Any:
    """Return the Arrow type of a column of a pyarrow table, by its name."""
    import pyarrow as pa

    if dtype.startswith("timestamp"):
        unit, _, zone = dtype[len("timestamp[") : -1].partition(", tz=")
        return pa.timestamp(unit, zone or None)
    if dtype.startswith("dictionary"):
        return pa.dictionary(pa.int32(), pa.string())
    return pa.type_for_alias(dtype.split("[")[0] if dtype.startswith("date32") else dtype)


_BUILDERS = {"pandas": _pandas, "polars": _polars, "pyarrow": _pyarrow}
