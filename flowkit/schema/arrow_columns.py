"""Columns of Arrow: its types in words, arrays of every type of scalar as series, and back."""

import json
import re
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowkit.schema.objects import decimals
from flowkit.schema.series import (
    Series,
    of_codes,
    rebuilding,
    refused,
    to_codes,
    whole_numbers,
)
from flowkit.schema.ticks import seconds, ticks_of

_PLAIN = {
    str(t): t
    for t in (
        *(pa.null(), pa.bool_(), pa.float16(), pa.float32(), pa.float64()),
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
        *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.string(), pa.large_string(), pa.date32(), pa.date64(), pa.month_day_nano_interval()),
        *(pa.binary(16),),
    )
}
if hasattr(pa, "string_view"):
    _PLAIN["string_view"] = pa.string_view()

_TIMES = {"time32": pa.time32, "time64": pa.time64, "duration": pa.duration}
_TIME = re.compile(r"(time32|time64|duration|timestamp)\[(s|ms|us|ns)(?:, tz=(.+))?\]")
_DECIMAL = re.compile(r"(decimal32|decimal64|decimal128|decimal256)\((\d+), (-?\d+)\)")
_DICTIONARY = re.compile(r"dictionary<values=(.+), indices=(u?int\d+), ordered=([01])>")
_RUNS = re.compile(r"run_end_encoded<run_ends: (int\d+), values: (.+)>")


_PROBED = 1000  # rows that show whether texts repeat


def word_of(kind: pa.DataType) -> str:
    """Return an Arrow type in words that `type_of` reads."""
    if isinstance(kind, pa.BaseExtensionType):
        document = [kind.extension_name, _metadata(kind), word_of(kind.storage_type)]
        return f"extension<{json.dumps(document)}>"
    if isinstance(kind, pa.DictionaryType):
        values, ordered = word_of(kind.value_type), int(kind.ordered)
        return f"dictionary<values={values}, indices={kind.index_type}, ordered={ordered}>"
    if isinstance(kind, pa.RunEndEncodedType):
        values = word_of(kind.value_type)
        return f"run_end_encoded<run_ends: {kind.run_end_type}, values: {values}>"
    return str(kind)


def type_of(word: str) -> pa.DataType:
    """Return an Arrow type by its words, from a closed list.

    Raises:
        ValueError: they are no words of `word_of`.
    """
    if word in _PLAIN:
        return _PLAIN[word]
    if found := _TIME.fullmatch(word):
        name, unit, zone = found.groups()
        return pa.timestamp(unit, zone) if name == "timestamp" else _TIMES[name](unit)
    if found := _DECIMAL.fullmatch(word):
        return getattr(pa, found[1])(int(found[2]), int(found[3]))
    if found := _DICTIONARY.fullmatch(word):
        return pa.dictionary(type_of(found[2]), type_of(found[1]), found[3] == "1")
    if found := _RUNS.fullmatch(word):
        return pa.run_end_encoded(type_of(found[1]), type_of(found[2]))
    if word.startswith("extension<") and word.endswith(">"):
        name, metadata, storage = json.loads(word[len("extension<") : -1])
        return _extension(name, metadata, type_of(storage))
    raise ValueError(word)


def _metadata(kind: Any) -> str:
    if hasattr(kind, "__arrow_ext_serialize__"):
        return str(kind.__arrow_ext_serialize__().decode("latin-1"))
    if kind.extension_name == "arrow.opaque":
        return json.dumps({"type_name": kind.type_name, "vendor_name": kind.vendor_name})
    return ""


def _extension(name: str, metadata: str, storage: pa.DataType) -> pa.DataType:
    """Return an extension type as Arrow's own files do: one that is registered, or the storage."""
    notes = {
        b"ARROW:extension:name": name.encode(),
        b"ARROW:extension:metadata": metadata.encode("latin-1"),
    }
    message = pa.schema([pa.field("x", storage, metadata=notes)]).serialize()
    return pa.ipc.read_schema(message).field(0).type


def read(name: str, column: pa.ChunkedArray | pa.Array, rows_from: int = 0) -> Series:
    """Return a column as arrays.

    Raises:
        DataError: a type without scalars that a density is of, or a value that is none.
    """
    if isinstance(column, pa.Array):
        column = pa.chunked_array([column])
    return _read(name, word_of(column.type), column, rows_from)


