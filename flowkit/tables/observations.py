"""Observations on columns: missing values by spelling, sentinels, identifiers, running numbers."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from flowkit.tables.engine import literal
from flowkit.tables.forms import quoted
from flowkit.tables.options import Note
from flowkit.tables.relation import Found, Relation, is_native, values_of

# Numbers that people write for a missing value.
_SENTINELS = frozenset(
    sign * number
    for sign in (1, -1)
    for number in (9, 99, 999, 9999, 99999, 999999, 9999999, 99.9, 999.9, 9999.9)
) | {-1.0, -200.0, -7777.0, -8888.0}
POINT_MASS = "a point mass, or missing?"
_MANY, _SEVERAL = 4, 3
_CODE_NAME = re.compile(
    r"(?:^|[\W_])(?:id|ids|zip|zipcode|plz|postal|postcode|phone|telephone|tel|telefon|mobile|fax|"
    r"isbn|ean|gtin|sku|ssn|fips|uuid|kundennummer|artikelnummer)(?:$|[\W_])",
    re.IGNORECASE,
)
_TIME_NAME = re.compile(
    r"(?:^|[\W_])ts(?:$|[\W_])|time|date|datum|epoch|stamp|unix|created|updated|zeit", re.IGNORECASE
)
# Whole numbers between which most instants of today are, in what units.
_COUNTED = (
    (20_000, 60_000, "days as Excel counts them"),
    (1_000_000_000, 2_200_000_000, "seconds since 1970"),
    (1_000_000_000_000, 2_200_000_000_000, "milliseconds since 1970"),
)
_FEW = 20
_NEARLY = 0.95
_FEWEST_RUNNING = 5
# Above this the number of different texts is an estimate.
_EXACT = 2_000_000


def observe(
    relation: Relation, found: list[Found], rows: int, unnamed: tuple[int, ...]
) -> tuple[list[Found], list[Note], dict[str, str]]:
    """Return columns with names for those that have none, notes on them, and hints by name."""
    notes: list[Note] = []
    hints = {f.name: f.form.hint for f in found if f.form.hint}
    notes += _missing(relation, found)
    notes += _sentinels(relation, found)
    running = _running(relation, found, rows)
    notes += [note for f in found if f.position not in running for note in _by_name(f)]
    named = []
    for f in found:
        if f.position in unnamed:
            f, note = _name(f, found, f.position in running)
            notes.append(note)
        elif f.position in running:
            text = "counts the rows: an index?"
            notes.append(Note(f.name, text, f"--drop {quoted(f.name)}"))
        if f.position in running:
            hints[f.name] = "index"
        named.append(f)
    for f in _different(relation, named, rows):
        if f.form.hint != "code":
            hints[f.name] = "identifier"
        text = "every row different: an identifier, which is not modelled"
        notes.append(Note(f.name, text, f"--column {quoted(f'{f.name}=categorical')}"))
    return named, notes, hints


def _aggregate(
    relation: Relation, found: list[Found], aggregates: list[str], more: Sequence[str] = ()
) -> tuple[Any, ...]:
    """Return aggregates of the values v0, v1, ... of columns, in one scan."""
    native = {f.position: pa.float64() for f in found if is_native(f)}
    relation, query = values_of(relation, found, native, more)
    query = f"SELECT {', '.join(aggregates)} FROM ({query})"
    return relation.rows(query, blank_rows=not more)[0]


def _missing(relation: Relation, found: list[Found]) -> list[Note]:
    """Return how many rows have which spelling of a missing value, blanks aside."""
    marks = [(f, mark) for f in found for mark in sorted(f.form.missing - {""})]
    if not marks:
        return []
    counts = [f"count_if(trim(c{f.position}) = {literal(mark)})" for f, mark in marks]
    row = relation.rows(f"SELECT {', '.join(counts)} FROM source", blank_rows=True)[0]
    by_mark: dict[str, list[tuple[str, int]]] = {}
    for (f, mark), count in zip(marks, row, strict=True):
        if count:
            by_mark.setdefault(mark, []).append((f.name, count))
    notes = []
    for mark, places in by_mark.items():
        option = f"--present {quoted(mark)}"
        total = sum(count for _, count in places)
        if len(places) == 1:
            text = f"`{mark}` in {_rows(total)} taken as missing"
            notes.append(Note(places[0][0], text, option))
        else:
            names = ", ".join(name for name, _ in places[:5]) + (", ..." if len(places) > 5 else "")
            text = f"`{mark}` taken as missing, {total:,} times in {len(places)} columns: {names}"
            notes.append(Note(None, text, option))
    return notes


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _sentinels(relation: Relation, found: list[Found]) -> list[Note]:
    """Return notes on numbers like -999, far from the others of their column."""
    suspects = []
    for f in found:
        if f.form.kind == "number" and f.minimum is not None and f.minimum < f.maximum:
            suspects += [(f, s) for s in (f.minimum, f.maximum) if s in _SENTINELS]
    if not suspects:
        return []
    parts = []
    for f, s in suspects:
        others = f"NULLIF(v{f.position}, {s!r})"
        parts += [f"count({others})", f"min({others})", f"max({others})"]
    columns = list({f.position: f for f, _ in suspects}.values())
    row = _aggregate(relation, columns, parts)
    notes = []
    for i, (f, s) in enumerate(suspects):
        others, low, high = row[3 * i : 3 * i + 3]
        count = f.present - others
        gap = low - s if s < low else s - high
        # Of 99 for no age, several rows are far from the others, though not as far as these span.
        far = gap > (high - low) / (_MANY if count >= _SEVERAL else 1) and gap > 1
        if far or (s == -1 and low >= 0 and count > 1 and high > 1):
            text = f"{s:g} in {_rows(count)}: {POINT_MASS}"
            notes.append(Note(f.name, text, f"--missing {s:g}"))
    return notes


def _by_name(found: Found) -> list[Note]:
    """Return a note on whole numbers that are codes or instants by the name of their column."""
    if found.arrow != pa.int64() or found.minimum is None:
        return []
    if _CODE_NAME.search(found.name):
        option = f"--column {quoted(f'{found.name}=text')}"
        return [Note(found.name, "read as whole numbers; codes?", option)]
    timely = _TIME_NAME.search(found.name) is not None
    for low, high, unit in _COUNTED:
        if low <= found.minimum <= found.maximum < high and (timely or "milli" in unit):
            option = f"--column {quoted(f'{found.name}=date')}"
            return [Note(found.name, f"whole numbers like {unit}: times?", option)]
    return []


def _running(relation: Relation, found: list[Found], rows: int) -> set[int]:
    """Return the positions of columns that count the rows, from any start."""
    suspects = [
        f
        for f in found
        if f.arrow == pa.int64()
        and f.present == rows >= _FEWEST_RUNNING
        and f.form.kind == "number"
        and f.maximum - f.minimum + 1 == rows
        and math.isclose(
            f.total or 0.0, (f.minimum + f.maximum) / 2 * rows, rel_tol=1e-9, abs_tol=0.5
        )
    ]
    if not suspects:
        return set()
    parts = [f"bool_and(v{f.position} - r = {f.minimum!r})" for f in suspects]
    row = _aggregate(relation, suspects, parts, ["row_number() OVER () - 1 AS r"])
    return {f.position for f, runs in zip(suspects, row, strict=True) if runs}


def _name(found: Found, every: list[Found], runs: bool) -> tuple[Found, Note]:
    if not runs and found.position > 0:
        text = f"column {found.position + 1} has no name, and is called {found.name}"
        return found, Note(found.name, text, None)
    name = "index"
    while name in [f.name for f in every]:
        name += "_"
    what = "counts the rows" if runs else "has no name"
    text = f"the first column {what}: an index?"
    return replace(found, name=name), Note(name, text, f"--drop {name}")


def _different(relation: Relation, found: list[Found], rows: int) -> list[Found]:
    """Return the columns of text that is different in every row."""
    likely = [
        f
        for f in found
        if f.form.kind == "text"
        and f.present >= _FEW
        and f.distinct is not None
        and f.distinct >= _NEARLY * f.present * 0.95
    ]
    if not likely or rows > _EXACT:
        return likely
    parts = [f"count(DISTINCT v{f.position})" for f in likely]
    row = _aggregate(relation, likely, parts)
    return [f for f, count in zip(likely, row, strict=True) if count >= _NEARLY * f.present]
