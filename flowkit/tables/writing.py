"""Tables written to files, in the format that the name says, whole or not at all."""

import datetime
import gzip
import json
import lzma
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from flowkit.errors import ArgumentError, DataError
from flowkit.schema.arrow_tables import storable
from flowkit.tables.formats import ARROW, COMPRESSED, LINES, TEXT, format_of

_SEPARATORS = {**TEXT, ".txt": "\t"}
_READ_ONLY = {".sas7bdat": ".xpt, .parquet or .csv", ".por": ".sav, .parquet or .csv"}


class TableWriter:
    r"""A table that is written piece by piece, to a file that appears once it is whole.

    Args:
        path: where to; its ending says the format, and .gz, .zst, .bz2 or .xz after it the
            compression.

    Raises:
        ArgumentError: an ending that cannot be written.
        DataError: the file cannot be written. Nothing is left behind then.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "new.tsv")
        >>> with TableWriter(path) as writer:
        ...     writer.write(pa.table({"x": [1.5, None], "town": ["Ulm", "Bonn"]}))
        >>> print(path.read_text().replace("\t", " "))
        "x" "town"
        1.5 "Ulm"
         "Bonn"
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path, self._ending = Path(path), check_output(path)
        name = f".flowkit-{secrets.token_hex(8)}.tmp{self._ending}"
        self._temporary = self._path.with_name(name)
        self._sink: Any = None

    def __enter__(self) -> Self:
        try:
            if not (self._path.parent or Path()).is_dir():
                raise FileNotFoundError(2, "there is no such folder")
            self._sink = _sink_of(self._ending, self._temporary, self._path)
        except OSError as error:
            self._temporary.unlink(missing_ok=True)
            raise self._problem(error) from error
        return self

    def write(self, table: pa.Table | pa.RecordBatch) -> None:
        """Write more rows."""
        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        # Types that the format does not have become the nearest ones.
        table = storable(table, text=self._ending not in (".parquet", *ARROW))
        try:
            self._sink.write(table)
        except OSError as error:
            raise self._problem(error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._sink.close(complete=kind is None)
            if kind is None:
                os.replace(self._temporary, self._path)
        except OSError as problem:
            if kind is None:
                raise self._problem(problem) from problem
        finally:
            self._temporary.unlink(missing_ok=True)

    def _problem(self, error: OSError) -> DataError:
        return DataError("out", "a place to write to", f"{self._path}: {error}")


def write_table(path: str | os.PathLike[str], batches: Iterable[pa.RecordBatch | pa.Table]) -> None:
    """Write record batches, or a table, in the format that the name says.

    Args:
        path: where to; the file appears once it is whole.
        batches: rows, in pieces that have the same columns.

    Raises:
        ArgumentError: an ending that cannot be written.
        DataError: the file cannot be written. Nothing is left behind then.
    """
    with TableWriter(path) as writer:
        for batch in [batches] if isinstance(batches, pa.Table) else batches:
            writer.write(batch)


def check_output(path: str | os.PathLike[str]) -> str:
    """Return the format that a table is written in by its name.

    Raises:
        ArgumentError: a format that is read only.
    """
    ending = format_of(path)
    if ending in _READ_ONLY:
        expected = f"a format that can be written, such as {_READ_ONLY[ending]}"
        raise ArgumentError("out", expected, os.fspath(path))
    compressed = Path(path).suffix.lower() in COMPRESSED
    if compressed and ending not in (*TEXT, *LINES, ".json"):
        expected = f"a name that ends in {ending}, which needs no other compression"
        raise ArgumentError("out", expected, os.fspath(path))
    return ending


def _sink_of(ending: str, temporary: Path, path: Path) -> Any:
    if ending in (*TEXT, *LINES, ".json"):
        stream = _compressing(temporary, path.suffix.lower())
        if ending in TEXT:
            return _Delimited(stream, _SEPARATORS[ending])
        return _JSON(stream, lines=ending != ".json")
    if ending == ".parquet":
        return _Columnar(temporary, pa.parquet.ParquetWriter)
    if ending in ARROW:
        return _Columnar(temporary, pa.ipc.new_file)
    from flowkit.tables import writing_extras

    return writing_extras.sink_of(ending, temporary, path)


def _compressing(temporary: Path, suffix: str) -> Any:
    """Open a file for bytes, compressed as the last ending of its name says."""
    kind = COMPRESSED.get(suffix)
    if kind == "gzip":
        return gzip.open(temporary, "wb", compresslevel=6)
    if kind == "xz":
        return lzma.open(temporary, "wb")
    raw = pa.OSFile(str(temporary), "wb")
    return raw if kind is None else pa.CompressedOutputStream(raw, kind)


class _Delimited:
    """Delimited text."""

    def __init__(self, stream: IO[bytes], separator: str) -> None:
        self._stream = stream
        self._options = pa.csv.WriteOptions(delimiter=separator)
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        plain = pa.table([_plain(column) for column in table.columns], names=table.column_names)
        if self._writer is None:
            schema = plain.schema
            self._writer = pa.csv.CSVWriter(self._stream, schema, write_options=self._options)
        self._writer.write_table(plain)

    def close(self, *, complete: bool) -> None:
        del complete
        if self._writer is not None:
            self._writer.close()
        self._stream.close()


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as text has it: categories as texts, durations as clocks."""
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    if pa.types.is_duration(column.type):
        return pa.chunked_array([[_clock(value) for value in column.to_pylist()]], pa.string())
    if pa.types.is_decimal(column.type):
        return column.cast(pa.string())
    return column


def _clock(value: datetime.timedelta | None) -> str | None:
    if value is None:
        return None
    microseconds = value // datetime.timedelta(microseconds=1)
    seconds, fraction = divmod(abs(microseconds), 1_000_000)
    minutes, second = divmod(seconds, 60)
    sign = "-" if microseconds < 0 else ""
    text = f"{sign}{minutes // 60}:{minutes % 60:02}:{second:02}"
    return f"{text}.{fraction:06}" if fraction else text


class _JSON:
    """JSON, one object a line or a list of objects."""

    def __init__(self, stream: IO[bytes], *, lines: bool) -> None:
        self._stream, self._lines, self._any = stream, lines, False

    def write(self, table: pa.Table) -> None:
        names = table.column_names
        columns = [[_json(value) for value in column.to_pylist()] for column in table.columns]
        for row in zip(*columns, strict=True):
            text = json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False)
            before = "" if self._lines else ",\n" if self._any else "["
            self._stream.write((before + text + ("\n" if self._lines else "")).encode())
            self._any = True

    def close(self, *, complete: bool) -> None:
        if complete and not self._lines:
            self._stream.write(b"]\n" if self._any else b"[]\n")
        self._stream.close()


def _json(value: Any) -> Any:
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None if value != value else str(value)
    if isinstance(value, datetime.timedelta):
        return _clock(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


class _Columnar:
    """Parquet or Arrow."""

    def __init__(self, path: Path, opener: Any) -> None:
        self._sink = pa.OSFile(str(path), "wb")
        self._opener = opener
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = self._opener(self._sink, table.schema)
        self._writer.write_table(table)

    def close(self, *, complete: bool) -> None:
        del complete
        if self._writer is not None:
            self._writer.close()
        self._sink.close()
