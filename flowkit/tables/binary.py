"""Table files that are not delimited text, by their ending."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet

from flowkit.errors import DataError
from flowkit.tables import formats
from flowkit.tables.arrow_table import ArrowTable
from flowkit.tables.options import ReadOptions
from flowkit.tables.streams import open_bytes


def open_table(path: Path, ending: str, options: ReadOptions, scratch: Path) -> Any:
    """Return the table in a file of any format but delimited text.

    Raises:
        DataError: it cannot be read as such a file.
    """
    if ending in (*formats.LINES, ".json"):
        from flowkit.tables.json_table import JSONTable

        return JSONTable(path, options, scratch)
    path = _plain(path, scratch)
    try:
        if ending == ".parquet":
            return parquet(path, options)
        if ending in formats.ARROW:
            return arrow(path, options)
        if ending in formats.EXCEL:
            from flowkit.tables import excel

            return excel.read(path, options, scratch)
        if ending in formats.STATISTICS:
            from flowkit.tables import statistics_files

            return statistics_files.read(path, ending, options, scratch)
        from flowkit.tables import science

        reader = {".root": science.root}.get(ending)
        if reader is None:
            reader = science.fits if ending in formats.FITS else science.hdf5
        return reader(path, options, scratch)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        first = str(error).partition("\n")[0]
        expected = f"a whole {ending} file, as its name says"
        raise DataError("table", expected, f"{path}: {first}") from error


def _plain(path: Path, scratch: Path) -> Path:
    """Return the path of the file itself, or of a decompressed copy."""
    with open(path, "rb") as file:
        compressed = formats.compression_of(file.read(8)) is not None
    if not compressed:
        return path
    copy = scratch / path.name.rpartition(".")[0]
    with open_bytes(path) as source, open(copy, "wb") as to:
        while chunk := source.read(2**20):
            to.write(chunk)
    return copy


def parquet(path: Path, options: ReadOptions) -> ArrowTable:
    """Return the table in a Parquet file."""
    with pa.parquet.ParquetFile(path) as file:
        schema, metadata = file.schema_arrow.remove_metadata(), file.metadata
        nulls: Mapping[str, int | None] = _nulls(metadata)

    def batches(names: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        with pa.parquet.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=rows, columns=names)

    rows = metadata.num_rows
    blank = [pa.types.is_null(f.type) or nulls.get(f.name) == rows for f in schema]
    return ArrowTable(schema, batches, options, nulls=blank, n_rows=metadata.num_rows)


def _nulls(metadata: Any) -> dict[str, int | None]:
    """Return the number of missing values of each column, None where the file does not say it."""
    found: dict[str, int | None] = {}
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        for j in range(group.num_columns):
            column = group.column(j)
            statistics = column.statistics
            before = found.get(column.path_in_schema, 0)
            known = before is not None and statistics is not None and statistics.has_null_count
            found[column.path_in_schema] = before + statistics.null_count if known else None
    return found


def arrow(path: Path, options: ReadOptions) -> ArrowTable:
    """Return the table in an Arrow file or stream, or a Feather file of either version."""
    with open(path, "rb") as head:
        magic = head.read(6)
    if magic.startswith(b"FEA1"):
        table = pa.feather.read_table(path)
        return held(table, options)
    is_file = magic == b"ARROW1"
    opener = pa.ipc.open_file if is_file else pa.ipc.open_stream

    def batches(names: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        del rows
        with pa.memory_map(str(path)) as source:
            reader = opener(source)
            count = reader.num_record_batches if is_file else None
            pieces = reader if count is None else (reader.get_batch(i) for i in range(count))
            for batch in pieces:
                yield batch.select(names)

    with pa.memory_map(str(path)) as source:
        schema = opener(source).schema.remove_metadata()
    return ArrowTable(schema, batches, options)


def held(table: pa.Table, options: ReadOptions) -> ArrowTable:
    """Return a table that is in memory."""

    def batches(names: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        yield from table.select(names).to_batches(max_chunksize=rows)

    return ArrowTable(table.schema.remove_metadata(), batches, options)
