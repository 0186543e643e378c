"""Columns of NumPy: arrays of one dtype, of any byte order, masked or not."""

import re
from typing import Any

import numpy as np

from flowkit.errors import DataError
from flowkit.schema import objects
from flowkit.schema.series import Series, rebuilding, refused, whole_numbers
from flowkit.schema.ticks import seconds

_WORD = re.compile(r"[<>=|]?[a-zA-Z]+\d*(\[\d*[a-zA-Z]+\])?")
# Numbers, times, text of fixed length; those of text in bytes and objects have readers of their
# own.
_KINDS = "fiubMmUSO"
_BY_TICKS = ("s", "ms", "us", "ns", "ps", "fs", "as")


def read(name: str, column: np.ndarray, rows_from: int = 0) -> Series:
    """Return a column as arrays.

    Raises:
        DataError: a dtype without scalars that a density is of, or a value that is none.
    """
    if column.ndim != 1:
        raise refused(name, f"{column.dtype}, with {column.ndim - 1} more axes")
    mask = np.zeros(len(column), dtype=bool)
    if isinstance(column, np.ma.MaskedArray):
        mask, column = np.ma.getmaskarray(column), column.data
    return _read(name, column, mask, rows_from)


def _read(name: str, column: np.ndarray, mask: np.ndarray, rows_from: int) -> Series:
    kind, dtype = column.dtype.kind, str(column.dtype)
    if kind == "f":
        values = column.astype(np.float64)
        return Series(name, "float", dtype, values, mask | np.isnan(values))
    if kind in "iu":
        return Series(name, "integer", dtype, whole_numbers(name, column, mask, rows_from), mask)
    if kind == "b":
        return Series(name, "boolean", dtype, column, mask)
    if kind in "Mm":
        return _of_ticks(name, column, mask, rows_from)
    if kind == "O":
        given = column.copy()
        given[mask] = None
        return objects.read(name, given, rows_from)
    if kind == "U":
        return Series(name, "text", dtype, column.astype(object), mask)
    if kind == "S":
        return Series(name, "text", dtype, _decoded(name, column, rows_from), mask)
    if kind == "T":
        na = getattr(column.dtype, "na_object", "")
        if not isinstance(na, str):
            mask = mask | np.isin(np.arange(len(column)), _absent(column))
        values = np.full(len(column), "", dtype=object)
        values[~mask] = column[~mask].astype(object)
        return Series(name, "text", dtype, values, mask)
    raise refused(name, dtype)


def _absent(column: np.ndarray) -> list[int]:
    """Return the rows of variable-width text that are the dtype's missing value."""
    return [i for i, value in enumerate(column.tolist()) if not isinstance(value, str)]


def _of_ticks(name: str, column: np.ndarray, mask: np.ndarray, rows_from: int) -> Series:
    """Return times or durations; durations in months, which have no length, as integers."""
    dtype, missing = str(column.dtype), mask | np.isnat(column)
    unit, per = np.datetime_data(column.dtype)
    letter = column.dtype.kind
    if unit == "generic" or (letter == "m" and unit in ("Y", "M")):
        counts = np.where(missing, 0, column.astype(np.int64))
        if not missing.all():
            counts = whole_numbers(name, counts, missing, rows_from)
        return Series(name, "integer", dtype, counts, missing)
    if unit not in _BY_TICKS or per != 1:
        target = unit if unit in _BY_TICKS else "s"
        column, unit = column.astype(f"{letter}8[{target}]"), target
    ticks = np.where(missing, 0, column.astype(np.int64))
    family = "time" if letter == "M" else "duration"
    return Series(name, family, dtype, seconds(ticks, unit), missing, ticks=ticks, unit=unit)


def _decoded(name: str, column: np.ndarray, rows_from: int) -> np.ndarray:
    """Return text in bytes, as astronomers' files have it, as text."""
    values = np.empty(len(column), dtype=object)
    for i, value in enumerate(column.tolist()):
        try:
            values[i] = value.decode()
        except UnicodeDecodeError as error:
            where = f"column {name!r}, row {rows_from + i}"
            raise DataError(where, "text in UTF-8", repr(value)) from error
    return values


def build(series: Series) -> np.ndarray:
    """Return a series as an array of its dtype; missing values are those of the dtype, if any.

    Raises:
        DataError: the dtype is none of NumPy's.
    """
    if series.dtype.startswith("object"):
        return objects.build(series)
    with rebuilding(series, "NumPy"):
        if series.dtype.startswith("StringDType("):
            return _variable_text(series)
        dtype = dtype_of(series.dtype)
        return _build(series, dtype)


def dtype_of(word: str) -> np.dtype[Any]:
    """Return a dtype by its name, from a closed list of kinds.

    Raises:
        ValueError: it is of another kind.
    """
    dtype = np.dtype(word) if _WORD.fullmatch(word) else None
    if dtype is None or dtype.kind not in _KINDS:
        raise ValueError(word)
    return dtype


def _build(series: Series, dtype: np.dtype[Any]) -> np.ndarray:
    missing = series.missing
    found: np.ndarray
    if dtype.kind == "f":
        found = series.floats(dtype)
        found[missing] = np.nan
    elif dtype.kind in "iu":
        info = np.iinfo(dtype)
        found = series.integers(int(info.min), int(info.max)).astype(dtype)
    elif dtype.kind == "b":
        found = series.booleans()
    elif dtype.kind in "Mm":
        found = _from_ticks(series, dtype)
        found[missing] = np.array("NaT", dtype)
    else:
        texts = np.where(missing, "", series.texts())
        if dtype.kind == "S":
            texts = np.array([text.encode() for text in texts], dtype=object)
        found = texts.astype(dtype)
    return found


def _from_ticks(series: Series, dtype: np.dtype[Any]) -> np.ndarray:
    unit, per = np.datetime_data(dtype)
    letter, family = dtype.kind, "time" if dtype.kind == "M" else "duration"
    found: np.ndarray
    if unit == "generic" or (letter == "m" and unit in ("Y", "M")):
        found = series.integers(-(2**62), 2**62).astype(dtype)
    elif unit in _BY_TICKS and per == 1:
        found = series.in_ticks(unit, family).astype(f"{letter}8[{unit}]").astype(dtype)
    else:  # the nearer of the two that a time is between: conversion would take the earlier
        target = unit if unit in _BY_TICKS else "s"
        exact = series.in_ticks(target, family).astype(f"{letter}8[{target}]")
        before = exact.astype(dtype)
        after = before + np.ones((), dtype=f"m8[{per}{unit}]")
        nearer = (after.astype(exact.dtype) - exact) < (exact - before.astype(exact.dtype))
        found = np.where(nearer, after, before)
    return found


def _variable_text(series: Series) -> np.ndarray:
    options: dict[str, Any] = {}
    word = series.dtype.removeprefix("StringDType(").removesuffix(")")
    for option in filter(None, word.split(", ")):
        key, _, value = option.partition("=")
        options[key] = {"nan": np.nan, "None": None, "False": False, "True": True}[value]
    variable = np.dtypes.StringDType
    dtype = variable(**options)
    texts = series.texts()
    texts[series.missing] = options.get("na_object", "")
    return texts.astype(dtype)
