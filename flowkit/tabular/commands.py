"""What the commands of `flowkit` do with tables: fit, score, sample, inspect."""

import json
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from flowkit.errors import ArgumentError, ModelFileError
from flowkit.schema import Schema
from flowkit.schema.frames import arrow_type
from flowkit.tabular.estimator import FlowDensity
from flowkit.tabular.tablefiles import TableWriter, format_of, read_chunks, read_table

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
) -> None:
    """Fit a table, and say how likely the rows are that it did not see."""
    _check_out(out, force)
    if not 0 <= holdout < 1:
        raise ArgumentError("holdout", "a share of at least 0 and below 1", holdout)
    table = read_table(path)
    schema = Schema.infer(table, dict(columns))
    _console.print(f"[bold]{path}[/], {table.num_rows:,} rows")
    _console.print(str(schema), highlight=False, markup=False)
    order = np.random.default_rng(seed).permutation(table.num_rows)
    kept = max(table.num_rows - round(holdout * table.num_rows), 2)
    train, test = table.take(np.sort(order[:kept])), table.take(np.sort(order[kept:]))
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

        density.fit(train, progress=tell, stop=interrupted.is_set)
    density.save(out)
    if interrupted.is_set():
        _console.print(f"{out}: interrupted; this is the best so far")
    if test.num_rows:
        _console.print(_beside(density, train, test))
        _console.print(f"{out}: fitted to {train.num_rows:,} rows; the others are scored above")
    else:
        _console.print(f"{out}: fitted to all rows")


def score(model: Path, path: Path, out: Path, *, force: bool) -> None:
    """Write the table with the log-density of each row and its percentile among training rows."""
    _check_out(out, force)
    density = FlowDensity.load(model)
    fitted, types = density.model_, {}
    if fitted.schema.library == "pyarrow":
        types = {c.name: arrow_type(c.dtype) for c in fitted.schema.columns}
        types = {k: pa.string() if pa.types.is_dictionary(v) else v for k, v in types.items()}
    row = 0
    with TableWriter(out) as writer:
        for chunk in read_chunks(path, types):
            log_density = fitted.log_prob(chunk, on_unknown=density.on_unknown, rows_from=row)
            row += chunk.num_rows
            scored = chunk.append_column("log_density", pa.array(log_density))
            writer.write(
                scored.append_column("percentile", pa.array(fitted.percentile(log_density)))
            )
    _console.print(f"{out}: {row:,} rows")


def sample(model: Path, rows: int, out: Path, *, seed: int, force: bool) -> None:
    """Write new rows."""
    _check_out(out, force)
    density = FlowDensity.load(model)
    schema = density.schema_
    arrow = Schema(schema.columns, "pyarrow") if schema.library == "pyarrow" else None
    with TableWriter(out) as writer:
        for chunk in density.model_.sample_chunks(rows, np.random.default_rng(seed)):
            writer.write(chunk if arrow is not None else _as_arrow(chunk, schema))
    _console.print(f"{out}: {rows:,} rows")


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
    if out.suffix != ".safetensors":
        format_of(out)
    if out.exists() and not force:
        raise ArgumentError("out", "a new file, or --force to replace it", f"{out}, which exists")
    if not out.parent.is_dir():
        raise ModelFileError(out, "cannot be written: there is no such folder")


def _as_arrow(chunk: Any, schema: Schema) -> pa.Table:
    if isinstance(chunk, np.ndarray):
        arrays = [pa.array(column) for column in chunk.T]
        return pa.table(dict(zip(schema.names, arrays, strict=True)))
    import narwhals.stable.v2 as nw

    return nw.from_native(chunk, eager_only=True).to_arrow()


def _beside(density: FlowDensity, train: pa.Table, test: pa.Table) -> Table:
    """Return held-out scores: ours, and where they mean the same a Gaussian's and a mixture's."""
    schema = density.schema_
    ours = density.score_samples(test)
    table = Table("held-out rows", "nats, mean ± standard error", "flowkit above, paired")
    table.add_row("flowkit", _mean(ours), "")
    if not schema.discrete:
        from sklearn.mixture import GaussianMixture

        rows, new = schema.encode(train), schema.encode(test)
        mean, std = rows.values.mean(0), rows.values.std(0) + 1e-300
        x, y = (rows.values - mean) / std, (new.values - mean) / std
        offset = new.log_jacobian - np.log(std).sum()
        tenth = max(len(x) // 10, 1)
        sizes = [k for k in (1, 2, 4, 8, 16) if 10 * k <= len(x)] or [1]
        options = {"random_state": 0, "reg_covar": 1e-5}
        tried = [GaussianMixture(k, **options).fit(x[tenth:]).score(x[:tenth]) for k in sizes]
        best = sizes[int(np.argmax(tried))]
        for name, k in (("Gaussian", 1), (f"mixture of {best}", best)):
            theirs = GaussianMixture(k, **options).fit(x).score_samples(y) + offset
            table.add_row(name, _mean(theirs), _mean(ours - theirs))
    return table


def _mean(scores: np.ndarray) -> str:
    error = scores.std(ddof=1) / len(scores) ** 0.5 if len(scores) > 1 else float("nan")
    return f"{scores.mean():+.3f} ± {error:.3f}"
