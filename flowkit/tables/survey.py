"""A survey of a whole table of text: how each column is written, what it is, what is missing."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pyarrow as pa
from duckdb import Error as DuckError

from flowkit.errors import DataError
from flowkit.tables.column_form import guess
from flowkit.tables.engine import literal
from flowkit.tables.forms import Context, Form, quoted
from flowkit.tables.numbers import LARGEST, is_plain
from flowkit.tables.relation import Found, Relation, stripped

# Columns in one query: plans of very wide ones take longer than the scan.
_GROUP = 400
# Different values that counterexamples to a guess are taken from, and rounds of guessing.
_EXAMPLES = 200
_ROUNDS = 6
_CELLS_OF_SAMPLES = 300_000


class Surveyed(NamedTuple):
    """What the survey found of a table: its columns, its rows, and those without any value."""

    columns: list[Found]
    rows: int
    blank: int


def survey(
    relation: Relation,
    names: Mapping[int, str],
    samples: Mapping[int, Mapping[str, float]],
    context: Context,
    told: Mapping[str, str],
    line_of: Callable[[int], int | None],
) -> Surveyed:
    """Survey the columns of a table.

    Args:
        relation: the table.
        names: names of the columns to look at, by position.
        samples: texts of the first rows, stripped, with the number of rows of each, by position.
        context: what is known of the file.
        told: kinds of columns by name, where the user said them.
        line_of: from the number of a row to that of its line in the file.

    Returns:
        What was found.

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
    looked_at, rows, blank = list(values), 0, 0
    readable = relation.reads_decimals
    for turn in range(_ROUNDS):
        forms = {j: guessed[j] for j in looked_at}
        decimals = [j for j in looked_at if readable and _is_decimal(forms[j], values[j])]
        try:
            counted = _measure(relation, forms, names, decimals)
        except DuckError:
            if not decimals:
                raise
            readable = False
            counted = _measure(relation, forms, names, ())
        rows, blank = counted.rows, counted.blank
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
            raise _first_misfit(relation, done[j], line_of, fitted=context.fitted)
    if not values:
        rows = relation.rows("SELECT count(*) FROM source")[0][0]
        done = _measure_typed(relation, done)
    elif typed:
        done |= _measure_typed(relation, {j: f for j, f in done.items() if j in typed})
    return Surveyed([_storable(done[j]) for j in names], rows, blank)


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
    blank: int
    texts: dict[int, int]
    found: dict[int, Found]


def _is_decimal(form: Form, values: Iterable[str]) -> bool:
    """Return whether a column is one of plain numbers, of which the first rows show a point."""
    return form.plain and not form.missing and any("." in v for v in values if is_plain(v))


def _measure(
    relation: Relation,
    guessed: Mapping[int, Form],
    names: Mapping[int, str],
    decimals: Collection[int],
) -> _Measured:
    """Count in one scan, for each column, the texts and those that are of its form.

    Args:
        relation: the table.
        guessed: forms of the columns.
        names: their names.
        decimals: those that the file's reader is to make numbers of, which is twice as fast. An
            error of DuckDB is raised if one is not of its form.
    """
    if decimals:
        relation = relation.natively(dict.fromkeys(decimals, pa.float64()))
    rows, blank, texts, found = 0, 0, {}, {}
    native = relation.typed or {}
    alike = [j for j, form in guessed.items() if form.plain and not form.missing]
    if relation.wide and len(alike) > _GROUP:
        for measured in relation.rows(_of_alike(alike, guessed[alike[0]]), blank_rows=True):
            j = measured[0]
            texts[j] = measured[1]
            found[j] = _found(j, names[j], guessed[j], measured[1:])
    positions = [j for j in guessed if j not in found]
    if not positions:
        rows = relation.rows("SELECT count(*) FROM source")[0][0]
    for start in range(0, len(positions), _GROUP):
        group = positions[start : start + _GROUP]
        aggregates = ["count(*)", "count(*) FILTER (WHERE NOT kept)"]
        for j in group:
            aggregates += _aggregates(j, guessed[j], native=j in native)
        kept = relation.kept or "true"
        query = f"SELECT {', '.join(aggregates)} FROM {_valued(group, guessed, native, kept)}"
        every, blank, *measures = relation.rows(query, blank_rows=True)[0]
        rows = every - blank
        for i, j in enumerate(group):
            cells = measures[7 * i : 7 * i + 7]
            texts[j] = cells[0]
            found[j] = replace(_found(j, names[j], guessed[j], cells), native=j in native)
    return _Measured(rows, blank, texts, found)


def _of_alike(group: Sequence[int], form: Form) -> str:
    """Return a query of the measures of many columns of one form, a row each."""
    columns = ", ".join(f"c{j}" for j in group)
    numbers = ", ".join(map(str, group))
    cells = f"SELECT unnest([{numbers}]) AS j, unnest([{columns}]) AS c0 FROM source"
    texts = f"SELECT j, {stripped(0, form)} AS t0 FROM ({cells})"
    values = f"SELECT j, t0, {form.sql('t0')} AS v0 FROM ({texts})"
    return f"SELECT j, {', '.join(_aggregates(0, form))} FROM ({values}) GROUP BY j"


def _valued(
    group: Sequence[int],
    guessed: Mapping[int, Form],
    native: Collection[int] = (),
    kept: str = "true",
) -> str:
    strips = [
        f"c{j} AS t{j}" if j in native else f"{stripped(j, guessed[j])} AS t{j}" for j in group
    ]
    values = [
        f"t{j}, t{j} AS v{j}" if j in native else f"t{j}, {guessed[j].sql(f't{j}')} AS v{j}"
        for j in group
    ]
    inner = f"SELECT {', '.join(strips)}, {kept} AS kept FROM source"
    return f"(SELECT {', '.join(values)}, kept FROM ({inner}))"


def _aggregates(j: int, form: Form, *, native: bool = False) -> list[str]:
    counts = [f"count(t{j})", f"count(v{j})"]
    if native:  # a decimal point was seen
        return [*counts, f"min(v{j})", f"max(v{j})", f"sum(v{j})", "false", "true"]
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
    query = f"SELECT {', '.join(parts)} FROM {_valued(list(done), guessed)}"
    row = relation.rows(query, blank_rows=True)[0]
    return {j: list(cell or []) for j, cell in zip(done, row, strict=True)}


def _same(a: Form, b: Form) -> bool:
    return a.kind == b.kind and a.sql("x") == b.sql("x") and a.missing == b.missing


def _first_misfit(
    relation: Relation,
    found: Found,
    line_of: Callable[[int], int | None],
    *,
    fitted: bool,
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
        as_missing = f"--missing {quoted(text[:40])}"
        if fitted:
            remedy = f"correct it, or fit the model again with {as_missing}"
        else:
            as_text = f"--column {quoted(found.name + '=text')}"
            remedy = f"correct it, or read it as missing with {as_missing}, or all as text with"
            remedy = f"{remedy} {as_text}"
        expected = f"{form.expected}, as in {found.present:,} rows{others}; {remedy}"
    return DataError(f"column {found.name!r}, {where}", expected, repr(shown))


def _measure_typed(relation: Relation, done: dict[int, Found]) -> dict[int, Found]:
    parts = [f"count(c{j})" for j in done]
    row = relation.rows(f"SELECT {', '.join(parts)} FROM source")[0]
    return {j: replace(f, present=n) for (j, f), n in zip(done.items(), row, strict=True)}
