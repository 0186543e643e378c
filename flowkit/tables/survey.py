"""A survey of a whole table of text: how each column is written, what it is, what is missing."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from flowkit.errors import DataError
from flowkit.tables.engine import literal
from flowkit.tables.forms import Context, Form, quoted
from flowkit.tables.guess import guess
from flowkit.tables.numbers import LARGEST

# Columns in one query: plans of very wide ones take longer than the scan.
_GROUP = 400
# Different values that counterexamples to a guess are taken from, and rounds of guessing.
_EXAMPLES = 200
_ROUNDS = 6
_CELLS_OF_SAMPLES = 300_000


@dataclass(frozen=True)
class Found:
    """What the survey found of one column.

    Args:
        position: that of the column in the file.
        name: its name.
        form: how it is written.
        arrow: the type of its values.
        present: rows with a value.
        minimum: the smallest value of a number or date, None of others.
        maximum: the largest one.
        total: the sum of a number.
        distinct: about how many different texts there are.
    """

    position: int
    name: str
    form: Form
    arrow: pa.DataType
    present: int = 0
    minimum: Any = None
    maximum: Any = None
    total: float | None = None
    distinct: int | None = None


@dataclass(frozen=True)
class Relation:
    """A table in DuckDB.

    Args:
        connection: where it is.
        sql: a query with the columns c0, c1, ..., texts as they stand in the file.
        parameters: those of the query.
        typed: Arrow types of the columns that are no texts, by position.
        held: whether the table is in memory, where only this connection sees it.
        wide: whether it has many columns for its rows, so that plans take longer than scans.
        with_types: from types by position to the query whose columns have them, where the
            file's reader can give them.
    """

    connection: Any
    sql: str
    parameters: tuple[Any, ...] = ()
    typed: Mapping[int, pa.DataType] | None = None
    held: bool = False
    wide: bool = False
    with_types: Callable[[Mapping[int, str]], str] | None = None

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query over the table ``source``."""
        sql = f"WITH source AS ({self.sql}) {query}"
        found: list[tuple[Any, ...]] = self.connection.execute(
            sql, list(self.parameters)
        ).fetchall()
        return found

    def batches(self, query: str, rows: int) -> Iterator[pa.RecordBatch]:
        """Return the rows of a query as record batches, without the whole in memory."""
        cursor = self.connection if self.held else self.connection.cursor()
        sql = f"WITH source AS ({self.sql}) {query}"
        reader = cursor.sql(sql, params=list(self.parameters)).to_arrow_reader(rows)
        yield from reader


def stripped(position: int, form: Form) -> str:
    """Return an expression of the text of a column, NULL where it is missing."""
    base = f"c{position}"
    if not form.plain or form.missing:
        # To trim a set of characters takes ten times as long as to see that none is there.
        blank = " OR ".join(f"contains(c{position}, {literal(space)})" for space in _SPACES)
        base = f"CASE WHEN {blank} THEN trim(c{position}, {literal(_SPACES)}) ELSE c{position} END"
    marks = sorted({*form.missing, ""})
    listed = ", ".join(literal(mark) for mark in marks)
    return f"CASE WHEN {base} NOT IN ({listed}) THEN {base} END"


_SPACES = " \t\r\n\u00a0\u202f\u2009"


def value(found: Found, texts: bool = True) -> str:
    """Return an expression of the values of a column, from its stripped text t0, t1, ..."""
    if not texts:
        return f"c{found.position}"
    sql = found.form.sql(f"t{found.position}")
    return f"CAST({sql} AS BIGINT)" if found.arrow == pa.int64() else sql


