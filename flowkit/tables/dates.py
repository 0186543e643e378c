"""Dates and instants as people write them, with the order of day and month read off the column."""

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from flowkit.tables.clock import CLOCK, clock_microseconds
from flowkit.tables.engine import literal
from flowkit.tables.forms import Context, Form

# First letters of months in English, German, French, Spanish, Italian, Dutch and the North.
_MONTHS = (
    "jan ene gen", "feb fév fev", "mar mär mrz maa mrt", "apr avr abr", "may mai maj mei mag",
    "jun juin giu", "jul juil lug", "aug aoû ago", "sep set", "oct okt ott", "nov",
    "dec dez déc dic des",
)  # fmt: skip
_NUMBER_OF = {name: str(i + 1) for i, names in enumerate(_MONTHS) for name in names.split()}
_MONTH = f"(?:(?i:{'|'.join(_NUMBER_OF)})[A-Za-zäéûÉÛ]*)"
_ZONE = r"(?:Z|(?:UTC|GMT)?[-+](?:[0-9]{2}(?::?[0-9]{2})?|[0-9](?::[0-9]{2})?)|UTC|GMT)"
_REST = rf"(?:[T ,]+{CLOCK}(?: Uhr)?(?: ?{_ZONE})?)?"
_DAYS = "mon|tue|wed|thu|fri|sat|sun|mo|di|mi|do|fr|sa|so|lun|mar|mer|jeu|ven|sam|dim"
_WEEKDAY = rf"(?:(?i:{_DAYS})[a-z]*\.?,? )?"
_LETTERS, _ANY_WEEKDAY = "[A-Za-zäéûÉÛ]{3,10}", r"(?:[A-Za-z]{2,9}\.?,? )?"
_GAP = "[-. /,]{1,2}"
_HH = "(?:[01][0-9]|2[0-3])"
# Two digits from 69 on are years before 2000, as in C and Python.
_OLD = "(?:69|[789][0-9])"
_EVIDENCE = 3
_FIRST_YEAR, _LAST_YEAR = 1800, 2199
_MONTH_NAME = re.compile(r"date|month|period|datum|monat|mois|yyyymm", re.IGNORECASE)
_DATE_NAME = re.compile(r"date|day|datum|dob|jour|fecha|yyyymmdd", re.IGNORECASE)


@dataclass(frozen=True)
class Style:
    """One way of writing the day of a date.

    Args:
        pattern: a regular expression of the day, with three groups.
        order: what the groups are, "y", "m" and "d", or "w" of weeks, "q" of quarters and "h" of
            halves of a year; "12y" where day and month are to be told apart.
    """

    pattern: str
    order: str


