"""Tables of NumPy, pandas, polars, pyarrow and what holds one: columns as series, and back."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from flowkit.errors import DataError
from flowkit.schema import numpy_columns
from flowkit.schema.array_tables import (
    Arrays,
    has_quantities,
    in_words,
    is_astropy,
    of_astropy,
    to_astropy,
)
from flowkit.schema.series import Series

_FRAMES = ("pandas", "polars", "pyarrow")
LIBRARIES = (
    *("numpy", "numpy.ma", *_FRAMES, "pyarrow.RecordBatch", "astropy", "astropy.QTable"),
    *(f"narwhals.{name}" for name in _FRAMES),
)


def library(table: Any) -> str:
    """Return which library a table is of, and in what of it."""
    return opened(table)[1]


def plain(table: Any) -> Any:
    """Return a table as an array or a frame of pandas, polars or pyarrow; compute it if lazy.

    Raises:
        DataError: it is no table.
    """
    return opened(table)[0]


def opened(table: Any) -> tuple[Any, str]:
    """Return what `plain` returns, and what `library` returns; a lazy table is computed once.

    Raises:
        DataError: it is no table.
    """
    found = opened_or_none(table)
    if found is None:
        expected = f"an array, or a frame of {', '.join(_FRAMES)} or what turns into one"
        raise DataError("table", expected, f"a {type(table).__name__}")
    return found


def opened_or_none(table: Any) -> tuple[Any, str] | None:
    """Return what `opened` does, or None for what is no array and no frame."""
    import pyarrow as pa

    found: tuple[Any, str] | None = None
    if isinstance(table, np.ma.MaskedArray):
        found = table, "numpy.ma"
    elif isinstance(table, np.ndarray):
        found = table, "numpy"
    elif isinstance(table, Arrays):
        found = table, "astropy"
    elif nw.dependencies.is_narwhals_dataframe(table):
        native, name = opened(table.to_native())
        found = native, f"narwhals.{name}"
    elif nw.dependencies.is_narwhals_lazyframe(table):
        native, name = opened(table.collect().to_native())
        found = native, f"narwhals.{name}"
    elif isinstance(table, pa.Table):
        found = table, "pyarrow"
    elif isinstance(table, pa.RecordBatch):
        found = pa.Table.from_batches([table]), "pyarrow.RecordBatch"
    elif nw.dependencies.is_pandas_dataframe(table):
        found = table, "pandas"
    elif nw.dependencies.is_polars_dataframe(table):
        found = table, "polars"
    elif nw.dependencies.is_dask_dataframe(table):
        found = table.compute(), "pandas"
    elif is_astropy(table):
        found = of_astropy(table), f"astropy{'.QTable' * has_quantities(table)}"
    return found or _computed(table)


def _computed(table: Any) -> tuple[Any, str] | None:
    """Return a lazy frame computed, or what else hands out Arrow's columns, as a frame."""
    import pyarrow as pa

    try:
        frame = nw.from_native(table)
    except TypeError:
        frame = None
    if isinstance(frame, nw.LazyFrame):
        return opened(frame.collect().to_native())
    if isinstance(frame, nw.DataFrame):  # of a library that mirrors pandas
        return frame.to_pandas(), "pandas"
    if hasattr(table, "__arrow_c_stream__"):
        with suppress(pa.ArrowException, TypeError, ValueError):
            return pa.table(table), "pyarrow"
    return None


def length(table: Any) -> int:
    """Return the number of rows."""
    return int(plain(table).shape[0])


def rows(table: Any, start: int, stop: int) -> Any:
    """Return some of the rows."""
    return _picked(table, lambda t: t[start:stop], lambda t: t.slice(start, stop - start))


def take(table: Any, chosen: np.ndarray) -> Any:
    """Return rows by their indices."""
    from flowkit.schema.arrow_tables import take as of_arrow

    return _picked(table, lambda t: t[chosen], lambda t: of_arrow(t, chosen))


def _picked(table: Any, index: Callable[[Any], Any], of_arrow: Callable[[Any], Any]) -> Any:
    table, name = opened(table)
    if isinstance(table, Arrays):
        return Arrays({k: index(v) for k, v in table.columns.items()}, table.units)
    if "pyarrow" in name:
        return of_arrow(table)
    return index(table.iloc if "pandas" in name else table)


def names(table: Any) -> list[str]:
    """Return the names of the columns; those of an array are "x0", "x1", ...

    Raises:
        DataError: it is no table, or a name stands twice.
    """
    table = plain(table)
    if isinstance(table, np.ndarray):
        return [f"x{j}" for j in range(table.shape[1])]
    native = table.column_names if hasattr(table, "column_names") else table.columns
    columns = [str(c) for c in native]
    if len(set(columns)) < len(columns):
        name = next(name for i, name in enumerate(columns) if name in columns[:i])
        raise DataError(f"column {name!r}", "column names that differ", "it stands twice")
    return columns


