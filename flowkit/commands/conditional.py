"""The commands for a target given features: ``flowkit fit --target`` and ``flowkit predict``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.table import Table

from flowkit.commands.shared import (
    check_enough,
    check_fit,
    check_out,
    console,
    fit_shown,
    inspect_table,
    print_notes,
)
from flowkit.commands.use import notes_on, open_like_fitted
from flowkit.metrics import mean
from flowkit.schema import Schema
from flowkit.schema.arrow_tables import take
from flowkit.schema.holdout import describe_split, split_rows
from flowkit.tables import TableWriter
from flowkit.tabular.conditional import ConditionalFlowDensity

_FEWEST_ROWS = 5
_LEVEL = 0.9
QUANTILES = (0.05, 0.5, 0.95)


def fit_target(
    path: Path,
    out: Path,
    *,
    target: str,
    columns: Mapping[str, str],
    reading: Mapping[str, Any] | None,
    holdout: float,
    force: bool,
    weights_column: str | None,
    options: Mapping[str, Any],
) -> None:
    """Fit the density of one column given the others, and print scores of held-out rows.

    Args:
        path: the table.
        out: the model file.
        target: name of the column.
        columns: kinds of columns by name.
        reading: options of the reader.
        holdout: share of held-out rows.
        force: whether to replace the file.
        weights_column: column of weights, or None.
        options: of the estimator; "random_state" is the seed of the split too.
    """
    check_fit(out, force, holdout)
    inspected = inspect_table(path, columns, reading, None, weights_column)
    table, schema, weights, settings = inspected
    check_enough(path, table, _FEWEST_ROWS)
    kept, held_out = split_rows(table.num_rows, holdout, options["random_state"])
    train, test = take(table, kept), take(table, held_out)
    model = ConditionalFlowDensity(
        target=target, schema={column.name: column for column in schema.columns}, **options
    )
    with fit_shown() as (show, interrupted):
        model.fit(
            train,
            sample_weight=None if weights is None else weights[kept],
            progress=show,
            stop=interrupted.is_set,
            run_note={"reading": settings} if settings else {},
        )
    # Described by the schema of the model, by which `flowkit report` reads the table again.
    whole = whole_schema(model)
    model.run_["split"] = describe_split(whole.encode(table), holdout, options["random_state"])
    model.save(out)
    if test.num_rows:
        console.print(_scores(model, test))
    console.print(f"{out}: fitted to {train.num_rows:,} rows; measured on {test.num_rows:,} others")


def _scores(model: ConditionalFlowDensity, test: pa.Table) -> Table:
    """Return the scores of held-out rows."""
    name = model.targets_.names[0]
    table = Table(f"{name}, held-out rows", "mean ± standard error")
    table.add_row(
        f"log-density, nats ({model.measure_[name]})", str(mean(model.score_samples(test)))
    )
    column = model.targets_.columns[0]
    if column.kind in ("categorical", "circular"):
        table.add_row(
            "share predicted right"
            if column.kind == "categorical"
            else "mean cosine of the errors",
            f"{model.score(test):.3f}",
        )
        return table
    there = take(test, np.flatnonzero(test[name].is_valid().to_numpy()))
    table.add_row("CRPS, in units of the target", str(mean(model.crps(there))))
    inside = np.abs(model.pit(there) - 0.5) <= _LEVEL / 2
    table.add_row(f"share inside the {_LEVEL:.0%} interval", str(mean(inside.astype(float))))
    return table


def whole_schema(model: ConditionalFlowDensity) -> Schema:
    """Return the schema of features and targets in one table."""
    features = model.features_
    return Schema((*features.columns, *model.targets_.columns), features.library)


def predict(
    model_path: Path,
    path: Path,
    out: Path,
    *,
    quantiles: Sequence[float] = QUANTILES,
    force: bool = False,
    reading: Mapping[str, Any] | None = None,
) -> None:
    """Write the table with the predicted mean and quantiles of the target of each row.

    If the table has the target as well, its log-density is added.
    """
    check_out(out, force)
    model = ConditionalFlowDensity.load(model_path)
    whole, rows = whole_schema(model), 0
    with open_like_fitted(path, whole, model.run_, reading) as file, TableWriter(out) as writer:
        print_notes(notes_on(file, whole))
        for batch in file.batches():
            chunk = pa.Table.from_batches([batch])
            for name, column in _predicted(model, chunk, quantiles).items():
                chunk = chunk.append_column(name, pa.array(column))
            rows += chunk.num_rows
            writer.write(chunk)
    console.print(f"{out}: {rows:,} rows")


def _predicted(
    model: ConditionalFlowDensity, chunk: pa.Table, quantiles: Sequence[float]
) -> dict[str, np.ndarray]:
    """Return the columns that are added, by name."""
    column = model.targets_.columns[0]
    name, added = column.name, {}
    if column.kind == "categorical":
        added[f"{name}_predicted"] = model.predict(chunk).astype(str)
        probabilities = model.probabilities(chunk)
        for k, category in enumerate(column.categories):
            added[f"{name}={category}"] = probabilities[:, k]
    else:
        added[f"{name}_mean"] = model.predict(chunk)
        if column.kind != "circular":
            values = model.predict_quantiles(chunk, quantiles)
            for k, q in enumerate(quantiles):
                added[f"{name}_q{q:g}"] = values[:, k]
    if name in chunk.column_names:
        there = chunk[name].is_valid().to_numpy() | column.missing
        scores = np.full(chunk.num_rows, np.nan)
        if there.any():
            scores[there] = model.score_samples(take(chunk, np.flatnonzero(there)))
        added["log_density"] = scores
    return added