_STYLES = {
    "ISO": Style(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})", "ymd"),
    "year/month/day": Style(r"([0-9]{4})/([0-9]{1,2})/([0-9]{1,2})", "ymd"),
    "year.month.day": Style(r"([0-9]{4})\.([0-9]{1,2})\.([0-9]{1,2})", "ymd"),
    "slashes": Style(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})", "12y"),
    "points": Style(r"([0-9]{1,2})\. ?([0-9]{1,2})\. ?([0-9]{4})", "12y"),
    "hyphens": Style(r"([0-9]{1,2})-([0-9]{1,2})-([0-9]{4})", "12y"),
    "slashes, two-digit years": Style(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{2})", "12y"),
    "points, two-digit years": Style(r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{2})", "12y"),
    "hyphens, two-digit years": Style(r"([0-9]{1,2})-([0-9]{1,2})-([0-9]{2})", "12y"),
    **{
        f"weekday and {name}": Style(rf"{_WEEKDAY[:-1]}{day}", "12y")
        for name, day in (
            ("slashes", "([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})"),
            ("points", r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})"),
            ("slashes, two-digit years", "([0-9]{1,2})/([0-9]{1,2})/([0-9]{2})"),
            ("points, two-digit years", r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{2})"),
        )
    },
    "day month year": Style(rf"{_WEEKDAY}([0-9]{{1,2}}){_GAP}({_MONTH}){_GAP}([0-9]{{4}})", "dmy"),
    "day month yy": Style(rf"{_WEEKDAY}([0-9]{{1,2}}){_GAP}({_MONTH}){_GAP}([0-9]{{2}})", "dmy"),
    "month day, year": Style(
        rf"{_WEEKDAY}({_MONTH})\.? ([0-9]{{1,2}})(?:st|nd|rd|th)?,? ([0-9]{{4}})", "mdy"
    ),
    "year-month": Style(r"([0-9]{4})-([0-9]{2})()", "ymd"),
    "month yy": Style(rf"({_MONTH})-([0-9]{{2}})()", "myd"),
    "MM.YYYY": Style(r"(0[1-9]|1[0-2])[./]((?:19|20)[0-9]{2})()", "myd"),
    "month year": Style(rf"({_MONTH})\.?[ -]([0-9]{{4}})()", "myd"),
    "yyyymmdd": Style(r"([0-9]{4})([0-9]{2})([0-9]{2})", "ymd"),
    "yyyymm": Style(r"([0-9]{4})([0-9]{2})()", "ymd"),
    **{
        f"yyyymmddhh{more}": Style(rf"([0-9]{{4}})([0-9]{{2}})([0-9]{{2}}){_HH}{digits}", "ymd")
        for more, digits in (("", ""), ("mm", "[0-5][0-9]"), ("mmss", "[0-5][0-9][0-5][0-9]"))
    },
    "ISO week": Style(r"([0-9]{4})-?W([0-5][0-9])()", "ywd"),
    "day of ISO week": Style(r"([0-9]{4})-?W([0-5][0-9])-?([1-7])", "ywd"),
    "year-quarter": Style(r"([0-9]{4})[- /]?Q([1-4])()", "yqd"),
    "quarter year": Style(r"Q([1-4])[- /]?([0-9]{4})()", "qyd"),
    "year-half": Style(r"([0-9]{4})[- /]?H([12])()", "yhd"),
}
_COMPACT = ("yyyymmdd", "yyyymm", "yyyymmddhh", "yyyymmddhhmm", "yyyymmddhhmmss")
# Styles of longer stretches, which their first day stands for.
_FIRST_DAYS = {
    **dict.fromkeys(("year-month", "month year", "month yy", "MM.YYYY", "yyyymm"), "months"),
    "ISO week": "weeks",
    "year-half": "halves of years",
    **dict.fromkeys(("year-quarter", "quarter year"), "quarters"),
}
# Stretches that stay texts, so that samples are such stretches, unless the user says "date".
_TEXTS = ("weeks", "quarters", "halves of years")
_MONTHS_OF = {"q": 3, "h": 6}
# Instants as counts, by their digits: days as Excel has them, seconds and milliseconds since 1970.
_COUNTS = {
    5: (pa.date32(), "DATE '1899-12-30' + CAST({0} AS INTEGER)"),
    10: (pa.timestamp("us"), "make_timestamp(CAST({0} AS BIGINT) * 1000000)"),
    13: (pa.timestamp("us"), "make_timestamp(CAST({0} AS BIGINT) * 1000)"),
}
_COUNT = re.compile("|".join(f"[0-9]{{{digits}}}" for digits in _COUNTS))
_POINTED = re.compile(r"[0-9]{2}\.[0-9]{4}")
_COMPILED = {name: re.compile(f"{s.pattern}({_REST})") for name, s in _STYLES.items()}


@dataclass(frozen=True)
class _Read:
    style: str
    orders: frozenset[str]  # of day and month, those that make a date: "dmy", "mdy"
    clock: bool
    zone: str | None
    fine: bool  # more than six decimals of a second


def date_form(
    values: Mapping[str, float], context: Context, name: str, *, told: bool = False
) -> tuple[Form, float] | None:
    """Return the form of dates that fits most of these values, and the weight of all dates.

    Args:
        values: stripped texts with the weight of each.
        context: what is known of the file.
        name: the column's name: a number like 20230714 under "date" is one.
        told: whether the user said that these are dates.
    """
    found = {value: read for value in values if (read := _read(value)) is not None}
    if not found:
        return None
    if not told and any(_FIRST_DAYS.get(r.style) in _TEXTS for r in found.values()):
        return None
    compact = [v for v, r in found.items() if r.style in _COMPACT and ":" not in v]
    if compact and not told:
        if len(compact) < len(found) or not _evident(compact, name):
            return None
        if any(v.isdigit() and v not in found for v in values) and len(compact) < 20:
            return None
    if all(_POINTED.fullmatch(v) and v[0] == "1" for v in found):
        return None  # numbers such as 10.2023
    order, evidence = _order(found, context)
    weight = sum(values[v] for v in found)
    found = {v: r for v, r in found.items() if not r.orders or order in r.orders}
    styles = tuple(s for s in _STYLES if any(r.style == s for r in found.values()))
    clock = any(r.clock for r in found.values())
    zones = sorted({r.zone for r in found.values() if r.zone})
    zone = bool(zones)
    swapped = any(r.orders for r in found.values())

    def matches(value: str) -> bool:
        read = _read(value)
        return (
            read is not None
            and read.style in styles
            and (not read.orders or order in read.orders)
            and (clock or not read.clock)
            and (not clock or bool(read.zone) == zone)
        )

    notes: list[tuple[str, str | None]] = []
    if swapped:
        first = "day" if order == "dmy" else "month"
        other = "month" if order == "dmy" else "day"
        doubt = "" if evidence else ", which no row of this column proves"
        notes.append((f"dates read with the {first} first{doubt}", f"--dates {other}-first"))
    if len(styles) > 1:
        notes.append((f"dates written in {len(styles)} ways: {', '.join(styles)}", None))
    if any(s.endswith((" yy", "two-digit years")) for s in styles):
        notes.append(("years of two digits read as 1969 to 2068", None))
    if compact:
        notes.append((f"whole numbers like {compact[0]} read as dates", "--column NAME=number"))
    for stretch in dict.fromkeys(_FIRST_DAYS[style] for style in styles if style in _FIRST_DAYS):
        notes.append((f"{stretch} read as their first day", "--column NAME=text"))
    if len(zones) > 1 or (zones and zones[0] not in ("Z", "UTC", "GMT", "+00:00", "+0000", "+00")):
        notes.append((f"times with the zones {', '.join(zones[:3])} kept as UTC", None))
    if any(r.fine for r in found.values()):
        notes.append(("times cut to microseconds", None))
    kind = pa.timestamp("us", "UTC") if zone else pa.timestamp("us") if clock else pa.date32()
    way = {"dmy": "day first", "mdy": "month first"}[order] if swapped else styles[0]
    return (
        Form(
            "date",
            kind,
            lambda c: _sql(c, styles, order, clock=clock, zone=zone),
            matches,
            f"a date{' and time' if clock else ''} ({way})",
            notes=tuple(notes),
            ambiguous=swapped and not evidence,
            day_first=(order == "dmy") if swapped and evidence else None,
            order={"dmy": "day-first", "mdy": "month-first"}[order] if swapped else None,
        ),
        weight,
    )