def _read(name: str, dtype: str, column: pa.ChunkedArray, rows_from: int) -> Series:
    kind, types = column.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _read_extension(name, dtype, column, rows_from)
    if isinstance(kind, pa.RunEndEncodedType):
        return _read(name, dtype, pc.run_end_decode(column), rows_from)
    if isinstance(kind, pa.DictionaryType):
        return _read_dictionary(name, dtype, column)
    missing = column.is_null().to_numpy()
    if types.is_null(kind):
        return Series(name, "float", dtype, np.zeros(len(column)), missing)
    if types.is_boolean(kind):
        return Series(name, "boolean", dtype, _filled(column, False), missing)
    if types.is_integer(kind):
        values = whole_numbers(name, _filled(column, 0), missing, rows_from)
        return Series(name, "integer", dtype, values, missing)
    if types.is_floating(kind) or types.is_decimal(kind):
        values = column.cast(pa.float64()).to_numpy().astype(np.float64)
        return Series(name, "float", dtype, values, missing | np.isnan(values))
    if types.is_string(kind) or types.is_large_string(kind) or dtype == "string_view":
        return Series(name, "text", dtype, _texts(column), missing)
    if types.is_date(kind) or types.is_timestamp(kind):
        zone = kind.tz if types.is_timestamp(kind) else None
        return _of_ticks(name, "time", dtype, column, missing, zone)
    if types.is_time(kind):
        return _of_ticks(name, "clock", dtype, column, missing)
    if types.is_duration(kind):
        return _of_ticks(name, "duration", dtype, column, missing)
    if types.is_interval(kind):
        return Series(name, "text", dtype, _intervals(column), missing)
    raise refused(name, kind)


def _filled(column: pa.ChunkedArray, value: Any) -> np.ndarray:
    found: np.ndarray = (column.fill_null(value) if column.null_count else column).to_numpy()
    return found


def _texts(column: pa.ChunkedArray) -> np.ndarray:
    """Return texts as an array of strings; those that repeat share one string."""
    plain = column.cast(pa.large_string()).fill_null("")
    encoded = plain.slice(0, _PROBED).dictionary_encode()
    if encoded.num_chunks and 2 * len(encoded.chunk(0).dictionary) > len(encoded):
        found: np.ndarray = plain.to_numpy().astype(object)
        return found
    encoded = plain.combine_chunks().dictionary_encode()
    shared: np.ndarray = encoded.dictionary.to_numpy(zero_copy_only=False)
    texts: np.ndarray = shared[encoded.indices.to_numpy()]
    return texts


def _of_ticks(
    name: str,
    family: str,
    dtype: str,
    column: pa.ChunkedArray,
    missing: np.ndarray,
    zone: str | None = None,
) -> Series:
    kind = column.type
    wide = pa.int32() if kind.bit_width == 32 else pa.int64()
    ticks = _filled(column.cast(wide).cast(pa.int64()), 0)
    unit = _unit(kind)
    return Series(
        name, family, dtype, seconds(ticks, unit), missing, zone=zone, ticks=ticks, unit=unit
    )


def _unit(kind: pa.DataType) -> str:
    if pa.types.is_date(kind):
        return "D" if kind.bit_width == 32 else "ms"
    return str(kind.unit)


def _intervals(column: pa.ChunkedArray) -> np.ndarray:
    """Return stretches of months, days and nanoseconds, which have no one length, as text."""
    found = np.empty(len(column), dtype=object)
    found[:] = [
        "" if v is None else f"{v.months} months {v.days} days {v.nanoseconds} ns"
        for v in column.to_pylist()
    ]
    return found


def _read_dictionary(name: str, dtype: str, column: pa.ChunkedArray) -> Series:
    kind = column.type
    chunks = column.chunks or [pa.array([], kind)]
    if len(chunks) > 1:  # dictionaries with a null in them cannot be unified: through the values
        same = all(chunk.dictionary.equals(chunks[0].dictionary) for chunk in chunks)
        if not same and any(chunk.dictionary.null_count for chunk in chunks):
            column = pc.dictionary_encode(column.cast(kind.value_type))
        elif not same:
            column = column.unify_dictionaries()
        chunks = column.chunks
    elements = read(name, chunks[0].dictionary)
    codes = [chunk.indices.cast(pa.int64()).fill_null(-1).to_numpy() for chunk in chunks]
    return of_codes(name, dtype, np.concatenate(codes), elements, ordered=bool(kind.ordered))


