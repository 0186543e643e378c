"""Columns of Python objects: numbers, booleans, decimals, dates and times among ``None``."""

import datetime as dt
from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from flowkit.errors import DataError
from flowkit.schema.series import REFUSED, Series, whole_numbers
from flowkit.schema.ticks import seconds

_EPOCH = dt.datetime(1970, 1, 1)
_MICROSECOND = dt.timedelta(microseconds=1)
_WIDE = Context(prec=100)

# The first whose types all values have; a boolean is an integer in Python, a time a date.
_KINDS: tuple[tuple[str, tuple[type, ...], tuple[type, ...]], ...] = (
    ("bool", (bool, np.bool_), ()),
    ("int", (int, np.integer), ()),
    ("float", (float, int, np.floating, np.integer, np.bool_), ()),
    ("Decimal", (Decimal, int), (bool,)),
    ("datetime", (dt.datetime,), ()),
    ("date", (dt.date,), (dt.datetime,)),
    ("time", (dt.time,), ()),
    ("timedelta", (dt.timedelta,), ()),
    ("text", (str, bool, int, float, np.bool_, np.number), (complex, np.complexfloating)),
)
_SCALARS = tuple(t for _, types, _ in _KINDS for t in types)


def read(name: str, values: Sequence[Any] | np.ndarray, rows_from: int = 0) -> Series:
    """Return a column of Python objects as arrays.

    Its dtype is "object<int>", or whatever else the values are; "object" of text, and of text
    with numbers among it, which are read as text.

    Raises:
        DataError: a value is no scalar, or of a type that does not go with the others; its row
            is named.
    """
    missing = np.array([_is_missing(value) for value in values], dtype=bool)
    present = [value for value, m in zip(values, missing, strict=True) if not m]
    if not present:
        return _read_texts(name, present, missing, rows_from)
    for kind, types, others in _KINDS:
        if all(isinstance(v, types) and not isinstance(v, others) for v in present):
            return _READERS[kind](name, present, missing, rows_from)
    raise _odd_one_out(name, values, missing, rows_from)


def build(series: Series) -> np.ndarray:
    """Return an object array of the values, None where they are missing."""
    word = series.dtype.removeprefix("object").strip("<>")
    kind, _, option = word.partition(", ")
    kind, _, places = kind.rstrip(")").partition("(")
    found = np.empty(len(series.values), dtype=object)
    found[:] = _builder(kind, option, places)(series)
    found[series.missing] = None
    return found


def _builder(kind: str, zone: str, places: str) -> Callable[[Series], list[Any]]:
    if kind == "Decimal":
        return lambda series: decimals(series, int(places))
    if kind == "datetime":
        return lambda series: _datetimes(series, zone)
    return _BUILDERS[kind]


def decimals(series: Series, scale: int, digits: int | None = None) -> list[Decimal | None]:
    """Return numbers as decimals of some places behind the point.

    Args:
        series: the numbers.
        scale: how many places; below zero, powers of ten.
        digits: how many digits there are in all; what needs more becomes the largest of these.
    """
    step = Decimal(1).scaleb(-scale)
    most = None if digits is None else (10**digits - 1) * step
    found: list[Decimal | None] = []
    for value, m in zip(series.numbers().tolist(), series.missing.tolist(), strict=True):
        if m:
            found.append(None)
            continue
        exact = Decimal(repr(value))
        if most is not None:
            exact = max(-most, min(most, exact))
        # To an integer of steps first: so no context's precision limits the digits.
        found.append(Decimal(round(exact.scaleb(scale, _WIDE))).scaleb(-scale, _WIDE))
    return found


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, float | np.floating) and bool(value != value)


