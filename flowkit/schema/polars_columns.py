"""Columns of polars: their dtypes in words, and as series by way of Arrow."""

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np

from flowkit.schema import arrow_columns, objects
from flowkit.schema.series import Series, rebuilding, refused, too_large

_NAMES = (
    *("Boolean", "String", "Date", "Time", "Null", "Object", "Categorical"),
    *("Float16", "Float32", "Float64", "Int8", "Int16", "Int32", "Int64", "Int128"),
    *("UInt8", "UInt16", "UInt32", "UInt64", "UInt128"),
)
_WIDE = ("Int128", "UInt128")
_DATETIME = re.compile(r"Datetime\(time_unit='(ms|us|ns)', time_zone=(?:None|'(.+)')\)")
_DURATION = re.compile(r"Duration\(time_unit='(ms|us|ns)'\)")
_DECIMAL = re.compile(r"Decimal\(precision=(\d+), scale=(\d+)\)")


def word_of(dtype: Any) -> str:
    """Return a dtype in words that `dtype_of` reads; those of an Enum are its levels."""
    import polars as pl

    if isinstance(dtype, pl.Enum):
        return "Enum"
    if isinstance(dtype, pl.Categorical) and str(dtype) != "Categorical":
        own = dtype.categories
        return f"Categorical{json.dumps([own.name(), own.namespace(), str(own.physical())])}"
    if _is_extension(dtype):
        storage = word_of(dtype.ext_storage())
        return f"Extension{json.dumps([dtype.ext_name(), storage, dtype.ext_metadata()])}"
    return str(dtype)


def dtype_of(word: str, levels: tuple[Any, ...] = ()) -> Any:
    """Return a dtype by its words, from a closed list.

    Args:
        word: as `word_of` returned it.
        levels: of an Enum.

    Raises:
        ValueError: they are no words of `word_of`.
    """
    import polars as pl

    if word in _NAMES:
        return getattr(pl, word)()
    unit: Any
    if found := _DATETIME.fullmatch(word):
        unit = found[1]
        return pl.Datetime(unit, found[2])
    if found := _DURATION.fullmatch(word):
        unit = found[1]
        return pl.Duration(unit)
    if found := _DECIMAL.fullmatch(word):
        return pl.Decimal(int(found[1]), int(found[2]))
    if word == "Enum" and levels:
        return pl.Enum([str(level) for level in levels])
    if word.startswith("Categorical["):
        name, namespace, physical = json.loads(word.removeprefix("Categorical"))
        if physical in _NAMES:
            return pl.Categorical(pl.Categories(name, namespace, getattr(pl, physical)))
    if word.startswith("Extension["):
        name, storage, metadata = json.loads(word.removeprefix("Extension"))
        return _extension(name, dtype_of(storage), metadata)
    if word.startswith("Enum"):  # of files in which an Enum's levels were not yet kept
        return pl.String()
    if word.startswith("Categorical"):
        return pl.Categorical()
    raise ValueError(word)


def read(name: str, column: Any, rows_from: int = 0) -> Series:
    """Return a column as arrays.

    Raises:
        DataError: a dtype without scalars that a density is of, or a value that is none.
    """
    import polars as pl

    dtype = column.dtype
    word = word_of(dtype)
    if _is_extension(dtype):
        found = read(name, column.ext.storage(), rows_from)
    elif word == "Object":
        found = objects.read(name, column.to_list(), rows_from)
        word = found.dtype.replace("object", "Object", 1)
    elif word in _WIDE:
        found = read(name, _narrow(name, column, rows_from), rows_from)
    elif dtype.is_nested() or dtype == pl.Binary or dtype == pl.Unknown:
        raise refused(name, dtype)
    else:
        found = arrow_columns.read(name, column.to_arrow(), rows_from)
    if isinstance(dtype, pl.Categorical):
        # Its categories are those that the process has met so far, in no order of the column's.
        return replace(found, dtype=word, levels=())
    return replace(found, dtype=word)


def _extension(name: str, storage: Any, metadata: str | None) -> Any:
    """Return an extension type as polars does when it reads one: the registered class, or any."""
    import polars as pl

    known: Any = pl.get_extension_type(name)
    if known == "storage":
        return storage
    if known is None:
        return pl.Extension(name, storage, metadata)
    return known.ext_from_params(name, storage, metadata)


def _narrow(name: str, column: Any, rows_from: int) -> Any:
    """Return integers of 128 bits in 64: pyarrow knows no wider ones."""
    import polars as pl

    narrow = column.cast(pl.Int64, strict=False)
    lost = (narrow.is_null() & ~column.is_null()).to_numpy()
    if lost.any():
        i = int(np.flatnonzero(lost)[0])
        raise too_large(name, rows_from + i, column[i])
    return narrow


def build(series: Series) -> Any:
    """Return a series as a column of its dtype.

    Raises:
        DataError: there is no such dtype.
    """
    import polars as pl

    if series.dtype.startswith("Object"):
        values = objects.build(replace(series, dtype=series.dtype.replace("O", "o", 1)))
        return pl.Series(series.name, values.tolist(), dtype=pl.Object)
    with rebuilding(series, "polars"):
        if series.dtype.startswith("Extension["):
            _, storage, _ = json.loads(series.dtype.removeprefix("Extension"))
            stored = build(replace(series, dtype=storage))
            dtype = dtype_of(series.dtype)
            return stored.ext.to(dtype) if _is_extension(dtype) else stored
        dtype = dtype_of(series.dtype, series.levels or ())
        if isinstance(dtype, pl.Enum | pl.Categorical):
            return pl.Series(series.name, series.texts().tolist(), dtype=pl.String).cast(dtype)
        own = {"Int128": pl.Int64(), "UInt128": pl.UInt64()}.get(series.dtype, dtype)
        kind = pl.Series([], dtype=own).to_arrow().type
        return pl.Series(series.name, arrow_columns.build_as(kind, series)).cast(dtype)


def _is_extension(dtype: Any) -> bool:
    return hasattr(dtype, "ext_storage")