def survey(
    relation: Relation,
    names: Mapping[int, str],
    samples: Mapping[int, Mapping[str, float]],
    context: Context,
    told: Mapping[str, str],
    line_of: Callable[[int], int | None],
) -> tuple[list[Found], int]:
    """Survey the columns of a table.

    Args:
        relation: the table.
        names: names of the columns to look at, by position.
        samples: texts of the first rows, stripped, with the number of rows of each, by position.
        context: what is known of the file.
        told: kinds of columns by name, where the user said them.
        line_of: from the number of a row to that of its line in the file.

    Returns:
        What was found, and the number of rows.

    Raises:
        DataError: a value that is none of its column's kind; column, row and line are named.
    """
    typed = relation.typed or {}
    most = max(50, min(500, _CELLS_OF_SAMPLES // max(len(names), 1)))
    values = {j: dict(list(samples.get(j, {}).items())[:most]) for j in names if j not in typed}
    guessed = {j: guess(values[j], context, names[j], told.get(names[j])) for j in values}
    context = seen_in(context, guessed.values())
    for j, form in guessed.items():
        if form.kind in ("number", "date"):
            guessed[j] = guess(values[j], context, names[j], told.get(names[j]))
    done: dict[int, Found] = {
        j: Found(j, names[j], Form("typed", t, str, bool), t)
        for j, t in typed.items()
        if j in names
    }
    misfits: dict[int, int] = {}
    looked_at, rows = list(values), 0
    for turn in range(_ROUNDS):
        counted = _measure(relation, {j: guessed[j] for j in looked_at}, names)
        rows = counted.rows
        done |= counted.found
        for j, found in counted.found.items():
            misfits[j] = counted.texts[j] - found.present
        odd = [j for j in looked_at if misfits[j] or _is_long_whole(done[j])]
        looked_at = []
        if turn == _ROUNDS - 1 or not odd:
            break
        examples = _counterexamples(relation, {j: done[j] for j in odd})
        for j in odd:
            scale = done[j].present / max(sum(values[j].values()), 1)
            weights = {v: w * scale for v, w in values[j].items()}
            for example in examples[j]:
                weights[example] = max(misfits[j], 1) / len(examples[j])
            again = guess(weights, context, names[j], told.get(names[j]))
            if not _same(again, guessed[j]):
                looked_at.append(j)
            guessed[j], values[j] = again, weights
        after = seen_in(context, guessed.values())
        if after != context:
            context = after
            for j, form in guessed.items():
                again = guess(values[j], context, names[j], told.get(names[j]))
                if form.kind in ("number", "date") and not _same(again, form):
                    guessed[j] = again
                    looked_at.append(j)
        looked_at = sorted(set(looked_at))
        if not looked_at:
            break
    for j, count in misfits.items():
        if count:
            raise _first_misfit(relation, done[j], line_of)
    if not values:
        rows = relation.rows("SELECT count(*) FROM source")[0][0]
        done = _measure_typed(relation, done)
    elif typed:
        done |= _measure_typed(relation, {j: f for j, f in done.items() if j in typed})
    return [_storable(done[j]) for j in names], rows


def _storable(found: Found) -> Found:
    """Return whole numbers that are longer than a float keeps, 1e29, as floats."""
    return replace(found, arrow=pa.float64()) if _is_long_whole(found) else found


def seen_in(context: Context, forms: Iterable[Form]) -> Context:
    """Return the context with the decimal marks and orders of dates that columns show."""
    found = list(forms)
    commas = [f.comma for f in found if f.comma is not None]
    days = [f.day_first for f in found if f.day_first is not None]
    comma, day_first = context.comma, context.day_first
    if commas and comma is None:
        comma = any(commas) if context.separator != "," else sum(commas) * 2 > len(commas)
    if days and day_first is None:
        day_first = sum(days) * 2 > len(days)
    return replace(context, comma=comma, day_first=day_first)


@dataclass(frozen=True)
class _Measured:
    rows: int
    texts: dict[int, int]
    found: dict[int, Found]


def _measure(
    relation: Relation, guessed: Mapping[int, Form], names: Mapping[int, str]
) -> _Measured:
    """Count in one scan, for each column, the texts and those that are of its form."""
    rows, texts, found = 0, {}, {}
    alike = [j for j, form in guessed.items() if form.plain and not form.missing]
    if relation.wide and len(alike) > _GROUP:
        for measured in relation.rows(_of_alike(alike, guessed[alike[0]])):
            j = measured[0]
            texts[j] = measured[1]
            found[j] = _found(j, names[j], guessed[j], measured[1:])
    positions = [j for j in guessed if j not in found]
    if not positions:
        rows = relation.rows("SELECT count(*) FROM source")[0][0]
    for start in range(0, len(positions), _GROUP):
        group = positions[start : start + _GROUP]
        aggregates = ["count(*)"]
        for j in group:
            aggregates += _aggregates(j, guessed[j])
        query = f"SELECT {', '.join(aggregates)} FROM {_valued(group, guessed)}"
        row = relation.rows(query)[0]
        rows = row[0]
        for i, j in enumerate(group):
            cells = row[1 + 7 * i : 8 + 7 * i]
            texts[j] = cells[0]
            found[j] = _found(j, names[j], guessed[j], cells)
    return _Measured(rows, texts, found)


def _of_alike(group: Sequence[int], form: Form) -> str:
    """Return a query of the measures of many columns of one form, a row each."""
    columns = ", ".join(f"c{j}" for j in group)
    numbers = ", ".join(map(str, group))
    cells = f"SELECT unnest([{numbers}]) AS j, unnest([{columns}]) AS c0 FROM source"
    texts = f"SELECT j, {stripped(0, form)} AS t0 FROM ({cells})"
    values = f"SELECT j, t0, {form.sql('t0')} AS v0 FROM ({texts})"
    return f"SELECT j, {', '.join(_aggregates(0, form))} FROM ({values}) GROUP BY j"


def _valued(group: Sequence[int], guessed: Mapping[int, Form]) -> str:
    strips = ", ".join(f"{stripped(j, guessed[j])} AS t{j}" for j in group)
    values = ", ".join(f"t{j}, {guessed[j].sql(f't{j}')} AS v{j}" for j in group)
    return f"(SELECT {values} FROM (SELECT {strips} FROM source))"


def _aggregates(j: int, form: Form) -> list[str]:
    counts = [f"count(t{j})", f"count(v{j})"]
    if form.kind == "number":
        mark = literal(form.decimal)
        return [
            *counts,
            f"min(v{j})",
            f"max(v{j})",
            f"sum(v{j})",
            f"bool_and(v{j} = floor(v{j}))",
            f"bool_or(contains(t{j}, {mark}))",
        ]
    if form.kind == "text":
        return [*counts, "NULL", "NULL", f"approx_count_distinct(v{j})", "NULL", "NULL"]
    if form.kind == "date":
        return [*counts, f"min(v{j})", f"max(v{j})", "NULL", "NULL", "NULL"]
    return [*counts, "NULL", "NULL", "NULL", "NULL", "NULL"]


def _found(j: int, name: str, form: Form, cells: Sequence[Any]) -> Found:
    found = Found(j, name, form, form.arrow, cells[1])
    if form.kind == "number":
        whole = cells[5] and not cells[6] and math.isfinite(cells[2]) and math.isfinite(cells[3])
        arrow = pa.int64() if whole else pa.float64()
        return replace(found, arrow=arrow, minimum=cells[2], maximum=cells[3], total=cells[4])
    if form.kind == "text":
        return replace(found, distinct=cells[4])
    return replace(found, minimum=cells[2], maximum=cells[3])


def _is_long_whole(found: Found) -> bool:
    """Return whether whole numbers have more digits than a float keeps."""
    if found.arrow != pa.int64():
        return False
    return bool(max(abs(found.minimum), abs(found.maximum)) > LARGEST)


def _counterexamples(relation: Relation, done: Mapping[int, Found]) -> dict[int, list[str]]:
    """Return texts that are not of the form of their column, or too long to be numbers."""
    guessed = {j: found.form for j, found in done.items()}
    parts = []
    for j, found in done.items():
        condition = f"t{j} IS NOT NULL AND v{j} IS NULL"
        if _is_long_whole(found):
            condition = f"({condition}) OR abs(v{j}) > {LARGEST}"
        parts.append(f"approx_top_k(t{j}, {_EXAMPLES}) FILTER (WHERE {condition})")
    row = relation.rows(f"SELECT {', '.join(parts)} FROM {_valued(list(done), guessed)}")[0]
    return {j: list(cell or []) for j, cell in zip(done, row, strict=True)}


def _same(a: Form, b: Form) -> bool:
    return a.kind == b.kind and a.sql("x") == b.sql("x") and a.missing == b.missing


def _first_misfit(
    relation: Relation, found: Found, line_of: Callable[[int], int | None]
) -> DataError:
    """Return the error of the first value that is not of its column's form."""
    j, form = found.position, found.form
    strips = f"SELECT {stripped(j, form)} AS t, row_number() OVER () - 1 AS r FROM source"
    valued = f"SELECT t, {form.sql('t')} AS v, r FROM ({strips})"
    condition = "t IS NOT NULL AND v IS NULL"
    count, row, text = relation.rows(
        f"SELECT count(*), min(r), arg_min(t, r) FROM ({valued}) WHERE {condition}"
    )[0]
    line = line_of(int(row))
    where = f"row {row}" if line is None else f"row {row} (line {line} of the file)"
    shown = text if len(text) <= 60 else text[:57] + "..."
    if "\x00" in text:
        expected = "text without NUL bytes; write the table again, or give its --encoding"
    else:
        others = "" if count == 1 else f" ({count:,} rows are not)"
        expected = (
            f"{form.expected}, as in {found.present:,} rows{others}; correct it, or read it as "
            f"missing with --missing {quoted(text[:40])}, or all as text with "
            f"--column {quoted(found.name + '=text')}"
        )
    return DataError(f"column {found.name!r}, {where}", expected, repr(shown))


def _measure_typed(relation: Relation, done: dict[int, Found]) -> dict[int, Found]:
    parts = [f"count(c{j})" for j in done]
    row = relation.rows(f"SELECT {', '.join(parts)} FROM source")[0]
    return {j: replace(f, present=n) for (j, f), n in zip(done.items(), row, strict=True)}
