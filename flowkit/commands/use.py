"""The commands that use a fitted model: ``flowkit score``, ``sample`` and ``inspect``."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from flowkit.commands.conditions import constant, read_conditions
from flowkit.commands.shared import check_out, console, explicit, print_notes
from flowkit.errors import ArgumentError
from flowkit.schema import Encoded, Schema
from flowkit.schema.array_tables import Arrays
from flowkit.schema.arrow_columns import type_of
from flowkit.schema.arrow_tables import of_frame
from flowkit.tables import Note, ReadOptions, TableFile, TableWriter
from flowkit.tables.forms import MARKS, WEAK_MARKS
from flowkit.tabular import FlowDensity
from flowkit.tabular.continuous.density import by_name


def score(
    model: Path,
    path: Path,
    out: Path,
    *,
    force: bool,
    reading: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> None:
    """Write the table with the log-density of each row and its percentile among training rows."""
    check_out(out, force)
    density = FlowDensity.load(model).set_params(device=device)
    row, unseen = 0, {column.name: 0 for column in density.schema_.discrete}
    schema, run = density.schema_, density.run_
    with open_like_fitted(path, schema, run, reading) as file, TableWriter(out) as writer:
        print_notes(notes_on(file, schema))
        for batch in file.batches():
            chunk = pa.Table.from_batches([batch])
            encoded = density.encode(chunk, rows_from=row)
            for name, count in _unseen(encoded, density.schema_):
                unseen[name] += count
            log_density = density.score_encoded(encoded)
            row += chunk.num_rows
            scored = chunk.append_column("log_density", pa.array(log_density))
            percentile = pa.array(density.percentile(log_density))
            writer.write(scored.append_column("percentile", percentile))
    print_notes([_note_of_unseen(name, count) for name, count in unseen.items() if count])
    console.print(f"{out}: {row:,} rows")


def notes_on(file: TableFile, schema: Schema) -> list[Note]:
    """Return the notes on the whole table, and on the columns of the model."""
    names = {None, *schema.modelled}
    return [note for note in file.notes if note.column in names]


def _note_of_unseen(name: str, count: int) -> Note:
    rows = "1 row has" if count == 1 else f"{count:,} rows have"
    return Note(name, f"{rows} a value that the fit has not seen; its probability is small")


def _unseen(encoded: Encoded, schema: Schema) -> Iterator[tuple[str, int]]:
    """Return the number of rows with an unseen category or level, by column."""
    for j, column in enumerate(schema.discrete):
        if column.kind == "categorical":
            yield column.name, int((encoded.codes[:, j] == column.size).sum())


def sample(
    model: Path,
    rows: int,
    out: Path,
    *,
    given: Sequence[str] = (),
    seed: int,
    force: bool,
    device: str = "cpu",
) -> None:
    """Write new rows, given conditions if there are any."""
    check_out(out, force)
    density = FlowDensity.load(model).set_params(device=device)
    schema = density.schema_
    if given:
        batches = _given(density, read_conditions(given, schema), rows, seed)
    else:
        drawn = density.sample_batches(rows, random_state=seed)
        batches = (of_frame(_named(chunk, schema.names)) for chunk in drawn)
    with TableWriter(out) as writer:
        for batch in batches:
            writer.write(batch)
    console.print(f"{out}: {rows:,} rows")


def _given(
    density: FlowDensity, conditions: Mapping[str, Any], rows: int, seed: int
) -> Iterator[pa.Table]:
    """Return new rows given conditions, with the columns in the order of the table."""
    schema = density.schema_
    try:
        conditional = density.given(conditions)
    except ArgumentError as error:
        if error.argument != "conditions":
            raise
        raise ArgumentError("given", error.expected) from error
    error_bar = f" ± {conditional.standard_error:.3f}" if conditional.standard_error else ""
    console.print(f"- log-density of the conditions: {conditional.log_evidence:.3f}{error_bar}")
    columns = {column.name: column for column in schema.columns}
    for chunk in conditional.sample_batches(rows, random_state=seed):
        drawn = of_frame(_named(chunk, conditional.columns))
        every = {
            name: drawn[name]
            if name in conditional.columns
            else constant(columns[name], conditions[name], drawn.num_rows, schema.library)
            for name in schema.names
        }
        yield pa.table(every)


def inspect(model: Path, *, as_json: bool) -> None:
    """Print what a model is."""
    density = FlowDensity.load(model)
    kept = any(m["kind"] == "kernel" for m in density.members_)
    if as_json:
        document = {
            "schema": density.schema_.to_dict(),
            "members": density.members_,
            "run": density.run_,
            "rows_stored": kept,
        }
        print(json.dumps(document, indent=1))
        return
    console = Console()
    console.print(str(density.schema_), highlight=False, markup=False)
    table = Table("member", "weight", "held-out nats")
    for member in by_name(density.members_):
        held_out = member["held_out"]
        score = "" if held_out is None else f"{held_out:.3f}"
        table.add_row(member["name"], f"{member['weight']:.3f}", score)
    if table.rows:
        console.print(table)
    console.print("Rows of the table are stored." if kept else "No row of the table is stored.")
    for key, value in density.run_.items():
        console.print(f"{key}: {value}", highlight=False, markup=False)


def open_like_fitted(
    path: Path, schema: Schema, run: Mapping[str, Any], reading: Mapping[str, Any] | None
) -> TableFile:
    """Open a table, its columns read like those of the fit."""
    kinds = {}
    if schema.library == "pyarrow":
        for column in schema.columns:
            kind = _kind(type_of(column.dtype))
            if kind is not None:
                kinds[column.name] = kind
    before = dict(run.get("reading", {}))
    words = {str(c) for column in schema.columns for c in column.categories} & (MARKS | WEAK_MARKS)
    before["present"] = (*before.get("present", ()), *sorted(words))
    options = {**before, "empty": True, "fitted": True, **explicit(reading)}
    return TableFile(path, ReadOptions(**options, columns=kinds))


def _kind(arrow: pa.DataType) -> str | None:
    """Return the kind of text that values of an Arrow type are read from, None for any."""
    if pa.types.is_dictionary(arrow) or pa.types.is_string(arrow):
        return "text"
    if pa.types.is_floating(arrow) or pa.types.is_integer(arrow):
        return "number"
    if pa.types.is_boolean(arrow):
        return "boolean"
    if pa.types.is_time(arrow) or pa.types.is_duration(arrow):
        return "time" if pa.types.is_time(arrow) else "duration"
    return "date" if pa.types.is_temporal(arrow) else None


def _named(chunk: Any, names: Sequence[str]) -> Any:
    """Return a table with names for its columns, which an array does not have."""
    if not isinstance(chunk, np.ndarray):
        return chunk
    return Arrays(dict(zip(names, chunk.T, strict=True)), {})
