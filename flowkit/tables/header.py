"""Headers of tables: names of columns, and lines above and below them that are no rows."""

import difflib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from flowkit.errors import ArgumentError, DataError
from flowkit.tables.column_form import guess
from flowkit.tables.forms import Context
from flowkit.tables.options import Note, ReadOptions

_SAMPLE = 200
_COLUMNS = 400
_BRACKETS = re.compile(r"[\[(].*[\])]")
_UNIT_NAMES = (
    "- m cm mm km um µm nm in ft mi yd s ms us µs ns h hr hrs min mins sec d day days "
    "y yr yrs year years month months week weeks kg g mg µg ug lb lbs oz t l L ml mL "
    "cl °C C °F F K degC degF deg rad ° Pa hPa kPa MPa bar mbar psi atm V mV kV A mA "
    "W kW MW kWh Wh J kJ MJ cal kcal Hz kHz MHz GHz mol mmol % ‰ ppm ppb USD EUR GBP "
    "CHF $ € £ N kN Nm lm lx dB m2 m3 kg/m3 mg/l mg/L g/l mmHg mmol/l bpm px counts "
    "count none n/a text string date time"
)
_UNITS = frozenset(_UNIT_NAMES.split())
_UNIT_SIGN = re.compile(r"[^\W\d]{0,4}[/^°²³%·*]+[\w^/·²³*-]{0,8}")


@dataclass(frozen=True)
class Layout:
    """Where the rows of a text begin, and what its columns are called.

    Args:
        names: names of the columns.
        first: index of the record that is the first row.
        notes: the guesses.
        unnamed: positions of columns without a name.
    """

    names: tuple[str, ...]
    first: int
    notes: tuple[Note, ...] = ()
    unnamed: tuple[int, ...] = field(default=())


def find_layout(
    records: Sequence[tuple[int, list[str]]], options: ReadOptions, separator: str | None
) -> Layout:
    """Return the layout of records, the first ones of a text.

    Args:
        records: each with the number of the line that it ends in.
        options: what is known.
        separator: that of the text.

    Raises:
        DataError: two header rows.
    """
    notes: list[Note] = []
    width = _width(records)
    top = _preamble(records, width)
    if top:
        first, last = records[0][0], records[top - 1][0]
        lines = f"line {last}" if first == last else f"lines {first} to {last}"
        notes.append(Note(None, f"{lines} left out, as no row starts there", "--skip"))
    head, body = records[top][1], [record for _, record in records[top + 1 : top + 1 + _SAMPLE]]
    context = Context(separator=separator, decimal=options.decimal, thousands=options.thousands)
    if options.header is None:
        is_header, doubt = _is_header(head, body, context)
        if not is_header:
            _second_row(body, context, records[top + 1][0] if body else 0)
            notes.append(Note(None, _named(width), "--header"))
        elif doubt:
            notes.append(Note(None, "the first row taken as names of columns", "--no-header"))
    else:
        is_header = options.header
    if not is_header:
        return Layout(tuple(f"x{j}" for j in range(width)), top, tuple(notes))
    names, first = _names(head, body, width, notes), top + 1
    if body and _is_ruled([cell.strip() for cell in body[0]]):
        first, body = first + 1, body[1:]
    units = _second_row(body, context, records[first][0] if body else 0)
    if units is not None:
        line, first = records[first][0], first + 1
        shown = ", ".join(f"{n} in {u}" for n, u in zip(names, units, strict=False) if u)[:80]
        notes.append(Note(None, f"line {line} left out, a row of units: {shown}", "--skip"))
    unnamed = tuple(j for j, name in enumerate(names) if not name)
    named = tuple(name or _free(f"x{j}", names) for j, name in enumerate(names))
    return Layout(named, first, tuple(notes), unnamed)


def _named(width: int) -> str:
    names = "x0" if width == 1 else f"x0 to x{width - 1}"
    return f"the first row looks like data: columns are named {names}"


def _free(name: str, names: Sequence[str]) -> str:
    while name in names:
        name += "_"
    return name


def _width(records: Sequence[tuple[int, list[str]]]) -> int:
    widths = [len(record) for _, record in records]
    return max(set(widths), key=lambda w: (widths.count(w), w))


def _preamble(records: Sequence[tuple[int, list[str]]], width: int) -> int:
    """Return how many records stand above the table: titles, and what else is narrower."""
    for i, (_, record) in enumerate(records):
        full = sum(bool(f.strip()) for f in record)
        # R leaves the name of its row names away; some programs that of an empty last column.
        titles = all(sum(bool(f.strip()) for f in other) <= 1 for _, other in records[:i])
        shorter = len(record) == full == width - 1 and i + 1 < len(records)
        if shorter and titles and len(records[i + 1][1]) == width:
            return i
        title = width > 2 and full <= 1 and i + 1 < len(records)
        if len(record) == width and not title:
            return i
    return 0


def _forms(body: Sequence[list[str]], width: int, context: Context) -> list[str]:
    found = []
    for j in range(width):
        values: dict[str, float] = {}
        for record in body:
            if j < len(record):
                value = record[j].strip()
                values[value] = values.get(value, 0) + 1
        found.append(_kind(values, context))
    return found


def _kind(values: dict[str, float], context: Context) -> str:
    form = guess(values, context, "")
    if form.hint == "code":
        return "number"
    return form.kind


def _fits(value: str, kind: str, context: Context) -> bool:
    """Return whether one field is of the kind of the others in its column."""
    return _kind({value.strip(): 1.0}, context) in (kind, "empty")


