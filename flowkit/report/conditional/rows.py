"""Rows of a report on a conditional density: chosen, and evaluated in parts."""

from collections.abc import Callable
from typing import Any

import numpy as np

from flowkit.errors import ArgumentError, DataError
from flowkit.schema import Column
from flowkit.schema.frames import length, names, read, take
from flowkit.tabular.conditional import ConditionalFlowDensity
from flowkit.tabular.conditional.tables import named

# Maximum number of rows that are scored, and of those with distributions, which take longer;
# notes state that others are left out.
MOST_ROWS, MOST_PREDICTED = 20_000, 2_000
_AT_ONCE = 1_000


def target_of(model: ConditionalFlowDensity) -> Column:
    """Return the one target of a model that was fitted to a table with both.

    Raises:
        ArgumentError: several targets, or features and target that come apart.
    """
    if len(model.targets_.names) > 1:
        got = f"{len(model.targets_.names)} targets"
        raise ArgumentError("model", "one target; fit a model for each target", got)
    if model.target is None:
        raise ArgumentError(
            "model",
            "the report needs features and target in one table; fit the model with target=...",
        )
    return model.targets_.columns[0]


def chosen_rows(
    column: Column, table: Any, seed: int, kind: str, notes: list[str]
) -> tuple[Any, np.ndarray]:
    """Return the rows with a target, at most `MOST_ROWS`, and their indices; add notes.

    Raises:
        DataError: there is no target, or fewer than two rows have one.
    """
    table = named(table)
    if column.name not in names(table):
        raise DataError(f"column {column.name!r}", "the target in the table", "none")
    n = length(table)
    rows = np.flatnonzero(~read(table, column.name).missing)
    if len(rows) < 2:
        raise DataError(kind, f"at least two rows with the target {column.name!r}", len(rows))
    if len(rows) < n:
        notes.append(f"{n - len(rows):,} of {n:,} {kind} rows have no target and are left out.")
    if len(rows) > MOST_ROWS:
        notes.append(f"{MOST_ROWS:,} of {len(rows):,} {kind} rows, drawn at random, are evaluated.")
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_ROWS, replace=False))
    return take(table, rows), rows


def some_rows(table: Any, seed: int, notes: list[str]) -> Any:
    """Return at most `MOST_PREDICTED` rows of a table; add a note."""
    n = length(table)
    if n <= MOST_PREDICTED:
        return table
    notes.append(
        f"Intervals, CRPS and calibration are those of {MOST_PREDICTED:,} rows, drawn at random."
    )
    chosen = np.random.default_rng(seed).choice(n, MOST_PREDICTED, replace=False)
    return take(table, np.sort(chosen))


def in_parts(function: Callable[[Any], np.ndarray], table: Any) -> np.ndarray:
    """Return the results of a function for the rows of a table, of which few are held at once."""
    n = length(table)
    parts = [
        function(take(table, np.arange(i, min(i + _AT_ONCE, n)))) for i in range(0, n, _AT_ONCE)
    ]
    return np.concatenate(parts)
