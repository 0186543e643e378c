"""What the commands of `flowkit` do with tables: fit, score, sample, inspect, report."""

import json
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from flowkit.errors import ArgumentError, DataError, ModelFileError
from flowkit.metrics import mean, mean_difference
from flowkit.report import make_report
from flowkit.report.baselines import baselines
from flowkit.schema import Encoded, Schema, read_schema, write_schema
from flowkit.schema.array_tables import Arrays
from flowkit.schema.arrow_columns import type_of
from flowkit.schema.arrow_tables import of_frame, take
from flowkit.schema.frames import read
from flowkit.schema.holdout import describe_split, split_again, split_rows
from flowkit.tables import Note, ReadOptions, TableFile, TableWriter, check_output
from flowkit.tables.forms import MARKS, WEAK_MARKS
from flowkit.tables.observations import POINT_MASS
from flowkit.tables.options import KINDS
from flowkit.tabular.estimator import FlowDensity

_OTHER_TABLE = (
    "The model was not fitted to this table: all of its rows count as new. If it holds rows that "
    "the model was fitted to, their scores are too good."
)
_SAME_ROWS = (
    "The model was fitted to all of these rows: scores and calibration are those of rows that it "
    "has seen, and too good. Fit with a --holdout to have new ones."
)
_FEWEST_ROWS = 2
# Of stderr: standard output is for what other programs read.
_console = Console(stderr=True)


def fit(
    path: Path,
    out: Path,
    *,
    effort: str,
    seed: int,
    columns: Mapping[str, str],
    holdout: float,
    store_rows: bool,
    max_seconds: float | None,
    force: bool,
    reading: Mapping[str, Any] | None = None,
    schema_file: Path | None = None,
    weights_column: str | None = None,
) -> None:
    """Fit a table, and print how likely the held-out rows are."""
    if out.suffix != ".safetensors":
        raise ArgumentError("out", "a name ending in .safetensors", out.name)
    _check_out(out, force)
    if not 0 <= holdout < 1:
        raise ArgumentError("holdout", "a share of at least 0 and below 1", holdout)
    looked_at = _look_at(path, columns, reading, schema_file, weights_column)
    table, schema, weights, settings = looked_at
    if table.num_rows < _FEWEST_ROWS:
        expected = f"at least {_FEWEST_ROWS} rows to fit a density to"
        raise DataError("table", expected, f"{table.num_rows} in {path}")
    encoded = schema.encode(table)
    kept, held_out = split_rows(table.num_rows, holdout, seed)
    train, test = take(table, kept), take(table, held_out)
    note = {"split": describe_split(encoded, holdout, seed)}
    if settings:
        note["reading"] = settings
    density = FlowDensity(
        effort=effort,
        schema=schema,
        store_rows=store_rows,
        max_seconds=max_seconds,
        random_state=seed,
    )
    with Progress(console=_console, transient=True) as bar, _interruptible() as interrupted:
        task = bar.add_task("fit", total=1.0)

        def tell(stage: str, done: int, total: int, message: str) -> None:
            bar.update(task, description=f"{stage}: {message}", completed=done / max(total, 1))

        density.fit(
            train,
            sample_weight=None if weights is None else weights[kept],
            progress=tell,
            stop=interrupted.is_set,
            run_note=note,
        )
    density.save(out)
    if interrupted.is_set():
        _console.print(f"{out}: interrupted; this is the best so far")
    if test.num_rows:
        _console.print(_beside(density, encoded.take(kept), encoded.take(held_out), seed))
        _console.print(f"{out}: fitted to {train.num_rows:,} rows; the others are scored above")
    else:
        _console.print(f"{out}: fitted to all rows")