def _is_header(head: list[str], body: Sequence[list[str]], context: Context) -> tuple[bool, bool]:
    """Return whether a record is one of names, and whether that is in doubt."""
    cells = [cell.strip() for cell in head][:_COLUMNS]
    kinds = _forms(body, len(cells), context)
    if not body:
        numbers = [_kind({c: 1.0}, context) in ("number", "date") for c in cells if c]
        return not numbers or sum(numbers) * 2 < len(numbers), False
    typed = [(c, k) for c, k in zip(cells, kinds, strict=True) if k not in ("text", "empty")]
    against = [c for c, k in typed if c and _fits(c, k, context)]
    favour = [c for c, k in typed if c and not _fits(c, k, context)]
    if not against and not favour:
        repeated = 0
        for j, cell in enumerate(cells):
            column = [record[j].strip() for record in body if j < len(record)]
            repeated += bool(cell) and cell in column
        blank = any(not cell for cell in cells)
        if repeated and not blank:
            return False, True
        return True, True
    if not against:
        return True, False
    if against and (_counts_up(against) or _counts_up(cells)):
        return True, True
    return len(favour) > len(against), True


def _counts_up(cells: list[str]) -> bool:
    """Return whether names are numbers that count, such as years."""
    if len(cells) < 3 or not all(c.isdigit() for c in cells):
        return False
    steps = {int(b) - int(a) for a, b in itertools.pairwise(cells)}
    return len(steps) == 1 and steps.pop() in (-1, 1, 5, 10)


def _names(head: list[str], body: Sequence[list[str]], width: int, notes: list[Note]) -> list[str]:
    names = [" ".join(cell.split()).lstrip("\ufeff") for cell in head]
    if len(names) == width - 1:
        last = [record[-1].strip() for record in body if len(record) == width]
        if last and not any(last):
            return [*names, ""]
        notes.append(Note(None, "the first column has no name, as in files that R wrote", None))
        return ["", *names]
    return names


def _is_ruled(cells: list[str]) -> bool:
    """Return whether a row is the line under the names of a table in Markdown."""
    return any(cells) and all(not cell or re.fullmatch(r":?-{2,}:?", cell) for cell in cells)


def _second_row(body: Sequence[list[str]], context: Context, line: int) -> list[str] | None:
    """Return the units in the first row, None if it is a row like the others.

    Raises:
        DataError: it is a second row of names.
    """
    if len(body) < 3:
        return None
    cells = [cell.strip() for cell in body[0]][:_COLUMNS]
    kinds = _forms(body[1:], len(cells), context)
    typed = [c for c, k in zip(cells, kinds, strict=True) if k not in ("text", "empty")]
    # What recurs below is no name, but a spelling of a missing value.
    odd = [
        c
        for j, (c, k) in enumerate(zip(cells, kinds, strict=True))
        if c and k not in ("text", "empty") and not _fits(c, k, context) and not _recurs(c, j, body)
    ]
    blank = sum(not c for c in typed)
    if not odd or (len(odd) + blank) * 2 < len(typed):
        return None
    if all(not c or _is_unit(c) for c in cells):
        return [c.strip("[]()") for c in cells]
    if (len(odd) < 2 and len(typed) > 1) or not any(c[0].isalpha() for c in odd):
        return None
    if len(odd) == 1 and not all(_is_name(c) for c in cells if c):
        return None
    raise DataError(
        "table",
        f"one row of names; delete line {line} of the file or the one above it, or give --skip "
        f"with the number of lines to leave out",
        f"two, as line {line} is {', '.join(cells)[:80]}",
    )


def _recurs(cell: str, place: int, body: Sequence[list[str]]) -> bool:
    return any(record[place].strip() == cell for record in body[1:] if place < len(record))


def _is_name(cell: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z_][\w .:/()-]*", cell)) and len(cell) > 1


def _is_unit(cell: str) -> bool:
    if cell in _UNITS or _BRACKETS.fullmatch(cell):
        return True
    return _UNIT_SIGN.fullmatch(cell) is not None


def choose(names: Sequence[str], options: ReadOptions) -> list[int]:
    """Return the positions of the columns to read, by `ReadOptions.drop` and `keep`.

    Raises:
        ArgumentError: a name that no column has.
        DataError: two columns of one name that are both to be read.
    """
    dropped = {j for name in options.drop for j in _positions(name, names, "drop")}
    kept = {j for name in options.keep for j in _positions(name, names, "keep")}
    chosen = [j for j in range(len(names)) if j not in dropped and (not kept or j in kept)]
    if not chosen:
        raise ArgumentError("drop", "at least one column to be left", ", ".join(options.drop))
    places: dict[str, list[int]] = {}
    for j in chosen:
        places.setdefault(names[j], []).append(j)
    for name, same in places.items():
        if len(same) > 1:
            numbers = " and ".join(str(i + 1) for i in same)
            raise DataError(
                f"column {name!r}",
                f"column names that differ; rename one, or leave one out with "
                f"--drop '#{same[-1] + 1}'",
                f"the name in columns {numbers}; it stands twice",
            )
    return chosen


def _positions(name: str, names: Sequence[str], option: str) -> list[int]:
    found = [j for j, other in enumerate(names) if other == name]
    if found:
        return found
    if re.fullmatch(r"#[1-9][0-9]*", name) and int(name[1:]) <= len(names):
        return [int(name[1:]) - 1]
    near = difflib.get_close_matches(name, names, n=2)
    listed = ", ".join(near) if near else ", ".join(list(names)[:20])
    raise ArgumentError(option, f"names of columns, such as {listed}", repr(name))
