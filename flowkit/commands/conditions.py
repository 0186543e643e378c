"""Conditions on columns as text of the command line, such as ``age=60..`` and ``town=Ulm``."""

import datetime as dt
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from flowkit.errors import ArgumentError
from flowkit.schema import Column, Schema
from flowkit.schema.array_tables import Arrays
from flowkit.schema.arrow_tables import of_frame
from flowkit.schema.codec import series_of
from flowkit.schema.frames import read, table_of
from flowkit.schema.objects import zone_named
from flowkit.schema.precision import is_duration
from flowkit.schema.ticks import DAY
from flowkit.tabular.conditioning.conditions import column_named

_OPTION = "given"
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_CLOCK = re.compile(r"(-?)(\d+):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?")
# A text, in double quotes or without, and what ends it.
_TEXT = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,"]*?))\s*(,|$)')


def read_conditions(items: Sequence[str], schema: Schema) -> dict[str, Any]:
    """Return conditions for `FlowDensity.given` from texts ``COLUMN=VALUE``.

    Numbers and times may be a value, a range ``LOW..HIGH`` with one end or both, or values
    separated by commas. Texts may be a value or texts separated by commas; those with a comma are
    in double quotes, as in CSV. A text that the fit has seen as a whole needs no quotes.

    Args:
        items: the texts.
        schema: of the model.

    Raises:
        ArgumentError: no such column, one that stands twice, all columns with a value, or a text
            that is no value of its column.
    """
    conditions: dict[str, Any] = {}
    for item in items:
        name, text = _parted(item, schema)
        column = column_named(schema, name, _OPTION)
        if name in conditions:
            raise ArgumentError(
                _OPTION, f"column {name!r} stands twice; give one range or set of it"
            )
        conditions[name] = _condition(column, text)
    fixed = {name for name, condition in conditions.items() if is_value(condition)}
    if fixed >= set(schema.modelled):
        raise ArgumentError(
            _OPTION, "every column has a value, so that no column is left to draw; leave one out"
        )
    return conditions


def is_value(condition: object) -> bool:
    """Whether a condition is one value, and no range and no set."""
    return not isinstance(condition, tuple | set)


def constant(column: Column, value: Any, rows: int, library: str) -> pa.ChunkedArray:
    """Return a column of one value, in the type that the column has in samples.

    Raises:
        ArgumentError: the type has no such value.
    """
    missing = np.full(rows, value is None)
    number: Any = value
    if column.kind == "datetime" and value is not None:
        number = read(Arrays({"": np.array([value], dtype=object)}, {}), "").values[0]
    values: np.ndarray = np.full(rows, 0.0 if value is None else number)
    if column.kind == "categorical":
        values = np.full(rows, value, dtype=object)
    built = table_of([series_of(column, values, missing)], library)
    if isinstance(built, np.ndarray):
        built = Arrays({column.name: built[:, 0]}, {})
    table = of_frame(built)
    if column.kind not in ("categorical", "datetime") and value is not None:
        written = float(read(table, column.name).values[0])
        if not np.isclose(written, value, rtol=1e-6):
            raise ArgumentError(
                f"column {column.name!r}",
                f"{value:g} is no value of its type, {column.dtype}; the nearest is {written:g}",
            )
    return table.column(0)


def _parted(item: str, schema: Schema) -> tuple[str, str]:
    """Return the name and the text of a condition; a name may have an equals sign inside."""
    known = [name for name in schema.names if item.startswith(f"{name}=")]
    name = max(known, key=len) if known else item.partition("=")[0]
    if not name or "=" not in item:
        raise ArgumentError(_OPTION, "COLUMN=VALUE", repr(item))
    return name, item[len(name) + 1 :]


def _condition(column: Column, text: str) -> Any:
    """Return what a text says of a column."""
    numeric = [isinstance(c, int | float) and not isinstance(c, bool) for c in column.categories]
    if column.kind == "categorical" and not all(numeric):
        return _of_texts(column, text)
    if ".." in text:
        low, _, high = text.partition("..")
        if not (low.strip() or high.strip()):
            raise _wrong(column, text)
        return tuple(_number(column, end.strip(), text) for end in (low, high))
    if "," in text:
        return {_number(column, part.strip(), text) for part in text.split(",")}
    return _number(column, text.strip(), text)


def _of_texts(column: Column, text: str) -> Any:
    """Return a category, or a set of them."""
    if not text:
        return None
    if text in map(str, column.categories):
        return _category(column, text)
    values, at = [], 0
    while True:
        match = _TEXT.match(text, at)
        if match is None:
            raise ArgumentError(
                f"column {column.name!r}",
                "texts separated by commas, those with a comma or a quote in double quotes",
                repr(text),
            )
        quoted, bare, end = match.groups()
        if quoted is not None:
            values.append(_category(column, quoted.replace('""', '"')))
        else:
            values.append(_category(column, bare) if bare else None)
        at = match.end()
        if not end:
            return values[0] if len(values) == 1 else set(values)


def _category(column: Column, text: str) -> Any:
    """Return the category with this text; a text that is none is left to the density's error."""
    for category in column.categories:
        same = str(category) == text
        if same or (isinstance(category, bool) and str(category).lower() == text.lower()):
            return category
    return text


def _number(column: Column, part: str, text: str) -> Any:
    """Return a number, a time or, of an empty text, None."""
    if not part:
        return None
    try:
        if column.kind == "datetime":
            return _instant(column, part)
        clock = _CLOCK.fullmatch(part)
        if clock is not None and (column.period == DAY or is_duration(column.dtype)):
            sign, hours, minutes, seconds = clock.groups()
            total = 3600 * int(hours) + 60 * int(minutes) + float(seconds or 0)
            return -total if sign else total
        value = int(part) if _WHOLE.fullmatch(part) else float(part)
    except ArgumentError:  # which is a ValueError too
        raise
    except ValueError as error:
        raise _wrong(column, text) from error
    if not abs(value) < float("inf"):
        raise _wrong(column, text)
    return value


def _instant(column: Column, part: str) -> dt.datetime:
    """Return a time; without a zone of its own, one in the zone of the column."""
    value = dt.datetime.fromisoformat(part)
    if column.zone is None:
        if value.tzinfo is not None:
            raise ArgumentError(
                f"column {column.name!r}", "a time without a zone, as its times have none", part
            )
        return value
    return value if value.tzinfo is not None else value.replace(tzinfo=zone_named(column.zone))


def _wrong(column: Column, text: str) -> ArgumentError:
    """Return the error of a text that is no condition."""
    what, value, other = "a number", "30", "60"
    if column.kind == "datetime":
        what, value, other = "a time", "2024-01-31", "2024-12-31T18:00"
    elif column.period == DAY or is_duration(column.dtype):
        what, value, other = "a time", "8:30", "17:00"
    expected = f"{what}, a range such as {value}..{other}, {value}.. or ..{other}, or a set"
    return ArgumentError(
        f"column {column.name!r}", f"{expected} such as {value},{other}", repr(text)
    )
