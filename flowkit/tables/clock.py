"""Times of day and durations as people write them."""

import re
from collections.abc import Mapping

import pyarrow as pa

from flowkit.tables.engine import literal
from flowkit.tables.forms import Form

_HOUR = "(?:[01]?[0-9]|2[0-3])"
_HALF = "(?: ?[AaPp]\\.?[Mm]\\.?)"
# A time of day, without groups, for Python and RE2.
CLOCK = rf"{_HOUR}:[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]{{1,9}})?)?{_HALF}?"
_TIME = re.compile(CLOCK)
# As people say it: 14.35 Uhr, 14h35, kl. 14.35.
_SAID = rf"(?:kl\.? ?{_HOUR}[.:][0-5][0-9]|{_HOUR}[.:][0-5][0-9] ?Uhr|{_HOUR} ?h ?[0-5][0-9])"
_SAID_TIME = re.compile(_SAID)
_TWELVE = re.compile(rf"(?:0?[1-9]|1[0-2]):.*{_HALF}|[^AaPp]*")

_SECONDS = r"[0-5]?[0-9](?:\.[0-9]{1,9})?"
_LONG = rf"-?[0-9]+:[0-5][0-9]:{_SECONDS}"
_DAYS = rf"-?[0-9]+ days?,? \+?[0-9]{{1,2}}:[0-5][0-9]:{_SECONDS}|-?[0-9]+ days?"
_ISO = r"P(?:[0-9]+D)?(?:T(?:[0-9]+H)?(?:[0-9]+M)?(?:[0-9]+(?:\.[0-9]+)?S)?)?"
_WORDS = (
    r"(?:[0-9]+ ?h(?:ours?|rs?)? ?)?(?:[0-9]+ ?m(?:in(?:utes?|s)?)? ?)?"
    r"(?:[0-9]+(?:\.[0-9]+)? ?s(?:ec(?:onds?|s)?)?)?"
)
_SHORT = r"[0-9]+:[0-5][0-9](?:\.[0-9]{1,9})?"


def time_form(values: Mapping[str, float]) -> tuple[Form, float] | None:
    """Return the form of times of day, and the weight of the values that it fits."""
    weight = sum(w for v, w in values.items() if _is_time(v))
    if not weight:
        return None
    said = any(_SAID_TIME.fullmatch(v) for v in values)
    note = "times of day"
    if not any(_HALF_AT_END.search(v) for v in values):
        note += "; elapsed times?"
    form = Form(
        "time",
        pa.time64("us"),
        lambda c: (
            f"CASE WHEN regexp_full_match({c}, {literal(CLOCK)}) "
            f"THEN TIME '00:00:00' + to_microseconds({clock_microseconds(c, zone=False)}) "
            f"{_said(c) if said else ''} END"
        ),
        _is_time,
        "a time of day",
        notes=((note, "--column NAME=duration"),),
    )
    return form, weight


_HALF_AT_END = re.compile(f"{_HALF}$")


def _is_time(value: str) -> bool:
    if _SAID_TIME.fullmatch(value):
        return True
    return _TIME.fullmatch(value) is not None and _TWELVE.fullmatch(value) is not None


def _said(c: str) -> str:
    hour, minute = _integer(c, "([0-9]{1,2})"), _integer(c, "[0-9] ?[.:h] ?([0-5][0-9])")
    time = f"TIME '00:00:00' + to_seconds(({hour} * 60 + {minute}) * 60)"
    return f"WHEN regexp_full_match({c}, {literal(_SAID)}) THEN {time}"