def _order(found: Mapping[str, _Read], context: Context) -> tuple[str, bool]:
    """Return the order of day and month, and whether anything proves it."""
    if context.dates is not None:
        return ("dmy" if context.dates == "day-first" else "mdy"), True
    votes = dict.fromkeys(("dmy", "mdy"), 0)
    for read in found.values():
        if len(read.orders) == 1:
            votes[next(iter(read.orders))] += 1
    if votes["dmy"] != votes["mdy"]:
        return max(votes, key=lambda order: votes[order]), True
    if any("points" in read.style for read in found.values()):
        return "dmy", True
    if context.day_first is not None:
        return ("dmy" if context.day_first else "mdy"), False
    return ("dmy" if context.comma else "mdy"), False


def _read(value: str) -> _Read | None:
    for name, pattern in _COMPILED.items():
        match = pattern.fullmatch(value)
        if match is None:
            continue
        parts, rest = match.groups()[:3], match[4]
        zone = re.search(f"{_ZONE}$", rest)
        told = _STYLES[name].order
        possible = ("dmy", "mdy") if told == "12y" else (told,)
        orders = frozenset(order for order in possible if _is_day(parts, order))
        if not orders:
            return None
        fine = re.search(r"[.,][0-9]{7,}", rest) is not None
        return _Read(
            name,
            orders if told == "12y" else frozenset(),
            bool(rest) or name.startswith("yyyymmddhh"),
            zone[0] if zone else None,
            fine,
        )
    return None


def _is_day(parts: tuple[str, ...], order: str) -> bool:
    day = dict(zip(order, parts, strict=True))
    year = int(day["y"])
    if "w" in day and year > 0:  # the 28th of December is in the last week of its year
        return 0 < int(day["w"]) <= datetime.date(year, 12, 28).isocalendar()[1]
    if "m" not in day:
        return year > 0
    name = day["m"].lower()
    month = name if name.isdigit() else _NUMBER_OF.get(name[:4]) or _NUMBER_OF[name[:3]]
    if len(day["y"]) == 2:
        year += 1900 if year >= 69 else 2000
    try:
        datetime.date(year, int(month), int(day["d"] or 1))
    except ValueError:
        return False
    return True


def _evident(compact: list[str], name: str) -> bool:
    """Return whether whole numbers are dates: one in 27 of eight digits is one by chance."""
    years = [int(v[:4]) for v in compact]
    if min(years) < _FIRST_YEAR or max(years) > _LAST_YEAR:
        return False
    if any(len(v) == 6 for v in compact):  # one whole number in nine is such a month
        return len(compact) >= _EVIDENCE and _MONTH_NAME.search(name) is not None
    return len(compact) >= _EVIDENCE or _DATE_NAME.search(name) is not None