def _odd_one_out(name: str, values: Any, missing: np.ndarray, rows_from: int) -> DataError:
    found = [(i, values[i]) for i in np.flatnonzero(~missing)]
    first = type(found[0][1])
    strange = [(i, v) for i, v in found if not isinstance(v, _SCALARS)]
    others = [(i, v) for i, v in found if type(v) is not first]
    row, value = (strange or others or found)[0]
    where, got = f"column {name!r}, row {rows_from + row}", f"a {type(value).__name__}"
    if strange or not others:
        return DataError(where, REFUSED, f"{got}: {_short(value)}")
    expected = f"one type of values in all rows, {first.__name__} as in the first"
    return DataError(where, expected, f"{got}: {_short(value)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _spread(present: Sequence[Any], missing: np.ndarray, dtype: Any) -> np.ndarray:
    """Return present values at their rows, zeros elsewhere."""
    found = np.zeros(len(missing), dtype=dtype)
    found[~missing] = np.array(present, dtype=dtype)
    return found


def _read_integers(name: str, present: list[Any], missing: np.ndarray, rows_from: int) -> Series:
    every = np.zeros(len(missing), dtype=object)
    every[~missing] = present
    values = whole_numbers(name, every, missing, rows_from)
    return Series(name, "integer", "object<int>", values, missing)


def _read_decimals(name: str, present: list[Any], missing: np.ndarray, rows_from: int) -> Series:
    del rows_from
    exponents = [Decimal(v).as_tuple().exponent for v in present]
    places = max(0, *(-e for e in exponents if isinstance(e, int)), 0)
    values = _spread([float(v) for v in present], missing, np.float64)
    return Series(name, "float", f"object<Decimal({places})>", values, missing)


def _read_times(name: str, present: list[Any], missing: np.ndarray, rows_from: int) -> Series:
    aware = present[0].utcoffset() is not None
    for row, value in zip(np.flatnonzero(~missing), present, strict=True):
        if (value.utcoffset() is not None) != aware:
            where = f"column {name!r}, row {rows_from + row}"
            expected = f"a time {'with' if aware else 'without'} a zone, as in the rows before"
            raise DataError(where, expected, _short(value))
    if not aware:
        ticks = [(v - _EPOCH) // _MICROSECOND for v in present]
        return _in_microseconds(name, "time", "object<datetime>", ticks, missing)
    utc = _EPOCH.replace(tzinfo=dt.UTC)
    ticks = [(v - utc) // _MICROSECOND for v in present]
    found = {getattr(v.tzinfo, "key", None) or str(v.tzinfo) for v in present}
    zone = found.pop() if len(found) == 1 else "UTC"
    if zone_named(zone) is None:
        zone = "UTC"
    return _in_microseconds(name, "time", f"object<datetime, {zone}>", ticks, missing, zone)


def _in_microseconds(
    name: str,
    family: str,
    dtype: str,
    ticks: list[int],
    missing: np.ndarray,
    zone: str | None = None,
) -> Series:
    every = _spread(ticks, missing, np.int64)
    return Series(
        name, family, dtype, seconds(every, "us"), missing, zone=zone, ticks=every, unit="us"
    )


def _read_dates(name: str, present: list[Any], missing: np.ndarray, rows_from: int) -> Series:
    del rows_from
    days = _spread([(v - _EPOCH.date()).days for v in present], missing, np.int64)
    return Series(name, "time", "object<date>", seconds(days, "D"), missing, ticks=days, unit="D")


def _read_texts(name: str, present: list[Any], missing: np.ndarray, rows_from: int) -> Series:
    del rows_from
    values = np.full(len(missing), "", dtype=object)
    values[~missing] = [str(v) for v in present]
    return Series(name, "text", "object", values, missing)


def _read_clocks(name: str, present: list[Any], missing: np.ndarray, rows_from: int) -> Series:
    for row, value in zip(np.flatnonzero(~missing), present, strict=True):
        if value.tzinfo is not None:
            where = f"column {name!r}, row {rows_from + row}"
            raise DataError(where, "a time of day without a zone", _short(value))
    day = dt.date(1970, 1, 1)
    ticks = [(dt.datetime.combine(day, v) - _EPOCH) // _MICROSECOND for v in present]
    return _in_microseconds(name, "clock", "object<time>", ticks, missing)


def zone_named(name: str) -> dt.tzinfo | None:
    """Return a time zone by its name: "Europe/Berlin", or "UTC+02:00"; None if there is none."""
    if name in ("UTC", "utc"):
        return dt.UTC
    try:
        if name.startswith("UTC"):
            offset = dt.datetime.strptime(name.removeprefix("UTC"), "%z").utcoffset()
            return None if offset is None else dt.timezone(offset)
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _datetimes(series: Series, zone: str) -> list[Any]:
    ticks = series.in_ticks("us", "time", calendar=True).tolist()
    if not zone:
        return [_EPOCH + dt.timedelta(microseconds=t) for t in ticks]
    utc, own = _EPOCH.replace(tzinfo=dt.UTC), zone_named(zone) or dt.UTC
    # A day from the ends: a zone must not leave the years 1 to 9999.
    first, last = -62_135_510_400_000_000, 253_402_214_400_000_000
    return [
        (utc + dt.timedelta(microseconds=min(max(t, first), last))).astimezone(own) for t in ticks
    ]


def _dates(series: Series) -> list[Any]:
    days = series.in_ticks("D", "time", calendar=True).clip(-719_162, 2_932_896)
    return [_EPOCH.date() + dt.timedelta(days=d) for d in days.tolist()]


def _clocks(series: Series) -> list[Any]:
    ticks = series.in_ticks("us", "clock").tolist()
    return [(_EPOCH + dt.timedelta(microseconds=t)).time() for t in ticks]


def _durations(series: Series) -> list[Any]:
    ticks = series.in_ticks("us", "duration").tolist()
    most = dt.timedelta.max // _MICROSECOND
    return [dt.timedelta(microseconds=min(max(t, -most), most)) for t in ticks]


_READERS: dict[str, Callable[[str, list[Any], np.ndarray, int], Series]] = {
    "bool": lambda name, present, missing, _: Series(
        name, "boolean", "object<bool>", _spread(present, missing, bool), missing
    ),
    "int": _read_integers,
    "float": lambda name, present, missing, _: Series(
        name, "float", "object<float>", _spread(present, missing, np.float64), missing
    ),
    "Decimal": _read_decimals,
    "datetime": _read_times,
    "date": _read_dates,
    "time": _read_clocks,
    "timedelta": lambda name, present, missing, _: _in_microseconds(
        name, "duration", "object<timedelta>", [v // _MICROSECOND for v in present], missing
    ),
    "text": _read_texts,
}

_BUILDERS: dict[str, Callable[[Series], list[Any]]] = {
    "": lambda series: series.values.tolist(),
    "bool": lambda series: series.booleans().tolist(),
    "int": lambda series: series.integers(-(2**63), 2**63 - 1).tolist(),
    "float": lambda series: series.numbers().tolist(),
    "date": _dates,
    "time": _clocks,
    "timedelta": _durations,
}
