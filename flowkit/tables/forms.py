"""Forms of text: how the values of a column are written, and what they are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from flowkit.schema.flags import is_flag
from flowkit.tables.engine import literal
from flowkit.tables.options import Note

# Spellings that are no value in any column.
MARKS = frozenset(
    [
        *("", "?", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NAN"),
        *("null", "NULL", "Null", "<NA>", "NaT", "\\N"),
    ]
)
# Spellings that are no value among numbers, dates and the like, but may be words of a text.
WEAK_MARKS = frozenset(
    [
        *("-", "--", "---", "–", "—", ".", "..", "...", "*", "none", "None", "NONE", "nil"),
        *("na", "Na", "n.a.", "N.A.", "n.d.", "ND", "nd", "missing", "Missing", "unknown"),
        *("Unknown", "(blank)", "not available", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?"),
        *("k.A.", "k. A.", "keine Angabe"),
        *("#NUM!", "#NULL!", "#N/A N/A", "-nan", "-NaN", "1.#QNAN", "1.#IND", "-1.#IND"),
    ]
)
# Of these, what is pointed out where a text column keeps it as a category.
_POINTED_OUT = frozenset(("-", "--", ".", "None", "none", "NONE", "na", "n.a.", "missing", "k.A."))


@dataclass(frozen=True)
class Context:
    """What the file as a whole shows of how its values are written.

    Args:
        comma: whether numbers have a decimal comma, None if no column shows it.
        day_first: whether days stand before months, None if no column shows it.
        separator: the separator of fields.
        decimal: the decimal mark, where it was given.
        thousands: the mark between groups of digits, where it was given.
        dates: the order of day and month, where it was given.
        missing: spellings of missing values that were given.
        present: spellings of values that were given.
        fitted: whether the table is read for a fitted model.
    """

    comma: bool | None = None
    day_first: bool | None = None
    separator: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    dates: str | None = None
    missing: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    fitted: bool = False


@dataclass(frozen=True)
class Form:
    """How the values of one column are written.

    Args:
        kind: one of `options.KINDS`, or "empty".
        arrow: the type of the values.
        sql: from an expression of stripped text to its value, which is NULL for text that is not
            of this form.
        matches: whether a stripped text is of this form.
        expected: the form in words, for errors.
        missing: spellings of missing values.
        kept: spellings that look like missing values and are values.
        notes: sentences, and the options that overrule them.
        hint: "code" of text whose spelling matters, "flag" of two words for yes and no.
        ambiguous: whether another form reads all values as well.
        comma: whether values show a decimal comma; None if neither that nor a decimal point.
        day_first: whether values show that days stand before months; None if they do not.
        order: "day-first" or "month-first" of dates that were read so.
        decimal: the decimal mark of a number.
        plain: whether it is a number with nothing around it, so that blanks do not matter.
    """

    kind: str
    arrow: pa.DataType
    sql: Callable[[str], str]
    matches: Callable[[str], bool]
    expected: str = ""
    missing: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    notes: tuple[tuple[str, str | None], ...] = ()
    hint: str | None = None
    ambiguous: bool = False
    comma: bool | None = None
    day_first: bool | None = None
    order: str | None = None
    decimal: str = "."
    plain: bool = False

    def named_notes(self, name: str) -> list[Note]:
        """Return the notes of a column of that name."""
        return [
            Note(name, text, option and option.replace("NAME", name)) for text, option in self.notes
        ]


def empty() -> Form:
    """Return the form of a column without values; whatever stands there later is none of it."""
    return Form("empty", pa.string(), lambda _: "NULL::VARCHAR", lambda _: False)


def boolean() -> Form:
    """Return the form of true and false, in any case."""
    return Form(
        "boolean",
        pa.bool_(),
        lambda c: f"CASE lower({c}) WHEN 'true' THEN true WHEN 'false' THEN false END",
        lambda text: text.lower() in ("true", "false"),
        "true or false",
    )


def nothing(kind: str) -> Form:
    """Return a form that no value has: the column was said to be of a kind, and none of it is."""
    return Form(kind, pa.string(), lambda _: "NULL::VARCHAR", lambda _: False, f"a {kind}")


def text(values: Mapping[str, float], context: Context, *, hint: str | None = None) -> Form:
    """Return the form of a text column that has these values, missing ones among them."""
    marks = {v for v in values if v in MARKS and v not in context.present}
    kept = {v for v in values if v in (MARKS | WEAK_MARKS) and v not in marks}
    others = set(values) - marks - kept
    notes: list[tuple[str, str | None]] = []
    if "NA" in marks and len(others) >= 2 and all(_is_code(v) for v in others):
        marks.discard("NA")
        kept.add("NA")
        notes.append(("`NA` kept, as all others are codes of two letters", "--missing NA"))
    for mark in sorted(kept & _POINTED_OUT - set(context.present)):
        notes.append((f"`{mark}` kept as a category", f"--missing {quoted(mark)}"))
    lower: dict[str, str] = {}
    for word in sorted(others):
        if (first := lower.setdefault(word.lower(), word)) != word:
            notes.append((f"`{first}` and `{word}` kept apart: they differ in their case", None))
            break
    if is_flag(others):
        hint = "flag"
    unknown = sorted(MARKS - kept)
    listed = ", ".join(literal(mark) for mark in unknown)
    return Form(
        "text",
        pa.string(),
        lambda c: f"CASE WHEN {c} NOT IN ({listed}) AND NOT contains({c}, chr(0)) THEN {c} END",
        lambda v: v not in unknown and "\x00" not in v,
        "text",
        frozenset(marks),
        frozenset(kept),
        tuple(notes),
        hint,
    )


def _is_code(value: str) -> bool:
    return len(value) == 2 and value.isascii() and value.isalpha() and value.isupper()


def quoted(text: str) -> str:
    """Return text as an argument of a command line.

    Example:
        >>> quoted("a b"), quoted("NA")
        ("'a b'", 'NA')
    """
    import shlex

    return shlex.quote(text)
