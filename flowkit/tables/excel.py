"""Workbooks of Excel, read through openpyxl."""

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from flowkit.errors import DataError
from flowkit.tables.arrow_table import ArrowTable
from flowkit.tables.formats import library
from flowkit.tables.header import find_layout
from flowkit.tables.held_table import look_at_texts
from flowkit.tables.options import Note, ReadOptions

_HEAD = 400
_TYPES: tuple[tuple[type | tuple[type, ...], Any], ...] = (
    (bool, pa.bool_()),
    (int, pa.int64()),
    ((int, float), pa.float64()),
    (datetime.datetime, pa.timestamp("us")),
    (datetime.time, pa.time64("us")),
    (datetime.timedelta, pa.duration("us")),
)


def read(path: Path, options: ReadOptions, scratch: Path) -> ArrowTable:
    """Return the table in one sheet of a workbook: the first, or the one that options name.

    Raises:
        DataError: no workbook, no such sheet, an empty sheet.
    """
    openpyxl = library("openpyxl", path)
    notes: list[Note] = []
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # openpyxl raises errors of zipfile, of XML, and its own
        raise DataError("table", "an Excel workbook (.xlsx)", f"{path}: {error}") from error
    try:
        sheet = _sheet(book, options, notes, path)
        lines = [
            (number, list(row))
            for number, row in enumerate(sheet.iter_rows(values_only=True), 1)
            if any(cell is not None and cell != "" for cell in row)
        ]
    finally:
        book.close()
    lines = [(number, row) for number, row in lines if number > options.skip]
    if not lines:
        raise DataError("table", "at least one row", f"none in {path}")
    width = max(_last(row) for _, row in lines)
    lines = [(number, (row + [None] * width)[:width]) for number, row in lines]
    texts = [(number, [_text(cell) for cell in row]) for number, row in lines[:_HEAD]]
    layout = find_layout(texts, options, None)
    notes += layout.notes
    body = lines[layout.first :]
    if not body:
        raise DataError("table", "at least one row", f"only a line of names in {path}")
    columns = [_column([row[j] for _, row in body]) for j in range(width)]
    table = pa.Table.from_arrays(columns, names=list(layout.names))
    return look_at_texts(table, options, scratch, notes, body[0][0])


def _sheet(book: Any, options: ReadOptions, notes: list[Note], path: Path) -> Any:
    names = book.sheetnames
    if options.sheet is None:
        if len(names) > 1:
            text = f"read the sheet {names[0]!r}, the first of {len(names)}"
            notes.append(Note(None, text, "--sheet"))
        return book[names[0]]
    if isinstance(options.sheet, int) or str(options.sheet).isdigit():
        number = int(options.sheet)
        if 1 <= number <= len(names):
            return book[names[number - 1]]
    if options.sheet in names:
        return book[options.sheet]
    raise DataError("sheet", f"one of {', '.join(names)}", f"{options.sheet!r} of {path}")


def _last(row: list[Any]) -> int:
    return max((j + 1 for j, cell in enumerate(row) if cell not in (None, "")), default=0)


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    return str(cell)


def _column(cells: list[Any]) -> pa.Array:
    present = [cell for cell in cells if cell is not None and cell != ""]
    if not present:
        return pa.nulls(len(cells), pa.null())
    for kind, arrow in _TYPES:
        if all(isinstance(cell, kind) for cell in present) and (
            kind is bool or not any(isinstance(cell, bool) for cell in present)
        ):
            values = [None if cell == "" else cell for cell in cells]
            array = pa.array(values, arrow)
            return _as_dates(array) if pa.types.is_timestamp(arrow) else array
    return pa.array([None if cell is None else _text(cell) for cell in cells], pa.string())


def _as_dates(array: pa.Array) -> pa.Array:
    """Return times that are all midnight as dates: Excel knows no others."""
    dates = array.cast(pa.date32())  # which drops the time of day without an error
    return dates if dates.cast(array.type).equals(array) else array
