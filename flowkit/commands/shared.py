"""Parts that the commands share: messages, output paths, tables and their schemas."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from rich.console import Console

from flowkit.errors import ArgumentError, DataError, ModelFileError
from flowkit.schema import Schema, read_schema
from flowkit.schema.frames import read
from flowkit.tables import Note, ReadOptions, TableFile, check_output
from flowkit.tables.observations import POINT_MASS
from flowkit.tables.options import KINDS

# Standard output is left to other programs.
console = Console(stderr=True)


class TableWithSchema(NamedTuple):
    """A table with its schema, the weights of its rows, and the settings of its reader."""

    table: pa.Table
    schema: Schema
    weights: np.ndarray | None
    settings: dict[str, Any]


def inspect_table(
    path: Path,
    columns: Mapping[str, str],
    reading: Mapping[str, Any] | None,
    schema_file: Path | None,
    weights_column: str | None,
) -> TableWithSchema:
    """Read a table, and print its schema and the notes of the reader."""
    options = dict(reading or {})
    overrides: dict[str, Any] = {}
    if schema_file is not None:
        overrides, as_written = read_schema(schema_file)
        options = {**options, **as_written, **explicit(reading)}
    readings, kinds = _kinds_of_columns(columns)
    with TableFile(path, ReadOptions.of(None, **options, columns=readings)) as file:
        table, notes, settings = file.read(), file.notes, dict(file.settings)
    weights = None
    if weights_column is not None:
        table, weights = _weights(table, weights_column)
    schema = Schema.infer(table, {**overrides, **kinds})
    console.print(f"[bold]{path}[/], {table.num_rows:,} rows")
    console.print(schema.describe(table), highlight=False, markup=False, soft_wrap=True)
    # The line of the schema has sentinels already.
    with_sentinels = {column.name for column in schema.columns if column.sentinels}
    print_notes([n for n in notes if n.column not in with_sentinels or POINT_MASS not in n.text])
    return TableWithSchema(table, schema, weights, settings)


def _weights(table: pa.Table, name: str) -> tuple[pa.Table, np.ndarray]:
    """Return a table without a column, and the column as weights of its rows."""
    if name not in table.column_names:
        raise ArgumentError("weights", f"a column: {', '.join(table.column_names)}", repr(name))
    series = read(table, name)
    weights = series.values
    if series.family not in ("integer", "float"):
        raise DataError(f"column {name!r}", "numbers, to be weights of rows", series.family)
    bad = series.missing | ~(weights >= 0) | ~np.isfinite(weights)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        got = "none" if series.missing[row] else weights[row]
        raise DataError(f"column {name!r}, row {row}", "a weight of at least 0", got)
    return table.drop_columns([name]), weights.astype(np.float64)


def check_out(out: Path, force: bool) -> None:
    """Raise before any work if the result could not be written."""
    if out.suffix not in (".safetensors", ".html", ".json", ".toml"):
        check_output(out)
    if out.exists() and not force:
        raise ArgumentError("out", "a new file, or --force to replace it", f"{out}, which exists")
    if not out.parent.is_dir():
        raise ModelFileError(out, "cannot be written: there is no such folder")


def _kinds_of_columns(columns: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return kinds for the reader of text, and kinds for the schema, by column."""
    readings = {name: kind for name, kind in columns.items() if kind in KINDS}
    kinds = {name: kind for name, kind in columns.items() if kind not in KINDS}
    kinds |= {name: "categorical" for name, kind in readings.items() if kind == "text"}
    return readings, kinds


def explicit(reading: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the reading options that the user gave, ``--no-header`` among them."""
    return {
        name: value
        for name, value in (reading or {}).items()
        if value or (name in ("header", "thousands") and value is not None)
    }


def print_notes(notes: Sequence[Note]) -> None:
    """Print notes, one line each."""
    for note in notes:
        console.print(f"- {note}", highlight=False, markup=False, soft_wrap=True)
