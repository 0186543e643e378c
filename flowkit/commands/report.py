"""The command ``flowkit report``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flowkit._container import read_file
from flowkit.commands.conditional import whole_schema
from flowkit.commands.shared import check_out, console, print_notes
from flowkit.commands.use import notes_on, open_like_fitted
from flowkit.errors import ArgumentError
from flowkit.report import make_conditional_report, make_report
from flowkit.schema import Schema
from flowkit.schema.arrow_tables import take
from flowkit.schema.holdout import split_again
from flowkit.tabular import FlowDensity
from flowkit.tabular.conditional import ConditionalFlowDensity
from flowkit.tabular.conditional.model_file import KIND

_OTHER_TABLE = (
    "The model was not fitted to this table, so all rows count as new. Rows that the model was "
    "fitted to would have scores that are too good."
)
_NO_RECORD = (
    "The model has no record of the rows of its fit, so all rows count as new. Rows that the model "
    "was fitted to would have scores that are too good."
)
_SAME_ROWS = (
    "The model was fitted to all of these rows, so scores and calibration are too good. Fit with "
    "--holdout to keep some rows back."
)


def report(
    model: Path,
    path: Path,
    out: Path,
    *,
    seed: int,
    force: bool,
    reading: Mapping[str, Any] | None = None,
) -> None:
    """Evaluate a model on a table; write an HTML page, and its numbers as JSON."""
    if out.suffix != ".html":
        raise ArgumentError("out", "a name ending in .html", out.name)
    for file in (out, out.with_suffix(".json")):
        check_out(file, force)
    density = _loaded(model)
    joint = isinstance(density, FlowDensity)
    schema = density.schema_ if joint else whole_schema(density)
    with open_like_fitted(path, schema, density.run_, reading) as opened:
        print_notes(notes_on(opened, schema))
        table = opened.read()
    kept, held_out, note = _split(schema, table, density.run_.get("split"))
    training = None if kept is None else take(table, kept)
    options: dict[str, Any] = {
        "seed": seed,
        "title": f"{model.name} on {path.name}",
        "numbers": held_out,
        "notes": () if note is None else (note,),
    }
    if joint:
        new = take(table, held_out)
        page = make_report(density, new, training, training_numbers=kept, **options)
    else:
        page = make_conditional_report(density, take(table, held_out), training, **options)
    numbers = page.save(out)
    if note is not None:
        console.print(note)
    ours = page.document["likelihood"]["flowkit"]
    console.print(f"{out}: {len(held_out):,} rows, {ours['mean']:+.3f} nats; numbers in {numbers}")


def _loaded(path: Path) -> FlowDensity | ConditionalFlowDensity:
    """Return the model of a file, of whichever kind it is."""
    if read_file(path)[1].get("kind") == KIND:
        return ConditionalFlowDensity.load(path)
    return FlowDensity.load(path)


def _split(
    schema: Schema, table: pa.Table, split: dict[str, Any] | None
) -> tuple[np.ndarray | None, np.ndarray, str | None]:
    """Return the rows of the fit, if they are in the table, those to evaluate, and a note."""
    every = np.arange(table.num_rows)
    if split is None:
        return None, every, _NO_RECORD
    again = split_again(schema.encode(table), split)
    if again is None:
        return None, every, _OTHER_TABLE
    kept, held_out = again
    return (every, every, _SAME_ROWS) if len(held_out) < 2 else (kept, held_out, None)