def schema(
    path: Path,
    *,
    columns: Mapping[str, str],
    out: Path | None,
    force: bool,
    reading: Mapping[str, Any] | None = None,
) -> None:
    """Print the schema of a table, and write it to a file for editing."""
    if out is not None:
        if out.suffix != ".toml":
            raise ArgumentError("out", "a name ending in .toml", out.name)
        _check_out(out, force)
    looked_at = _look_at(path, columns, reading, None, None)
    if out is not None:
        write_schema(out, looked_at.schema, {**_given(reading), **looked_at.settings})
        _console.print(f"{out}: edit it, and fit with --schema {out}")


class _LookedAt(NamedTuple):
    """A table with its schema, the weights of its rows, and the settings of its reader."""

    table: pa.Table
    schema: Schema
    weights: np.ndarray | None
    settings: dict[str, Any]


def _look_at(
    path: Path,
    columns: Mapping[str, str],
    reading: Mapping[str, Any] | None,
    schema_file: Path | None,
    weights_column: str | None,
) -> _LookedAt:
    """Read a table, and print what its columns are taken to be."""
    options = dict(reading or {})
    overrides: dict[str, Any] = {}
    if schema_file is not None:
        overrides, as_written = read_schema(schema_file)
        options = {**options, **as_written, **_given(reading)}
    told, kinds = _told(columns)
    with TableFile(path, ReadOptions.of(None, **options, columns=told)) as file:
        table, notes, settings = file.read(), file.notes, dict(file.settings)
    weights = None
    if weights_column is not None:
        table, weights = _weights(table, weights_column)
    found = Schema.infer(table, {**overrides, **kinds})
    _console.print(f"[bold]{path}[/], {table.num_rows:,} rows")
    _console.print(found.describe(table), highlight=False, markup=False, soft_wrap=True)
    # Of sentinels far from the rest, the line of the schema has said the same.
    said = {column.name for column in found.columns if column.sentinels}
    _print_notes([n for n in notes if n.column not in said or POINT_MASS not in n.text])
    return _LookedAt(table, found, weights, settings)


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


def score(
    model: Path,
    path: Path,
    out: Path,
    *,
    force: bool,
    reading: Mapping[str, Any] | None = None,
) -> None:
    """Write the table with the log-density of each row and its percentile among training rows."""
    _check_out(out, force)
    density = FlowDensity.load(model)
    row = 0
    with _fitting(path, density, reading) as file, TableWriter(out) as writer:
        _print_notes(file.notes)
        for batch in file.batches():
            chunk = pa.Table.from_batches([batch])
            log_density = density.score_encoded(density.encode(chunk, rows_from=row))
            row += chunk.num_rows
            scored = chunk.append_column("log_density", pa.array(log_density))
            percentile = pa.array(density.percentile(log_density))
            writer.write(scored.append_column("percentile", percentile))
    _console.print(f"{out}: {row:,} rows")


def sample(model: Path, rows: int, out: Path, *, seed: int, force: bool) -> None:
    """Write new rows."""
    _check_out(out, force)
    density = FlowDensity.load(model)
    with TableWriter(out) as writer:
        for chunk in density.sample_batches(rows, random_state=seed):
            writer.write(of_frame(_named(chunk, density.schema_)))
    _console.print(f"{out}: {rows:,} rows")