def _read_extension(name: str, dtype: str, column: pa.ChunkedArray, rows_from: int) -> Series:
    kind = column.type
    with suppress(ValueError):
        if type_of(dtype) == kind:
            return _read_storage(name, dtype, column, rows_from)
    raise refused(name, kind)


def _read_storage(name: str, dtype: str, column: pa.ChunkedArray, rows_from: int) -> Series:
    kind = column.type
    stored = pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type)
    missing = stored.is_null().to_numpy()
    if kind.extension_name == "arrow.bool8":
        return Series(name, "boolean", dtype, _filled(stored, 0) != 0, missing)
    if kind.extension_name == "arrow.uuid":
        texts = np.empty(len(stored), dtype=object)
        texts[:] = ["" if v is None else v.hex() for v in stored.to_pylist()]
        return Series(name, "text", dtype, texts, missing)
    return _read(name, dtype, stored, rows_from)


def build(series: Series) -> pa.Array:
    """Return a series as an array of its type.

    Raises:
        DataError: there is no such type.
    """
    with rebuilding(series, "pyarrow"):
        return build_as(type_of(series.dtype), series)


def build_as(kind: pa.DataType, series: Series) -> pa.Array:
    """Return a series as an array of another type than it states."""
    types, mask = pa.types, series.missing
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, _stored(kind, series))
    if isinstance(kind, pa.RunEndEncodedType):
        return pc.run_end_encode(build_as(kind.value_type, series), run_end_type=kind.run_end_type)
    if isinstance(kind, pa.DictionaryType):
        codes, levels = to_codes(series)
        values = build_as(kind.value_type, elements(series.name, levels))
        places = pa.array(codes, mask=mask).cast(kind.index_type)
        return pa.DictionaryArray.from_arrays(places, values, ordered=kind.ordered)
    if types.is_null(kind):
        return pa.nulls(len(mask))
    if types.is_boolean(kind):
        return pa.array(series.booleans(), mask=mask)
    if types.is_integer(kind):
        info = np.iinfo(kind.to_pandas_dtype())
        values = series.integers(int(info.min), int(info.max)).astype(info.dtype)
        return pa.array(values, kind, mask=mask)
    if types.is_floating(kind):
        return pa.array(series.floats(np.dtype(kind.to_pandas_dtype())), kind, mask=mask)
    if types.is_decimal(kind):
        return pa.array(decimals(series, kind.scale, kind.precision), kind)
    if types.is_date(kind) or types.is_timestamp(kind):
        return _from_ticks(kind, series.in_ticks(_unit(kind), "time", calendar=True), mask)
    if types.is_time(kind):
        return _from_ticks(kind, series.in_ticks(kind.unit, "clock"), mask)
    if types.is_duration(kind):
        return _from_ticks(kind, series.in_ticks(kind.unit, "duration"), mask)
    if types.is_interval(kind):
        return pa.array([_stretch(text) for text in series.texts()], kind)
    return pa.array(series.texts(), pa.large_string()).cast(kind)


def _stretch(text: str | None) -> Any:
    """Return what `_intervals` made text of: "1 months 2 days 3 ns"."""
    return None if text is None else pa.MonthDayNano([int(n) for n in text.split()[::2]])


def _stored(kind: Any, series: Series) -> pa.Array:
    if kind.extension_name == "arrow.bool8":
        return pa.array(series.booleans().astype(np.int8), mask=series.missing)
    if kind.extension_name == "arrow.uuid":
        hexes = series.texts()
        return pa.array([None if h is None else bytes.fromhex(h) for h in hexes], pa.binary(16))
    return build_as(kind.storage_type, series)


def _from_ticks(kind: pa.DataType, ticks: np.ndarray, mask: np.ndarray) -> pa.Array:
    if str(kind) == "date64[ms]":  # whole days, in milliseconds
        ticks = ticks_of(seconds(ticks, "ms"), "D") * 86_400_000
    wide = pa.int32() if kind.bit_width == 32 else pa.int64()
    return pa.array(ticks.astype(wide.to_pandas_dtype()), wide, mask=mask).cast(kind)


def elements(name: str, levels: tuple[Any, ...]) -> Series:
    """Return categories as a series of their own, to be built in the dtype that they have."""
    values = np.empty(len(levels), dtype=object)
    values[:] = levels
    return Series(name, "text", "", values, np.zeros(len(levels), dtype=bool))
