"""The command ``flowkit fit``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from flowkit.commands.shared import (
    check_enough,
    check_fit,
    console,
    fit_shown,
    inspect_table,
)
from flowkit.metrics import mean, mean_difference
from flowkit.report.reference_models import baselines
from flowkit.schema import Encoded
from flowkit.schema.arrow_tables import take
from flowkit.schema.holdout import describe_split, split_rows
from flowkit.tabular import FlowDensity

_FEWEST_ROWS = 2


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
    device: str = "cpu",
) -> None:
    """Fit a table, and print the scores of held-out rows."""
    check_fit(out, force, holdout)
    inspected = inspect_table(path, columns, reading, schema_file, weights_column)
    table, schema, weights, settings = inspected
    check_enough(path, table, _FEWEST_ROWS)
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
        device=device,
    )
    with fit_shown() as (show, interrupted):
        density.fit(
            train,
            sample_weight=None if weights is None else weights[kept],
            progress=show,
            stop=interrupted.is_set,
            run_note=note,
        )
    density.save(out)
    if interrupted.is_set():
        console.print(f"{out}: interrupted; this is the best so far")
    if test.num_rows:
        console.print(_comparison(density, encoded.take(kept), encoded.take(held_out), seed))
        console.print(f"{out}: fitted to {train.num_rows:,} rows; the others are scored above")
    else:
        console.print(f"{out}: fitted to all rows")


def _comparison(density: FlowDensity, train: Encoded, test: Encoded, seed: int) -> Table:
    """Return the scores of held-out rows under the density and under baselines."""
    ours = density.score_encoded(test)
    table = Table("held-out rows", "nats, mean ± standard error", "flowkit above, paired")
    table.add_row("flowkit", str(mean(ours)), "")
    for name, theirs in baselines(density.schema_, train, seed).items():
        scores = theirs(test)
        table.add_row(name, str(mean(scores)), str(mean_difference(ours, scores)))
    return table