def _sql(c: str, styles: tuple[str, ...], order: str, *, clock: bool, zone: bool) -> str:
    if len(styles) == 1 and styles[0] == "ISO" and not clock:
        pattern = literal(_STYLES["ISO"].pattern)
        return f"CASE WHEN regexp_full_match({c}, {pattern}) THEN TRY_CAST({c} AS DATE) END"
    found = []
    for name in styles:
        style = _STYLES[name]
        end = "" if not clock else rf"[T ,]+{CLOCK}(?: Uhr)? ?{_ZONE}" if zone else _without_zone()
        # Any words here, which are quicker to match: those that are no months have no number.
        words = style.pattern.replace(_MONTH, _LETTERS).replace(_WEEKDAY, _ANY_WEEKDAY)
        whole = f"^{words}{end}$"
        told = order if style.order == "12y" else style.order
        parts = {
            letter: f"regexp_extract({c}, {literal(whole)}, {i + 1})"
            for i, letter in enumerate(told)
        }
        if _MONTH in style.pattern:
            parts["m"] = _month(f"lower({parts['m']})")
        if "two-digit" in name or name.endswith(" yy"):
            old = literal(_OLD)
            century = f"CASE WHEN regexp_full_match({parts['y']}, {old}) THEN '19' ELSE '20' END"
            parts["y"] = f"({century}) || {parts['y']}"
        if name in _FIRST_DAYS:
            parts["d"] = "'1'"
        day = _day(parts)
        if name.startswith("yyyymmddhh"):
            time = [f"CAST('0' || substr({c}, {at}, 2) AS BIGINT)" for at in (9, 11, 13)]
            seconds = f"({time[0]} * 3600 + {time[1]} * 60 + {time[2]})"
            day = f"CAST({day} AS TIMESTAMP) + to_seconds({seconds})"
        elif clock:
            day = f"CAST({day} AS TIMESTAMP) + to_microseconds({clock_microseconds(c, zone=zone)})"
        found.append(f"CASE WHEN regexp_matches({c}, {literal(whole)}) THEN {day} END")
    return f"COALESCE({', '.join(found)})" if len(found) > 1 else found[0]


def _month(name: str) -> str:
    """Return the expression of the number of a month from that of its name in small letters."""
    number = "NULL"
    for size in (3, 4):  # juin and juillet differ in the fourth letter
        of_size = [(short, n) for short, n in _NUMBER_OF.items() if len(short) == size]
        cases = " ".join(f"WHEN {literal(short)} THEN {literal(n)}" for short, n in of_size)
        number = f"CASE substr({name}, 1, {size}) {cases} ELSE {number} END"
    return number


def _day(parts: Mapping[str, str]) -> str:
    """Return the expression of a date from those of its parts."""
    year = f"TRY_CAST({parts['y']} AS BIGINT)"
    if "w" in parts:
        days = f"7 * (CAST({parts['w']} AS INTEGER) - 1)"
        days += f" + CAST(COALESCE(NULLIF({parts['d']}, ''), '1') AS INTEGER) - 1"
        day = f"CAST(date_trunc('week', make_date({year}, 1, 4)) + to_days({days}) AS DATE)"
        return f"CASE WHEN isoyear({day}) = {year} THEN {day} END"
    for letter, months in _MONTHS_OF.items():
        if letter in parts:
            month = f"{months} * CAST({parts[letter]} AS BIGINT) - {months - 1}"
            return f"make_date({year}, {month}, 1)"
    return f"TRY_CAST({parts['y']} || '-' || {parts['m']} || '-' || {parts['d']} AS DATE)"


def stretch_note(values: Mapping[str, float]) -> tuple[str, str | None] | None:
    """Return a note on texts that are all weeks, quarters or halves of years."""
    found = set()
    for value in values:
        read = _read(value)
        found.add(None if read is None or read.clock else _FIRST_DAYS.get(read.style))
    stretch = found.pop() if len(found) == 1 else None
    if stretch not in _TEXTS:
        return None
    return f"{stretch} kept as text, not as their first days", "--column NAME=date"


def count_form(values: Mapping[str, float]) -> tuple[Form, float] | None:
    """Return the form of instants as numbers: seconds since 1970, or days as Excel counts them.

    Args:
        values: stripped texts with the weight of each.
    """
    texts = [v for v in values if _COUNT.fullmatch(v)]
    if not texts:
        return None
    digits = max(len(v) for v in texts)
    kind, sql = _COUNTS[digits]
    pattern = f"[0-9]{{{digits}}}"
    return (
        Form(
            "date",
            kind,
            lambda c: f"CASE WHEN regexp_full_match({c}, '{pattern}') THEN {sql.format(c)} END",
            lambda v: re.fullmatch(pattern, v) is not None,
            f"a count of seconds or days in {digits} digits",
        ),
        sum(values[v] for v in texts if len(v) == digits),
    )


def _without_zone() -> str:
    return f"(?:[T ,]+{CLOCK}(?: Uhr)?)?"
