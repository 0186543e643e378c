"""Tables in memory whose texts are looked at like those of a CSV: workbooks and the like."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from flowkit.tables.arrow_table import ArrowTable, check_scalars
from flowkit.tables.binary import held
from flowkit.tables.engine import connect
from flowkit.tables.header import choose
from flowkit.tables.observations import observe
from flowkit.tables.options import Note, ReadOptions
from flowkit.tables.relation import Relation
from flowkit.tables.survey import survey
from flowkit.tables.text_table import columns_in_batches, context_of, file_notes

_SAMPLE = 2000


def look_at_texts(
    table: pa.Table,
    options: ReadOptions,
    scratch: Path,
    notes: list[Note],
    first_line: int | None = None,
) -> ArrowTable:
    """Return a table whose columns of text were read as numbers, dates and the like, if they are.

    Args:
        table: the table.
        options: what is known of it.
        scratch: a folder for what does not fit in memory.
        notes: guesses made before.
        first_line: the line of the first row in the file, where rows are lines.
    """
    chosen = choose(table.column_names, options)
    check_scalars([table.schema.field(j) for j in chosen])
    table = table.select(chosen)
    texts = {
        j: name
        for j, name in enumerate(table.column_names)
        if table.schema.field(j).type == "string"
    }
    hints: dict[str, str] = {}
    order: str | None = None
    if texts and table.num_rows:
        renamed = table.select(list(texts)).rename_columns([f"c{j}" for j in texts])
        connection = connect([], scratch)
        connection.register("held", renamed)
        relation = Relation(connection, "SELECT * FROM held", held=True)
        samples = {j: _counts(renamed.column(i).slice(0, _SAMPLE)) for i, j in enumerate(texts)}

        def line_of(row: int) -> int | None:
            return None if first_line is None else first_line + row

        context = context_of(options, None)
        found, rows, _ = survey(relation, texts, samples, context, options.columns, line_of)
        notes += file_notes(found, options)
        found, more, hints = observe(relation, found, rows, ())
        notes += more
        order = next((f.form.order for f in found if f.form.order), None)
        schema = pa.schema([(f.name, f.arrow) for f in found])
        batches: Iterator[pa.RecordBatch] = columns_in_batches(relation, found, schema, 65_536)
        read = pa.Table.from_batches(batches, schema)
        for i, j in enumerate(texts):
            table = table.set_column(j, schema.field(i), read.column(i))
    made = held(table, _all(options))
    made.notes = notes + made.notes
    made.hints |= hints
    made.dates = order
    return made


def _all(options: ReadOptions) -> ReadOptions:
    return ReadOptions.of(options, drop=(), keep=())


def _counts(column: pa.ChunkedArray) -> dict[str, float]:
    found: dict[str, float] = {}
    for cell in column.to_pylist():
        text = "" if cell is None else cell.strip()
        found[text] = found.get(text, 0) + 1
    return found
