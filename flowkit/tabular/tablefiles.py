"""Tables in files: CSV, TSV and Parquet, compressed or not, read and written chunk by chunk."""

import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from flowkit.errors import ArgumentError, DataError
from flowkit.schema.arrow_tables import storable

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_BLOCK = 4 * 2**20


def format_of(path: str | os.PathLike[str]) -> str:
    """Return ".csv", ".tsv" or ".parquet", by the ending of the name, ".gz" aside.

    Raises:
        ArgumentError: another ending.
    """
    name = Path(path).name.lower().removesuffix(".gz")
    ending = Path(name).suffix
    if ending not in (*_DELIMITERS, ".parquet"):
        raise ArgumentError(
            "table", "a name ending in .csv, .tsv, .parquet, or .gz after these", os.fspath(path)
        )
    return ending


def read_table(path: str | os.PathLike[str], types: Mapping[str, Any] | None = None) -> pa.Table:
    """Read a whole table; the arguments are those of `read_chunks`.

    Raises:
        DataError: there is no such file, or it cannot be read as one.
    """
    tables = list(read_chunks(path, types))
    if not tables:
        raise DataError("table", "at least one row", f"none in {os.fspath(path)}")
    try:
        # Blocks whose integers or gaps look like another type: promoted to what holds both.
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowInvalid as error:
        raise DataError("table", "columns of one type each", str(error)) from error


def read_chunks(
    path: str | os.PathLike[str], types: Mapping[str, Any] | None = None
) -> Iterator[pa.Table]:
    """Read a table piece by piece.

    Args:
        path: the file.
        types: Arrow types of columns of a text file, where they are known already.

    Raises:
        DataError: there is no such file, or it cannot be read as a table.
    """
    ending = format_of(path)
    try:
        if ending == ".parquet":
            with pa.parquet.ParquetFile(os.fspath(path)) as file:
                for batch in file.iter_batches(batch_size=65_536):
                    yield pa.Table.from_batches([batch])
            return
        with pa.csv.open_csv(
            os.fspath(path),
            read_options=pa.csv.ReadOptions(block_size=_BLOCK),
            parse_options=pa.csv.ParseOptions(delimiter=_DELIMITERS[ending]),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict(types or {}), strings_can_be_null=True
            ),
        ) as reader:
            for batch in reader:
                if batch.num_rows:
                    yield pa.Table.from_batches([batch])
    except FileNotFoundError as error:
        raise DataError("table", "a file", f"none at {os.fspath(path)}") from error
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise DataError("table", "a readable table", f"{os.fspath(path)}: {error}") from error


class TableWriter:
    """Writes a table piece by piece to a file that appears once it is whole.

    Args:
        path: where to; its ending says the format.

    Raises:
        DataError: it cannot be written. Nothing is left behind then.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path, self._ending = Path(path), format_of(path)
        self._temporary = self._path.with_name(f".flowkit-{secrets.token_hex(8)}.tmp")
        self._writer: Any = None
        self._sink: Any = None

    def __enter__(self) -> Self:
        try:
            self._sink = pa.OSFile(str(self._temporary), "wb")
        except OSError as error:
            raise self._problem(error) from error
        return self

    def write(self, table: pa.Table) -> None:
        """Write more rows; columns of types that the format does not have as the nearest ones."""
        table = storable(table, text=self._ending != ".parquet")
        try:
            if self._writer is None:
                self._open(table.schema)
            self._writer.write_table(table)
        except OSError as error:
            raise self._problem(error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                if self._writer is not None:
                    self._writer.close()
                self._sink.close()
                os.replace(self._temporary, self._path)
        except OSError as problem:
            raise self._problem(problem) from problem
        finally:
            self._temporary.unlink(missing_ok=True)

    def _open(self, schema: pa.Schema) -> None:
        sink = self._sink
        if self._ending == ".parquet":
            self._writer = pa.parquet.ParquetWriter(sink, schema)
            return
        if self._path.name.lower().endswith(".gz"):
            self._sink = sink = pa.CompressedOutputStream(sink, "gzip")
        options = pa.csv.WriteOptions(delimiter=_DELIMITERS[self._ending])
        self._writer = pa.csv.CSVWriter(sink, schema, write_options=options)

    def _problem(self, error: OSError) -> DataError:
        return DataError("out", "a place to write to", f"{self._path}: {error}")
