"""Tables of text: the survey of a delimited file, its columns as Arrow, and what was noted."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from duckdb import Error as DuckError

from flowkit.errors import DataError
from flowkit.tables.forms import Context
from flowkit.tables.header import choose
from flowkit.tables.observations import observe
from flowkit.tables.options import Note, ReadOptions
from flowkit.tables.relation import Found, Relation, is_native, values_of
from flowkit.tables.survey import Surveyed, survey
from flowkit.tables.text_source import TextSource

_TOTAL = re.compile(
    r"(?:(?:grand |sub-?)?totals?|sums?|summe|gesamt(?:summe|betrag)?|endsumme|insgesamt|overall"
    r"|total g[eé]n[eé]ral|somme|totale|totaal|totalt|summa|suma):?",
    re.IGNORECASE,
)
_SUM_TOLERANCE = 1e-6
# Of more columns than this, DuckDB's reader makes the numbers: long queries are slow to plan.
_MANY = 100


class TextTable:
    """A delimited file, surveyed.

    Args:
        path: the file.
        options: what is known of it.
        scratch: a folder for copies.

    Raises:
        DataError: no table, or a value that is none of its column's kind.
    """

    def __init__(self, path: Path, options: ReadOptions, scratch: Path) -> None:
        self._text = text = TextSource(path, options, scratch)
        self.notes: list[Note] = text.notes
        chosen = choose(text.names, options)
        self._names = {j: text.names[j] for j in chosen}
        self._samples = text.samples()
        self._context = context_of(options, text.dialect.separator)
        relation = text.relation()
        try:
            surveyed = self._survey(relation)
        except DuckError as error:
            again = text.retry(error)
            if again is None:
                first = str(error).partition("\n")[0]
                raise DataError("table", "a readable table", f"{path}: {first}") from error
            surveyed = self._survey(again)
        self.n_rows = surveyed.rows
        self._note_blank_rows(surveyed.blank)
        self._finish(surveyed.columns)

    def _survey(self, relation: Relation) -> Surveyed:
        self._relation = relation
        last = None if self._text.options.total else self._text.last_row()
        j = None if last is None else _place_of_total(last)
        if last is None or j is None:
            return self._look(relation)
        shorter = self._text.without(relation, last)
        if self._text.rows_of_sample[-1] == last:
            self._samples = _samples_without(self._samples, last)
        surveyed = self._look(shorter)
        if not _adds_up(surveyed.columns, last, j):
            self._samples = self._text.samples()
            if j in self._names:
                note = f"the last row is called `{last[j].strip()}`, and kept: it adds nothing up"
                self.notes.append(Note(None, note, None))
            return self._look(relation)
        self._relation = shorter
        note = f"the last row, `{last[j].strip()}`, left out, as it is one of totals"
        self.notes.append(Note(None, note, "--total"))
        return surveyed

    def _look(self, relation: Relation) -> Surveyed:
        line_of, told = self._text.line_of, self._text.options.columns
        return survey(relation, self._names, self._samples, self._context, told, line_of)

    def _note_blank_rows(self, count: int) -> None:
        if count:
            rows = "1 row" if count == 1 else f"{count:,} rows"
            self.notes.append(Note(None, f"{rows} without any value left out", None))

    def _finish(self, found: list[Found]) -> None:
        options = self._text.options
        self.notes += file_notes(found, options)
        if self.n_rows == 0:
            raise DataError("table", "at least one row", f"none in {self._text.path}")
        blank = [f for f in found if f.form.kind == "empty" or f.present == 0]
        if len(blank) == len(found):
            raise DataError("table", "at least one value", f"none in {self._text.path}")
        if not options.empty:
            found = [f for f in found if f not in blank]
            self.notes += empty_notes(blank, self._text.layout.unnamed)
        elif blank:
            found = [replace(f, arrow=pa.string()) if f in blank else f for f in found]
        found, notes, self.hints = observe(
            self._relation, found, self.n_rows, self._text.layout.unnamed
        )
        self.notes += notes
        self.found = found
        self.dates = next((f.form.order for f in found if f.form.order), None)
        self.schema = pa.schema([(f.name, f.arrow) for f in found])

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Return the rows in pieces."""
        return columns_in_batches(self._relation, self.found, self.schema, rows)


def context_of(options: ReadOptions, separator: str | None) -> Context:
    """Return what options say of how values are written."""
    return Context(
        separator=separator,
        decimal=options.decimal,
        thousands=options.thousands,
        dates=options.dates,
        missing=options.missing,
        present=options.present,
        fitted=options.fitted,
    )


def columns_in_batches(
    relation: Relation, found: list[Found], schema: pa.Schema, rows: int
) -> Iterator[pa.RecordBatch]:
    """Return the values of columns, with their names and types."""
    native = {f.position: f.arrow for f in found if is_native(f)}
    if len(native) <= _MANY:
        native = {f.position: f.arrow for f in found if f.native}
    relation, query = values_of(relation, found, native)
    for batch in relation.batches(query, rows):
        arrays = [
            _as_type(column, field.type)
            for column, field in zip(batch.columns, schema, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _as_type(array: Any, kind: pa.DataType) -> Any:
    if array.type == kind:
        return array
    if pa.types.is_timestamp(kind) and array.type == pa.timestamp("us"):
        return array.cast(pa.int64()).cast(pa.timestamp("us")).cast(kind)
    return array.cast(kind)


def _place_of_total(last: list[str]) -> int | None:
    for j, cell in enumerate(last):
        if cell.strip():
            return j if _TOTAL.fullmatch(cell.strip()) else None
    return None


def _samples_without(
    samples: dict[int, dict[str, float]], record: list[str]
) -> dict[int, dict[str, float]]:
    found = {}
    for j, texts in samples.items():
        cell = record[j].strip()
        found[j] = {v: w - (v == cell) for v, w in texts.items() if w - (v == cell) > 0}
    return found


def _adds_up(found: list[Found], last: list[str], place: int) -> bool:
    """Return whether a row holds the sums of the others, or stands where no such text can."""
    sums = 0
    for f in found:
        cell = last[f.position].strip()
        if f.position == place:
            if f.form.kind not in ("text", "empty"):
                return True
            continue
        if f.form.kind != "number" or f.total is None or not cell:
            continue
        number = _number(cell, f)
        if number is not None and f.total:
            sums += abs(number - f.total) <= _SUM_TOLERANCE * abs(f.total) + 0.51
    return sums > 0


def _number(cell: str, found: Found) -> float | None:
    digits = re.sub(r"[^0-9.,eE+-]", "", cell)
    other = "," if found.form.decimal == "." else "."
    try:
        return float(digits.replace(other, "").replace(found.form.decimal, "."))
    except ValueError:
        return None


def file_notes(found: list[Found], options: ReadOptions) -> list[Note]:
    """Return notes on the decimal mark of a file, and those of its columns."""
    notes = []
    if options.decimal is None and any(f.form.comma for f in found):
        notes.append(Note(None, "read `,` as decimal mark", "--decimal"))
    for f in found:
        notes += f.form.named_notes(f.name)
    return notes


def empty_notes(blank: list[Found], unnamed: tuple[int, ...]) -> list[Note]:
    """Return the note on columns without values."""
    if not blank:
        return []
    named = [f.name for f in blank if f.position not in unnamed]
    many = "1 empty column" if len(blank) == 1 else f"{len(blank)} empty columns"
    listed = ", ".join(named[:5]) + (", ..." if len(named) > 5 else "")
    return [Note(None, f"{many} left out" + (f": {listed}" if named else ""), "--empty")]