def clock_microseconds(c: str, *, zone: bool) -> str:
    """Return the microseconds from midnight of the time of day in an expression of text.

    Args:
        c: the expression; the time is the first part of it with a colon.
        zone: whether a time zone follows, which is taken away.
    """
    hour = _integer(c, r"([0-9]{1,2}):[0-5][0-9]")
    minute = _integer(c, r"[0-9]{1,2}:([0-5][0-9])")
    second = _integer(c, r"[0-9]{1,2}:[0-5][0-9]:([0-5][0-9])")
    digits = f"regexp_extract({c}, ':[0-5][0-9][.,]([0-9]+)', 1)"
    fraction = f"CAST(rpad(substr({digits}, 1, 6), 6, '0') AS BIGINT)"
    half = f"lower(regexp_extract({c}, ':[0-5][0-9](?:[.,][0-9]+)? ?([AaPp])\\.?[Mm]', 1))"
    # Noon is 12 pm and midnight 12 am.
    hours = f"CASE {half} WHEN 'a' THEN {hour} % 12 WHEN 'p' THEN {hour} % 12 + 12 ELSE {hour} END"
    seconds = f"(({hours}) * 3600 + {minute} * 60 + {second})"
    if zone:
        away = rf":[0-5][0-9](?:[.,][0-9]+)?{_HALF}?(?: Uhr)? ?(?:UTC|GMT)?"
        h = _integer(c, away + "[-+]([0-9]{1,2})")
        m = _integer(c, away + "[-+][0-9]{1,2}:?([0-9]{2})")
        west = f"regexp_matches({c}, {literal(away + '-')})"
        seconds += f" - (CASE WHEN {west} THEN -1 ELSE 1 END) * ({h} * 3600 + {m} * 60)"
    return f"(({seconds}) * 1000000 + {fraction})"


def duration_form(values: Mapping[str, float], *, told: bool = False) -> tuple[Form, float] | None:
    """Return the form of durations, and the weight of the values that it fits.

    Args:
        values: stripped texts with the weight of each.
        told: whether the user said that these are durations.
    """
    styles = (_LONG, _DAYS, _ISO, _WORDS)
    # 75:30 is minutes and seconds; without an hour above 23 it may be a time of day.
    short = any(re.fullmatch(_SHORT, v) and (told or int(v.split(":")[0]) > 23) for v in values)
    pattern = "|".join((*styles, _SHORT) if short else styles)
    compiled = re.compile(f"(?=[-P0-9])(?:{pattern})(?<![PT])")
    weight = sum(w for v, w in values.items() if compiled.fullmatch(v))
    if not weight:
        return None
    notes: list[tuple[str, str | None]] = [("durations", "--column NAME=text")]
    if short:
        notes = [("durations, of minutes and seconds where they have one colon", None)]
    form = Form(
        "duration",
        pa.duration("us"),
        lambda c: f"CASE WHEN regexp_full_match({c}, {literal(pattern)}) THEN {_elapsed(c)} END",
        lambda v: compiled.fullmatch(v) is not None,
        "a duration",
        notes=tuple(notes),
    )
    return form, weight


def _elapsed(c: str) -> str:
    """Return the microseconds of a duration; parts that are not there count nothing."""
    clock = rf"([0-9]+):([0-5][0-9]):({_SECONDS})$"
    short = r"^([0-9]+):([0-5][0-9](?:\.[0-9]+)?)$"
    days = _integer(c, r"([0-9]+) ?(?:D|days?)\b")
    hours = f"({_integer(c, clock, 1)} + {_integer(c, '([0-9]+) ?[Hh]')})"
    minutes = (
        f"({_integer(c, clock, 2)} + {_integer(c, '([0-9]+) ?[Mm]')} + {_integer(c, short, 1)})"
    )
    seconds = f"({_real(c, clock, 3)} + {_real(c, '([0-9.]+) ?[Ss]')} + {_real(c, short, 2)})"
    # Of pandas' "-1 days +22:00:00" only the days are negative.
    sign = f"CASE WHEN starts_with({c}, '-') THEN -1 ELSE 1 END"
    rest = f"CASE WHEN starts_with({c}, '-') AND NOT contains({c}, 'day') THEN -1 ELSE 1 END"
    day = f"({sign}) * {days} * 86400000000"
    clock_part = f"({hours} * 3600000000 + {minutes} * 60000000)"
    return f"({day} + ({rest}) * ({clock_part} + CAST(round({seconds} * 1000000) AS BIGINT)))"


def _integer(c: str, pattern: str, group: int = 1) -> str:
    found = f"regexp_extract({c}, {literal(pattern)}, {group})"
    return f"COALESCE(TRY_CAST({found} AS BIGINT), 0)"


def _real(c: str, pattern: str, group: int = 1) -> str:
    found = f"regexp_extract({c}, {literal(pattern)}, {group})"
    return f"COALESCE(TRY_CAST({found} AS DOUBLE), 0)"
