"""Tables of Arrow: rows by index, tables of other libraries, and what files can hold of them."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowkit.schema import frames
from flowkit.schema.arrow_columns import build_as, read
from flowkit.schema.series import Series

_NATIVE_ERRORS = (pa.ArrowException, TypeError, ValueError, NotImplementedError, OverflowError)


def take(table: pa.Table, chosen: np.ndarray) -> pa.Table:
    """Return rows by their indices, of columns too that Arrow itself cannot pick rows of."""
    columns = [take_column(column, chosen) for column in table.columns]
    return pa.Table.from_arrays(columns, schema=table.schema)


def take_column(column: pa.ChunkedArray, rows: np.ndarray) -> pa.ChunkedArray | pa.Array:
    """Return rows of a column by their indices, whatever its type."""
    kind, chosen = column.type, pa.array(rows, pa.int64())
    if isinstance(kind, pa.RunEndEncodedType):
        taken = pc.run_end_decode(column).take(chosen)
        return pc.run_end_encode(taken, run_end_type=kind.run_end_type)
    if str(kind) == "string_view":
        return column.cast(pa.large_string()).take(chosen).cast(kind)
    return column.take(chosen)


def of_frame(table: Any) -> pa.Table:
    """Return a table of any library as one of Arrow; where Arrow has no such type, the nearest."""
    table, kind = frames.opened(table)
    if isinstance(table, pa.Table):
        return table
    columns = {}
    for at, name in enumerate(frames.names(table)):
        native: Any = None
        try:
            if "pandas" in kind:
                native = pa.Array.from_pandas(table.iloc[:, at])
            elif "polars" in kind:
                native = table.to_series(at).to_arrow()
        except _NATIVE_ERRORS:
            native = None
        if native is None or "extension<" in str(native.type):
            series = frames.read(table, name)
            native = build_as(_nearest(series), series)
        columns[name] = native
    return pa.table(columns)


def _nearest(series: Series) -> pa.DataType:
    if series.family == "time":
        unit = series.unit if series.unit in ("s", "ms", "us", "ns") else "us"
        return pa.date32() if series.unit == "D" else pa.timestamp(unit, series.zone)
    return {
        "float": pa.float64(),
        "integer": pa.int64(),
        "boolean": pa.bool_(),
        "clock": pa.time64("us"),
        "duration": pa.duration("us"),
        "period": pa.int64(),
    }.get(series.family, pa.string())


def storable(table: pa.Table, *, text: bool) -> pa.Table:
    """Return a table whose columns all have types that a file can hold.

    Args:
        table: of any types of scalars.
        text: whether the file is of text, or else Parquet.
    """
    fields, columns = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        kind = column.type
        runs = isinstance(kind, pa.RunEndEncodedType)
        if text or runs or pa.types.is_interval(kind):
            target = text_type(kind)
            if target != kind and not isinstance(kind, pa.DictionaryType):
                series = read(field.name, column)
                column, field = build_as(target, series), field.with_type(target)
        fields.append(field)
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, table.schema.metadata))


def text_type(kind: pa.DataType) -> pa.DataType:
    """Return the nearest type that files of text are read as and written from."""
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        named = {"arrow.bool8": pa.bool_(), "arrow.uuid": pa.string()}
        return named.get(kind.extension_name) or text_type(kind.storage_type)
    if isinstance(kind, pa.DictionaryType):
        # Times as categories are known by their text.
        return pa.string() if types.is_temporal(kind.value_type) else text_type(kind.value_type)
    if isinstance(kind, pa.RunEndEncodedType):
        return text_type(kind.value_type)
    if types.is_interval(kind) or str(kind) == "string_view":
        return pa.string()
    if types.is_decimal(kind) and not types.is_decimal128(kind):
        narrow = kind.precision <= 38
        return pa.decimal128(kind.precision, kind.scale) if narrow else pa.float64()
    return pa.float32() if types.is_float16(kind) else kind
