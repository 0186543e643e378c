"""Numbers as people write them: decimal commas, thousands, currencies, percents and units."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from flowkit.tables.engine import literal
from flowkit.tables.forms import Context, Form

_BLANK = "[\\s\u00a0\u202f\u2009]"
_MINUS = "[-\u2212\u2013]"
_CURRENCIES = (
    r"(?:US|A|C|NZ|HK|S|R)?\$|[€£¥₹₽₩₺₴₪฿]|Rs\.?|Fr\.|zł|kr\.?|"
    "USD|EUR|GBP|JPY|CHF|CNY|INR|SEK|NOK|DKK|PLN|CZK|HUF|CAD|AUD|BRL|MXN|ZAR|RUB|TRY|KRW"
)
_UNIT = r"[A-Za-zµμ°%‰$€£¥₹₽ΩÅ](?:[A-Za-zµμ°ΩåÅä./^²³·*-]|\^?-?[0-9](?![0-9]))*"
_CORE = r"[0-9]+(?:[.,'’ \u00a0\u202f\u2009][0-9]+)*[.,]?|[.,][0-9]+"
_WRITTEN = re.compile(
    rf"(?P<open>\(?){_BLANK}*{_MINUS}?{_BLANK}*(?P<prefix>{_CURRENCIES})?{_BLANK}*[-+−–]?{_BLANK}*"
    rf"(?P<core>{_CORE})(?P<power>[eE][-+]?[0-9]+)?{_BLANK}*(?P<suffix>{_UNIT})?{_BLANK}*"
    r"(?P<end>-?)(?P<close>\)?)"
)
_PLAIN = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?inf(?:inity)?", re.IGNORECASE)
_NEGATIVE = re.compile(rf"^\(|^{_BLANK}*{_MINUS}|-\)?$|^(?:{_CURRENCIES}){_BLANK}*{_MINUS}")
_ZERO_FIRST = re.compile(r"0[0-9]+")
_WHOLE = re.compile(r"[-+]?[0-9]+")
_NO_UNITS = ("st", "nd", "rd", "th", "Uhr")  # ordinals, and times of day
_MARKS = {" ": " \u00a0\u202f\u2009", "'": "'’", ",": ",", ".": "."}
# (decimal mark, mark of thousands), the preferred ones first.
_SYSTEMS = (
    *((".", ""), (".", ","), (",", ""), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'")),
)
# More units than this in one column are codes, like the seats of a theatre.
_MOST_UNITS = 3
LARGEST = 2**53


@dataclass(frozen=True)
class Dress:
    """How the numbers of a column are written.

    Args:
        decimal: the decimal mark.
        thousands: the mark between groups of three digits, "" for none.
        prefix: a currency before the number.
        suffix: a currency, percent sign or unit after it.
    """

    decimal: str = "."
    thousands: str = ""
    prefix: str = ""
    suffix: str = ""

    @property
    def core(self) -> str:
        """A regular expression of the digits, for Python and RE2."""
        mark = re.escape(self.decimal)
        whole = "[0-9]+"
        if self.thousands:
            whole = f"(?:[1-9][0-9]{{0,2}}(?:[{_MARKS[self.thousands]}][0-9]{{3}})+|[0-9]+)"
            if self.thousands == ",":  # in India 1,23,456 as well
                whole = f"(?:[1-9][0-9]?(?:,[0-9]{{2}})+,[0-9]{{3}}|{whole})"
        return f"(?:{whole}(?:{mark}[0-9]*)?|{mark}[0-9]+)(?:[eE][-+]?[0-9]+)?"

    @property
    def pattern(self) -> str:
        """A regular expression of a whole value; its group is the digits."""
        b, prefix, suffix = _BLANK, re.escape(self.prefix), re.escape(self.suffix)
        sign = f"[-+−–]?{b}*"
        return f"\\(?{b}*{sign}{prefix}{b}*{sign}({self.core}){b}*{suffix}{b}*-?\\)?"

    def sql(self, text: str) -> str:
        """Return the value of an expression of text, NULL if it is not written like this."""
        pattern, prefix = literal(self.pattern), re.escape(self.prefix)
        digits = f"regexp_extract({text}, {literal('^' + self.pattern + '$')}, 1)"
        if self.thousands:
            marks = literal(f"[{_MARKS[self.thousands]}]")
            digits = f"regexp_replace({digits}, {marks}, '', 'g')"
        if self.decimal != ".":
            digits = f"replace({digits}, {literal(self.decimal)}, '.')"
        negative = f"^{_BLANK}*[(−–-]|^{_BLANK}*{prefix}{_BLANK}*[−–-]|-\\)?$"
        sign = f"CASE WHEN regexp_matches({text}, {literal(negative)}) THEN -1 ELSE 1 END"
        value = f"({sign}) * TRY_CAST({digits} AS DOUBLE)"
        return f"CASE WHEN regexp_full_match({text}, {pattern}) THEN {value} END"


_ANY_SYSTEM = re.compile(
    "|".join(f"(?:{Dress(decimal, thousands).core})" for decimal, thousands in _SYSTEMS)
)


def number_form(values: Mapping[str, float], context: Context) -> tuple[Form, float] | None:
    """Return the form of numbers that fits most of these values, and the weight of all numbers.

    Args:
        values: stripped texts with the weight of each.
        context: what is known of the file.
    """
    plain, total = plain_form(values, context), sum(values.values())
    plain_weight = sum(w for v, w in values.items() if is_plain(v))
    if plain_weight == total and not _could_be_thousands(values, context):
        return plain, plain_weight
    written: dict[str, re.Match[str]] = {}
    for value in values:
        match = _WRITTEN.fullmatch(value)
        if match and _balanced(match) and _ANY_SYSTEM.fullmatch(match["core"]):
            written[value] = match
    if not written:
        return (plain, plain_weight) if plain_weight else None
    dresses: dict[tuple[str, str], float] = {}
    for value, match in written.items():
        key = (match["prefix"] or "", match["suffix"] or "")
        dresses[key] = dresses.get(key, 0.0) + values[value]
    if len(dresses) > _MOST_UNITS or any(suffix in _NO_UNITS for _, suffix in dresses):
        return (plain, plain_weight) if plain_weight else None
    prefix, suffix = max(dresses, key=lambda key: dresses[key])
    same = {
        v: values[v]
        for v, m in written.items()
        if ((m["prefix"] or ""), (m["suffix"] or "")) == (prefix, suffix)
    }
    weight = sum(values[v] for v in written)
    cores = {v: written[v]["core"] for v in same}
    if any(written[v]["power"] for v in same):  # nobody groups the digits of 1.5e-9
        context = replace(context, thousands="")
    decimal, thousands, other = _system(cores, same, context)
    dress = Dress(decimal, thousands, prefix, suffix)
    simple = dress == Dress() and all(is_plain(v) for v in same)
    if simple:
        return plain_form(values, context), weight
    return _dressed_form(dress, same, written, other, context), weight


def plain_form(values: Mapping[str, float], context: Context) -> Form:
    """Return the form of numbers that are written without anything around them."""
    zeros = any(_ZERO_FIRST.fullmatch(v) for v in values)
    other = "" if zeros else "WHEN {0} >= '00' AND {0} < '0:' AND NOT contains({0}, '.') THEN NULL"
    points = any("." in v for v in values if is_plain(v))
    return Form(
        "number",
        pa.float64(),
        lambda c: (
            f"CASE WHEN {c} < '+' THEN NULL {other.format(c)} WHEN contains({c}, '_') THEN NULL "
            f"ELSE TRY_CAST({c} AS DOUBLE) END"
        ),
        is_plain,
        "a number",
        comma=False if points and not _could_be_thousands(values, context) else None,
        plain=True,
    )


def _dressed_form(
    dress: Dress,
    same: Mapping[str, float],
    written: Mapping[str, re.Match[str]],
    other: str | None,
    context: Context,
) -> Form:
    notes: list[tuple[str, str | None]] = []
    marks = _MARKS.get(dress.thousands, ",.' \u00a0")
    example = next((v for v in same if any(m in written[v]["core"] for m in marks)), None)
    example = example or next(iter(same))
    if dress.prefix or dress.suffix:
        taken = dress.prefix or dress.suffix
        notes.append((f"numbers, `{taken}` taken off", "--column NAME=text"))
    cores = [written[v]["core"] for v in same]
    decimals = any(dress.decimal in core for core in cores)
    shown = ("-" if _NEGATIVE.search(example) else "") + _shown(example, dress)
    if other is not None and context.decimal is None:
        notes.append((f"`{example}` read as {shown}, which could be {other}", "--decimal"))
    elif dress.thousands and any(m in core for core in cores for m in _MARKS[dress.thousands]):
        notes.append((f"`{example}` read as {shown}", "--thousands, --decimal"))
    if any(written[v]["open"] for v in same):
        notes.append(("numbers in parentheses read as negative", "--column NAME=text"))
    pattern = re.compile(dress.pattern)
    unit = f" with `{dress.prefix or dress.suffix}`" if dress.prefix or dress.suffix else ""
    mark = "comma" if dress.decimal == "," else "point"
    comma = (dress.decimal == ",") if decimals and other is None else None
    return Form(
        "number",
        pa.float64(),
        dress.sql,
        lambda v: pattern.fullmatch(v) is not None,
        f"a number{unit}" + (f" and a decimal {mark}" if decimals else ""),
        notes=tuple(notes),
        ambiguous=other is not None,
        comma=comma,
        decimal=dress.decimal,
    )


def _system(
    cores: Mapping[str, str], weights: Mapping[str, float], context: Context
) -> tuple[str, str, str | None]:
    """Return decimal mark, mark of thousands, and an example in another reading, if any."""
    best = -1.0
    fits: list[tuple[str, str]] = []
    for decimal, thousands in _SYSTEMS:
        if context.decimal not in (None, decimal):
            continue
        if context.thousands is not None and context.thousands not in ("", thousands):
            continue
        if context.thousands == "" and thousands:
            continue
        pattern = re.compile(Dress(decimal, thousands).core)
        weight = sum(weights[v] for v, core in cores.items() if pattern.fullmatch(core))
        if weight > best:
            best, fits = weight, []
        if weight == best:
            fits.append((decimal, thousands))
    if not fits:
        return context.decimal or ".", context.thousands or "", None
    fits = _needed(fits, cores)
    marks = {decimal for decimal, _ in fits}
    if len(marks) == 1 or not any("," in core or "." in core for core in cores.values()):
        return (*fits[0], None)
    comma = context.comma if context.comma is not None else context.separator == ";"
    if context.comma is None and not any("," in core for core in cores.values()):
        comma = False
    chosen = next((f for f in fits if (f[0] == ",") == comma), fits[0])
    example = next(core for core in cores.values() if "," in core or "." in core)
    rival = next(f for f in fits if f[0] != chosen[0])
    told = context.comma is not None
    return (*chosen, None if told else _shown(example, Dress(*rival)))


def _needed(fits: list[tuple[str, str]], cores: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the systems all of whose marks are used, or the plain one if no mark is."""
    used = {mark for core in cores.values() for mark in core if not mark.isdigit()}
    if not used:
        return [(".", "")]
    lean = [(d, t) for d, t in fits if not t or any(mark in used for mark in _MARKS[t])]
    return lean or fits


