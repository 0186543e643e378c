"""Parts that the commands share: messages, output paths, tables and their schemas."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import Progress

from flowkit.errors import ArgumentError, DataError, ModelFileError
from flowkit.schema import Schema, read_schema
from flowkit.schema.frames import read
from flowkit.tables import Note, ReadOptions, TableFile, check_output
from flowkit.tables.observations import POINT_MASS
from flowkit.tables.options import KINDS

# Larger tables are inspected in batches. Read whole, a cell takes 40 bytes and more.
_CELLS, _BYTES = 6_000_000, 256_000_000
# Names of columns in one note.
_SHOWN = 5

# Standard output is left to other programs.
console = Console(stderr=True)


class TableWithSchema(NamedTuple):
    """A table with its schema, the weights of its rows, and the settings of its reader."""

    table: pa.Table
    schema: Schema
    weights: np.ndarray | None
    settings: dict[str, Any]


def check_fit(out: Path, force: bool, holdout: float) -> None:
    """Raise before any work if a model could not be written, or rows not be held out."""
    if out.suffix != ".safetensors":
        raise ArgumentError("out", "a name ending in .safetensors", out.name)
    check_out(out, force)
    if not 0 <= holdout < 1:
        raise ArgumentError("holdout", "a share of at least 0 and below 1", holdout)


def check_enough(path: Path, table: pa.Table, fewest: int) -> None:
    """Raise if a table has too few rows to fit a density to."""
    if table.num_rows < fewest:
        expected = f"at least {fewest} rows to fit a density to"
        raise DataError("table", expected, f"{table.num_rows} in {path}")


def inspect_table(
    path: Path,
    columns: Mapping[str, str],
    reading: Mapping[str, Any] | None,
    schema_file: Path | None,
    weights_column: str | None,
) -> TableWithSchema:
    """Read a whole table, and print its schema and the notes of the reader."""
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
    _print_schema(path, table.num_rows, schema, schema.describe(table), notes)
    return TableWithSchema(table, schema, weights, settings)


def inspect_batches(
    path: Path, columns: Mapping[str, str], reading: Mapping[str, Any] | None
) -> tuple[Schema, dict[str, Any]]:
    """Print what `inspect_table` prints; return the schema and the settings of the reader.

    Of a large table only one batch of rows is in memory at a time.
    """
    readings, kinds = _kinds_of_columns(columns)
    with TableFile(path, ReadOptions.of(None, **dict(reading or {}), columns=readings)) as file:
        notes, settings = list(file.notes), dict(file.settings)
        cells, size = file.n_rows * len(file.schema), path.stat().st_size
        if cells <= _CELLS and size <= _BYTES:
            table = file.read()
            schema = Schema.infer(table, kinds)
            described = schema.describe(table)
        else:
            inferred = Schema.infer_batches(file.batches(), kinds)
            schema = inferred.schema
            described = schema.describe(ranges=inferred.ranges)
            notes += _notes_of_samples(schema, inferred.sampled)
    _print_schema(path, file.n_rows, schema, described, notes)
    return schema, settings


def _notes_of_samples(schema: Schema, sampled: Mapping[str, int]) -> list[Note]:
    """Return notes on columns whose schema rests on rows drawn at random, by what rests on them."""
    columns = [column for column in schema.columns if column.is_modelled and column.name in sampled]
    notes = []
    for of_text, what in ((False, "point masses and steps"), (True, "categories")):
        names = [c.name for c in columns if (c.kind == "categorical") == of_text]
        if names:
            shown = ", ".join(names[:_SHOWN]) + ", ..." * (len(names) > _SHOWN)
            rows = min(sampled[name] for name in names)
            text = f"too many different values to count them all: {what} are those of {rows:,} rows"
            remedy = "drawn at random (`flowkit fit` counts all rows)"
            notes.append(Note(shown, f"{text} {remedy}"))
    return notes


def _print_schema(
    path: Path, rows: int, schema: Schema, described: str, notes: Sequence[Note]
) -> None:
    """Print the schema of a table and the notes of the reader."""
    console.print(f"[bold]{path}[/], {rows:,} rows")
    console.print(described, highlight=False, markup=False, soft_wrap=True)
    # The line of the schema has sentinels already.
    with_sentinels = {column.name for column in schema.columns if column.sentinels}
    print_notes([n for n in notes if n.column not in with_sentinels or POINT_MASS not in n.text])


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


@contextmanager
def fit_shown() -> Iterator[tuple[Callable[[str, int, int, str], None], threading.Event]]:
    """Show the progress of a fit; yield its callback, and an event that the first Ctrl-C sets.

    A second Ctrl-C interrupts as usual.
    """
    interrupted = threading.Event()

    def first(*_: object) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, first)
    try:
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task("fit", total=1.0)

            def show(stage: str, done: int, total: int, message: str) -> None:
                bar.update(task, description=f"{stage}: {message}", completed=done / max(total, 1))

            yield show, interrupted
    finally:
        signal.signal(signal.SIGINT, before)


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