def report(
    model: Path,
    path: Path,
    out: Path,
    *,
    seed: int,
    force: bool,
    reading: Mapping[str, Any] | None = None,
) -> None:
    """Write a page that holds the model against the table, and its numbers as JSON."""
    if out.suffix != ".html":
        raise ArgumentError("out", "a name ending in .html", out.name)
    for file in (out, out.with_suffix(".json")):
        _check_out(file, force)
    density = FlowDensity.load(model)
    with _fitting(path, density, reading) as opened:
        _print_notes(opened.notes)
        table = opened.read()
    split = density.run_.get("split")
    again = None
    if split is not None:
        again = split_again(density.schema_.encode(table), split)
    every = np.arange(table.num_rows)
    if again is None:
        kept, held_out, note = None, every, _OTHER_TABLE
    elif len(again[1]) < 2:
        kept, held_out, note = every, every, _SAME_ROWS
    else:
        (kept, held_out), note = again, None
    found = make_report(
        density,
        take(table, held_out),
        None if kept is None else take(table, kept),
        seed=seed,
        title=f"{model.name} on {path.name}",
        numbers=held_out,
        training_numbers=kept,
        notes=() if note is None else (note,),
    )
    twin = found.save(out)
    if note is not None:
        _console.print(note)
    ours = found.document["likelihood"]["flowkit"]
    _console.print(f"{out}: {len(held_out):,} rows, {ours['mean']:+.3f} nats; numbers in {twin}")


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
    weights: dict[str, float] = {}
    for member in density.members_:
        weights[member["name"]] = weights.get(member["name"], 0.0) + member["weight"]
    scores = {member["name"]: member["held_out"] for member in density.members_}
    for name, weight in sorted(weights.items(), key=lambda item: -item[1]):
        held_out = scores[name]
        table.add_row(name, f"{weight:.3f}", "" if held_out is None else f"{held_out:.3f}")
    if weights:
        console.print(table)
    console.print("Rows of the table are stored." if kept else "No row of the table is stored.")
    for key, value in density.run_.items():
        console.print(f"{key}: {value}", highlight=False, markup=False)


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Let the first Ctrl-C set the event, and a second one interrupt as usual."""
    event = threading.Event()

    def first(*_: object) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, first)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def _check_out(out: Path, force: bool) -> None:
    """Raise before any work if the result could not be written."""
    if out.suffix not in (".safetensors", ".html", ".json", ".toml"):
        check_output(out)
    if out.exists() and not force:
        raise ArgumentError("out", "a new file, or --force to replace it", f"{out}, which exists")
    if not out.parent.is_dir():
        raise ModelFileError(out, "cannot be written: there is no such folder")


def _told(columns: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return how columns are to be read, and what kinds they are to have in the schema."""
    told = {name: kind for name, kind in columns.items() if kind in KINDS}
    kinds = {name: kind for name, kind in columns.items() if kind not in KINDS}
    kinds |= {name: "categorical" for name, kind in told.items() if kind == "text"}
    return told, kinds


def _fitting(path: Path, density: FlowDensity, reading: Mapping[str, Any] | None) -> TableFile:
    """Open a table whose columns are read as those that a model was fitted to."""
    schema, kinds = density.schema_, {}
    if schema.library == "pyarrow":
        for column in schema.columns:
            kind = _kind(type_of(column.dtype))
            if kind is not None:
                kinds[column.name] = kind
    before = dict(density.run_.get("reading", {}))
    words = {str(c) for column in schema.columns for c in column.categories} & (MARKS | WEAK_MARKS)
    before["present"] = (*before.get("present", ()), *sorted(words))
    options = {**before, "empty": True, **_given(reading)}
    return TableFile(path, ReadOptions(**options, columns=kinds))


def _given(reading: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the options of reading that the user gave: no header and no mark are such, too."""
    return {
        name: value
        for name, value in (reading or {}).items()
        if value or (name in ("header", "thousands") and value is not None)
    }


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


def _print_notes(notes: Sequence[Note]) -> None:
    for note in notes:
        _console.print(f"- {note}", highlight=False, markup=False, soft_wrap=True)


def _named(chunk: Any, schema: Schema) -> Any:
    """Return a table with the names of the schema, which an array does not have."""
    if not isinstance(chunk, np.ndarray):
        return chunk
    return Arrays(dict(zip(schema.names, chunk.T, strict=True)), {})


def _beside(density: FlowDensity, train: Encoded, test: Encoded, seed: int) -> Table:
    """Return the scores of held-out rows, ours and those of simple laws."""
    ours = density.score_encoded(test)
    table = Table("held-out rows", "nats, mean ± standard error", "flowkit above, paired")
    table.add_row("flowkit", str(mean(ours)), "")
    for name, theirs in baselines(density.schema_, train, seed).items():
        scores = theirs(test)
        table.add_row(name, str(mean(scores)), str(mean_difference(ours, scores)))
    return table