def _shown(example: str, dress: Dress) -> str:
    match = _WRITTEN.fullmatch(example)
    core = match["core"] if match else example
    for mark in _MARKS.get(dress.thousands, ""):
        core = core.replace(mark, "")
    return core.replace(dress.decimal, ".").rstrip(".")


def _could_be_thousands(values: Mapping[str, float], context: Context) -> bool:
    """Return whether points stand before groups of three digits, in a file with decimal commas."""
    if context.decimal == "." or context.thousands not in (None, "."):
        return False
    if context.decimal is None and context.thousands is None and not context.comma:
        return False
    grouped = re.compile(r"[-+]?[1-9][0-9]{0,2}(?:\.[0-9]{3})+")
    dotted = [v for v in values if "." in v]
    return bool(dotted) and all(grouped.fullmatch(v) for v in dotted)


def is_plain(value: str) -> bool:
    """Return whether a number is written without anything around it."""
    return (_PLAIN.fullmatch(value) or _INFINITE.fullmatch(value)) is not None


def _balanced(match: re.Match[str]) -> bool:
    return bool(match["open"]) == bool(match["close"])


def is_code(values: Mapping[str, float]) -> bool:
    """Return whether these are digits whose spelling matters: leading zeros, or very many."""
    if not all(_WHOLE.fullmatch(v) for v in values):
        return False
    if any(_ZERO_FIRST.fullmatch(v) for v in values):
        return True
    if all(v.startswith("+") and len(v) > 8 for v in values):
        return True
    return any(len(v) > 15 and abs(int(v[:30])) > LARGEST for v in values)