def read(table: Any, name: str, *, rows_from: int = 0) -> Series:
    """Return one column of a table as arrays.

    Raises:
        DataError: there is no such column, its dtype has no scalars that a density is of, or a
            value is none; then the row is named.
    """
    table, _ = opened(table)
    columns = names(table)
    if name not in columns:
        got = "an array" if isinstance(table, np.ndarray) else ", ".join(columns)
        raise DataError("table", f"a frame with a column {name!r}, as the schema has", got)
    return read_at(table, columns.index(name), name, rows_from=rows_from)


def read_at(table: Any, at: int, name: str, *, rows_from: int = 0) -> Series:
    """Return the column at a place, whose name is known: of wide tables, names are looked up once.

    Raises:
        DataError: as `read`, but for a column that there is not.
    """
    table, kind = opened(table)
    if isinstance(table, np.ndarray):
        return numpy_columns.read(name, table[:, at], rows_from)
    if isinstance(table, Arrays):
        found = numpy_columns.read(name, table.columns[name], rows_from)
        return replace(found, dtype=in_words(table, name, found.dtype))
    if "pandas" in kind:
        from flowkit.schema import pandas_columns

        return pandas_columns.read(name, table.iloc[:, at], rows_from)
    if "polars" in kind:
        from flowkit.schema import polars_columns

        return polars_columns.read(name, table.to_series(at), rows_from)
    from flowkit.schema import arrow_columns

    return arrow_columns.read(name, table.column(at), rows_from)


def cell(table: Any, name: str, row: int) -> Any:
    """Return one value as its library has it, None if it is missing."""
    table, kind = opened(rows(table, row, row + 1))
    if read(table, name).missing[0]:
        return None
    at = names(table).index(name)
    if isinstance(table, np.ndarray):
        return table[0, at]
    if isinstance(table, Arrays):
        return table.columns[name][0]
    if "pandas" in kind:
        return table.iloc[0, at]
    return table[0, at] if "polars" in kind else table.column(at)[0].as_py()


def table_of(columns: Sequence[Series], kind: str) -> Any:
    """Return a table of the library ``kind`` from its columns.

    Raises:
        DataError: a dtype is none of the library's.
    """
    if kind.startswith("numpy"):
        return _array(columns, masked=kind == "numpy.ma")
    wrapper, _, name = kind.partition(".")
    if wrapper == "narwhals":
        return nw.from_native(table_of(columns, name), eager_only=True)
    return _BUILDERS[kind](columns)


def _array(columns: Sequence[Series], *, masked: bool) -> np.ndarray:
    """Return columns side by side, as objects if their dtypes differ."""
    built = [numpy_columns.build(series) for series in columns]
    dtypes = {array.dtype for array in built}
    # Not stacked: that would turn the bytes of numbers round.
    dtype = dtypes.pop() if len(dtypes) == 1 else np.dtype(object)
    found = np.empty((len(built[0]), len(built)), dtype)
    for j, array in enumerate(built):
        found[:, j] = array
    if not masked:
        return found
    mask = np.stack([series.missing for series in columns], axis=1)
    return np.ma.MaskedArray(found, mask)


def _pandas(columns: Sequence[Series]) -> Any:
    import pandas as pd

    from flowkit.schema import pandas_columns

    return pd.DataFrame({series.name: pandas_columns.build(series) for series in columns})


def _polars(columns: Sequence[Series]) -> Any:
    import polars as pl

    from flowkit.schema import polars_columns

    return pl.DataFrame([polars_columns.build(series).alias(series.name) for series in columns])


def _pyarrow(columns: Sequence[Series]) -> Any:
    import pyarrow as pa

    from flowkit.schema import arrow_columns

    arrays = [arrow_columns.build(series) for series in columns]
    return pa.table(arrays, names=[series.name for series in columns])


def _record_batch(columns: Sequence[Series]) -> Any:
    import pyarrow as pa

    table = _pyarrow(columns)
    arrays = [column.combine_chunks() for column in table.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema)


_BUILDERS: dict[str, Callable[[Sequence[Series]], Any]] = {
    "pandas": _pandas,
    "polars": _polars,
    "pyarrow": _pyarrow,
    "pyarrow.RecordBatch": _record_batch,
    "astropy": to_astropy,
    "astropy.QTable": lambda columns: to_astropy(columns, quantities=True),
}
