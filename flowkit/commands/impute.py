"""The command ``flowkit impute``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flowkit.commands.shared import check_out, console, print_notes
from flowkit.commands.use import notes_on, open_like_fitted
from flowkit.errors import ArgumentError, DataError
from flowkit.schema import Schema
from flowkit.schema.arrow_tables import take_column
from flowkit.schema.frames import read
from flowkit.tables import Note, TableWriter
from flowkit.tabular import FlowDensity

DRAW = "draw"
_TYPES = {"integer": pa.int64(), "datetime": pa.timestamp("us"), "categorical": pa.string()}


def impute(
    model: Path,
    path: Path,
    out: Path,
    *,
    mean: bool = False,
    draws: int = 1,
    seed: int = 0,
    force: bool = False,
    reading: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> None:
    """Write the table with its missing cells filled, given the other cells of their row.

    Several draws are written one table after the other, with their number in a column "draw".
    """
    check_out(out, force)
    if mean and draws > 1:
        raise ArgumentError("mean", "each cell has one mean; leave out --mean or --draws")
    density = FlowDensity.load(model).set_params(device=device)
    schema = density.schema_
    with open_like_fitted(path, schema, density.run_, reading) as file:
        print_notes(notes_on(file, schema))
        table = file.read()
    if draws > 1 and DRAW in table.column_names:
        raise DataError(
            f"column {DRAW!r}",
            "the number of the draw has no place, as the table has this column; "
            f"leave it out with --drop {DRAW}, or give it another name",
        )
    known = table.select([name for name in table.column_names if name in schema.names])
    known = _typed(known, schema)
    holes = {name: read(known, name).missing for name in known.column_names}
    print_notes(_counts(schema, holes))
    method = "mean" if mean else "draw"
    filled = density.impute(known, draws, method=method, random_state=seed)
    with TableWriter(out) as writer:
        for number, imputed in enumerate([filled] if draws == 1 else filled, 1):
            whole = _filled(table, imputed, {n: holes[n] for n in _open(schema) & {*holes}})
            if draws > 1:
                numbers = pa.array(np.full(len(whole), number))
                whole = whole.append_column(DRAW, numbers)
            writer.write(whole)
    rows = f"{table.num_rows:,} rows" + (f" for each of {draws} draws" if draws > 1 else "")
    console.print(f"{out}: {rows}")


def _open(schema: Schema) -> set[str]:
    """Return the columns whose missing cells are filled."""
    return {column.name for column in schema.columns if column.is_modelled}


def _typed(table: pa.Table, schema: Schema) -> pa.Table:
    """Return a table whose columns without any value have types of the kinds of the model's.

    A model that was fitted to a table of Arrow gives them its own types itself.
    """
    if schema.library == "pyarrow":
        return table
    for column in schema.columns:
        if column.name in table.column_names and table[column.name].null_count == len(table):
            kind = _TYPES.get(column.kind, pa.float64())
            at = table.column_names.index(column.name)
            table = table.set_column(at, column.name, pa.nulls(len(table), kind))
    return table


def _counts(schema: Schema, holes: Mapping[str, np.ndarray]) -> list[Note]:
    """Return how many cells of which columns are filled, and which are not."""
    notes = []
    for name, missing in holes.items():
        cells = "1 missing cell" if missing.sum() == 1 else f"{missing.sum():,} missing cells"
        if name in _open(schema) and missing.any():
            notes.append(Note(name, f"{cells} filled"))
        elif missing.any():
            notes.append(Note(name, f"{cells} left, as the column is no part of the density"))
    return notes or [Note(None, "no cell is missing")]


def _filled(table: pa.Table, imputed: pa.Table, holes: Mapping[str, np.ndarray]) -> pa.Table:
    """Return a table with the holes taken from the imputed one, and every other cell as it is."""
    for name, missing in holes.items():
        if missing.any():
            at, old, new = table.column_names.index(name), table[name], imputed[name]
            kind = new.type if old.null_count == len(old) else old.type
            both = pa.chunked_array([*old.cast(kind).chunks, *new.cast(kind).chunks], kind)
            rows = np.arange(len(missing))
            column = take_column(both, np.where(missing, len(missing) + rows, rows))
            table = table.set_column(at, table.schema.field(at).with_type(kind), column)
    return table
