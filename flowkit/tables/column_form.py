"""The guess of how a column is written, from its values."""

import re
from collections.abc import Mapping
from dataclasses import replace

from flowkit.schema.flags import is_flag
from flowkit.tables import clock, dates, forms, numbers
from flowkit.tables.forms import MARKS, WEAK_MARKS, Context, Form

# A column of which fewer rows than this are numbers is text with numbers in it.
_NEARLY_ALL = 0.9
_DIGITS = r"[-+]?[0-9]+(?:[.,][0-9]+)*"
_ADORNED = re.compile(
    rf"[~≈<>≤≥]=? ?{_DIGITS}|{_DIGITS} ?(?:±|\+/?-) ?{_DIGITS}|{_DIGITS} ?(?:\*+|\[[0-9a-z]\]|\+)"
)
_POWER = re.compile(r"[0-9]+[eE][0-9]+")
_VERSION_NAME = re.compile(r"version|release|build|revision|major|minor", re.IGNORECASE)
# As few different ones may well be names.
_MANY = 10


def guess(
    values: Mapping[str, float], context: Context, name: str, told: str | None = None
) -> Form:
    """Return how a column is written.

    Args:
        values: stripped texts of the column, blank ones included, with the weight of each.
        context: what is known of the file.
        name: the column's name.
        told: its kind, where the user said it.

    Example:
        >>> guess({"1,5": 1, "2,25": 1, "?": 1}, Context(), "x").kind
        'number'
    """
    said = {v for v in values if v in context.missing or _same_number(v, context)}
    # What is said to be a value is one of a text only: no number is written NA.
    weak = {v for v in values if v in MARKS | WEAK_MARKS} - said
    others = {v: w for v, w in values.items() if v not in weak | said}
    words = weak & set(context.present)
    if not others and not words:
        return replace(forms.empty(), missing=frozenset(weak | said))
    form = _of(others, context, name, told) if others else forms.text({}, context)
    if form.kind == "text":
        every = {v: w for v, w in values.items() if v not in said}
        form = _merge(forms.text(every, context, hint=form.hint), form)
        return replace(form, missing=form.missing | said)
    return replace(form, missing=frozenset(weak | said))


def _merge(text: Form, form: Form) -> Form:
    return replace(text, notes=text.notes + form.notes)


def _of(values: Mapping[str, float], context: Context, name: str, told: str | None) -> Form:
    """Return the form of values that are all present."""
    total = sum(values.values())
    if told == "text":
        return forms.text({}, context, hint="code" if numbers.is_code(values) else None)
    if told == "number":
        found = numbers.number_form(values, context)
        return found[0] if found else numbers.plain_form(values, context)
    if told == "date":
        found = dates.date_form(values, context, name, told=True) or dates.count_form(values)
        return found[0] if found else forms.nothing("date")
    if told == "time":
        found = clock.time_form(values)
        return found[0] if found else forms.nothing("time")
    if told == "duration":
        found = clock.duration_form(values, told=True)
        return found[0] if found else forms.nothing("duration")
    if told == "boolean":
        return forms.text({}, context, hint="flag") if is_flag(values) else forms.boolean()
    if _all_plain(values, context):
        form = numbers.plain_form(values, context)
        return replace(form, notes=_doubts(values, name))
    if all(forms.boolean().matches(v) for v in values):
        return forms.boolean()
    found_date = dates.date_form(values, context, name)
    if numbers.is_code(values) and not (found_date and found_date[1] == total):
        note = _code_note(values)
        return replace(forms.text({}, context, hint="code"), notes=(note,))
    stretch = dates.stretch_note(values)
    if stretch is not None:
        return replace(forms.text({}, context), notes=(stretch,))
    candidates = [
        found
        for found in (
            found_date,
            numbers.number_form(values, context),
            clock.time_form(values),
            clock.duration_form(values),
        )
        if found
    ]
    if not candidates:
        return replace(forms.text({}, context), notes=_adorned(values))
    form, weight = max(candidates, key=lambda found: found[1])
    fits = [v for v in values if form.matches(v)]
    if weight == total and len(fits) == len(values):
        return form
    if weight >= _NEARLY_ALL * total and len(fits) >= _MANY:
        return form
    # A few words among many numbers are spellings of missing values: named as misfits.
    if form.kind == "number" and weight >= total / 2 and len(fits) >= max(_MANY, len(values) - 3):
        return form
    if weight >= total / 2 and form.kind in ("number", "date"):
        other = next(v for v in values if not form.matches(v))
        note = (
            f"text, though many rows are {form.kind}s: there is `{_short(other)}` as well",
            f"--column NAME={form.kind}",
        )
        return replace(forms.text({}, context), notes=(note,))
    return replace(forms.text({}, context), notes=_adorned(values))


def _all_plain(values: Mapping[str, float], context: Context) -> bool:
    """Return whether nothing but a plain number is possible: no date, code or group of digits."""
    if context.decimal == "," or context.comma or context.thousands == ".":
        return False
    return all(
        numbers.is_plain(v) and (len(v) < 6 or "." in v) and (v[0] != "0" or v[1:2] in (".", ""))
        for v in values
    )


def _adorned(values: Mapping[str, float]) -> tuple[tuple[str, str | None], ...]:
    """Return a note on text that is numbers with signs around them, such as ~5 or 1.3 ± 0.2."""
    found = [v for v in values if _ADORNED.fullmatch(v)]
    others = sum(numbers.is_plain(v) for v in values)
    if not found or len(found) + others < max(_MANY, _NEARLY_ALL * len(values)):
        return ()
    return ((f"text, though values like `{found[0]}` hold numbers", None),)


def _doubts(values: Mapping[str, float], name: str) -> tuple[tuple[str, str | None], ...]:
    """Return a note on codes such as 1E10, or on versions of which two are one number."""
    if all(_POWER.fullmatch(v) for v in values):
        return ((f"`{next(iter(values))}` read as a power of ten", "--column NAME=text"),)
    if not _VERSION_NAME.search(name):
        return ()
    longer = (v for v in values if "." in v and v.endswith("0") and v[:-1] in values)
    twice = next((v for v in longer if not v[:-1].endswith(".")), None)
    if twice is None:
        return ()
    return ((f"`{twice[:-1]}` and `{twice}` are one number: versions?", "--column NAME=text"),)


def _code_note(values: Mapping[str, float]) -> tuple[str, str | None]:
    zero = next((v for v in values if len(v) > 1 and v.startswith("0")), None)
    if zero is not None:
        return f"text, as `{zero}` starts with a zero", "--column NAME=number"
    if all(v.startswith("+") for v in values):
        first = next(iter(values))
        return f"text, as `{first}` is a telephone number or a code", "--column NAME=number"
    longest = max(values, key=len)
    return f"text, as `{longest}` has more digits than a number keeps", None


def _same_number(value: str, context: Context) -> bool:
    for spelling in context.missing:
        try:
            if float(value) == float(spelling):
                return True
        except ValueError:
            continue
    return False


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
