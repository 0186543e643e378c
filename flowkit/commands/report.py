"""The command ``flowkit report``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flowkit.commands.shared import check_out, console, print_notes
from flowkit.commands.use import notes_on, open_like_fitted
from flowkit.errors import ArgumentError
from flowkit.report import make_report
from flowkit.schema.arrow_tables import take
from flowkit.schema.holdout import split_again
from flowkit.tabular import FlowDensity

_OTHER_TABLE = (
    "The model was not fitted to this table, so all rows count as new. Rows that the model was "
    "fitted to would have scores that are too good."
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
    density = FlowDensity.load(model)
    with open_like_fitted(path, density.schema_, density.run_, reading) as opened:
        print_notes(notes_on(opened, density.schema_))
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
    page = make_report(
        density,
        take(table, held_out),
        None if kept is None else take(table, kept),
        seed=seed,
        title=f"{model.name} on {path.name}",
        numbers=held_out,
        training_numbers=kept,
        notes=() if note is None else (note,),
    )
    numbers = page.save(out)
    if note is not None:
        console.print(note)
    ours = page.document["likelihood"]["flowkit"]
    console.print(f"{out}: {len(held_out):,} rows, {ours['mean']:+.3f} nats; numbers in {numbers}")
