"""Schemas as TOML documents that a person edits."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from flowkit._atomic import write_atomically
from flowkit.errors import ArgumentError, DataError
from flowkit.schema.schema import Schema

# Longer lists of categories are not written: they are inferred again.
_MOST_CATEGORIES = 50
# What is inferred again: an entry stays right when only its kind is edited.
_WRITTEN = ("kind", "lower", "upper", "period", "categories")
_HEAD = """\
# What each column of the table is. Edit this file and hand it back:
#     flowkit fit TABLE --schema THIS_FILE --out MODEL
# Kinds: real, positive, bounded (lower, upper), circular (period), datetime, integer, boolean,
# categorical (categories), code, count, time, duration, identifier. A column without an entry is
# inferred. `drop = true` leaves a column out.
"""


def write_schema(
    path: str | os.PathLike[str], schema: Schema, reading: Mapping[str, Any] | None = None
) -> None:
    """Write a schema, and how its table was read, as TOML.

    Args:
        path: where to; the file appears once it is whole.
        schema: the schema.
        reading: options of `flowkit.tables.ReadOptions` that were given, none of them None.

    Raises:
        DataError: the file cannot be written.

    Example:
        >>> import tempfile, numpy as np
        >>> path = Path(tempfile.mkdtemp(), "schema.toml")
        >>> write_schema(path, Schema.infer(np.random.default_rng(0).normal(size=(30, 1))))
        >>> read_schema(path)
        ({'x0': {'kind': 'real'}}, {})
    """
    columns = {}
    for column in schema.columns:
        entry = {k: v for k, v in column.to_dict().items() if k in _WRITTEN}
        if len(entry.get("categories", ())) > _MOST_CATEGORIES:
            del entry["categories"]
        columns[column.name] = entry
    document: dict[str, Any] = {"reading": dict(reading)} if reading else {}
    text = _HEAD + tomli_w.dumps({**document, "columns": columns})
    try:
        write_atomically(Path(path), [text.encode()])
    except OSError as error:
        raise DataError("schema", "a place to write to", f"{path}: {error}") from error


def read_schema(
    path: str | os.PathLike[str],
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return what a TOML document says of columns, and how their table is to be read.

    Columns with ``drop = true`` are listed under ``"drop"`` of the latter.

    Raises:
        ArgumentError: the file cannot be read, is no TOML, or has other tables than ``columns``
            and ``reading``; the message names the line.
    """
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ArgumentError("schema", "a TOML file that can be read", f"{path}: {error}") from error
    columns, reading = document.pop("columns", {}), document.pop("reading", {})
    if document or not all(isinstance(part, dict) for part in (columns, reading)):
        raise ArgumentError("schema", "the tables [columns] and [reading] alone", list(document))
    told, dropped = {}, []
    for name, entry in columns.items():
        if not isinstance(entry, dict):
            raise ArgumentError("schema", f"options of column {name!r} as a table", repr(entry))
        options = dict(entry)
        if options.pop("drop", False):
            dropped.append(name)
        elif options:
            told[name] = options
    # A column may be dropped in either place; an entry beside is then without effect.
    dropped = [*reading.get("drop", []), *dropped]
    told = {name: options for name, options in told.items() if name not in dropped}
    if dropped:
        reading = {**reading, "drop": dropped}
    missing = set(reading.get("missing", []))
    for options in told.values():
        if missing and "categories" in options:
            options["categories"] = [c for c in options["categories"] if c not in missing]
    return told, {k: tuple(v) if isinstance(v, list) else v for k, v in reading.items()}
