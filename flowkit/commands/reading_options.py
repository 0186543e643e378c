"""Options of the command line for reading a table, the same for each command that reads one."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

_OPTIONS: dict[str, tuple[Any, str]] = {
    "separator": (str | None, "Field separator; tab and space are written as words."),
    "decimal": (str | None, "Decimal mark, . or ,"),
    "thousands": (str | None, "Thousands separator; none if there is none."),
    "missing": (list[str] | None, "Additional spelling of missing values; may be repeated."),
    "present": (list[str] | None, "Spelling that looks missing and is a value; may be repeated."),
    "encoding": (str | None, "Encoding of the text, e.g. cp1252."),
    "comment": (str | None, "Start of comment lines, which are skipped."),
    "skip": (int, "Number of lines to skip above the table."),
    "drop": (list[str] | None, "Column to leave out; may be repeated."),
    "keep": (list[str] | None, "Column to read, all others are left out; may be repeated."),
    "dates": (str | None, "Order of dates like 07/04/2023: day-first or month-first."),
    "sheet": (str | None, "Sheet of a workbook, or table of a FITS, ROOT or HDF5 file."),
}
_FLAGS = {
    "header": (
        bool | None,
        "--header/--no-header",
        "Whether the first line holds the names.",
    ),
    "empty": (bool, "--empty", "Keep columns and rows without any value."),
    "total": (bool, "--total", "Keep a last row of totals."),
}
_PANEL = "Reading the table (guessed unless given; each guess is printed)"
_WORDS = {"tab": "\t", "none": ""}


def reads_a_table(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of reading to a command, which gets them as ``reading``, a mapping."""
    names = [*_OPTIONS, *_FLAGS]

    @functools.wraps(command)
    def wrapped(**arguments: Any) -> None:
        given = {name: arguments.pop(name) for name in names}
        command(**arguments, reading=_plain(given))

    own = [p for p in inspect.signature(command).parameters.values() if p.name != "reading"]
    added = [
        _parameter(name, kind, typer.Option(help=text, rich_help_panel=_PANEL))
        for name, (kind, text) in _OPTIONS.items()
    ]
    added += [
        _parameter(name, kind, typer.Option(flag, help=text, rich_help_panel=_PANEL))
        for name, (kind, flag, text) in _FLAGS.items()
    ]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *added)]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


def _parameter(name: str, kind: Any, option: Any) -> inspect.Parameter:
    default = {bool: False, int: 0}.get(kind)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options as `ReadOptions` takes them."""
    for name in ("missing", "present", "drop", "keep"):
        given[name] = tuple(given[name] or ())
    for name in ("separator", "thousands"):
        given[name] = _WORDS.get(given[name], given[name])
    return given
