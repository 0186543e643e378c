"""Tables written as workbooks and as files of FITS, ROOT, HDF5, Stata, SPSS and SAS."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flowkit.errors import DataError
from flowkit.tables.formats import EXCEL, FITS, HDF5, library

_MOST_EXCEL_ROWS = 2**20 - 1


def sink_of(ending: str, temporary: Path, path: Path) -> Any:
    """Return what tables are written to, in one of the formats of the extras."""
    if ending in EXCEL:
        return _Excel(temporary, library("openpyxl", path))
    if ending == ".root":
        return _Root(temporary, library("uproot", path))
    if ending in FITS:
        return _Whole(temporary, _write_fits, library("astropy.table", path))
    if ending in HDF5:
        return _HDF5(temporary, library("h5py", path))
    return _Whole(temporary, _write_statistics, library("pyreadstat", path))


class _Excel:
    """A workbook, row by row."""

    def __init__(self, path: Path, openpyxl: Any) -> None:
        self._path, self._rows = path, 0
        self._book = openpyxl.Workbook(write_only=True)
        self._sheet = self._book.create_sheet("table")

    def write(self, table: pa.Table) -> None:
        if not self._rows:
            self._sheet.append(table.column_names)
        self._rows += table.num_rows
        if self._rows > _MOST_EXCEL_ROWS:
            expected = f"at most {_MOST_EXCEL_ROWS:,} rows, as Excel has no more; write .csv"
            raise DataError("out", expected, f"{self._rows:,}")
        columns = [[_cell(value) for value in column.to_pylist()] for column in table.columns]
        for row in zip(*columns, strict=True):
            self._sheet.append(row)

    def close(self, *, complete: bool) -> None:
        if complete:
            self._book.save(self._path)
        self._book.close()


def _cell(value: Any) -> Any:
    """Return a value as a cell: neither NaN nor time zones, nor formulas made of text."""
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else str(value)
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.isoformat()
    if value is None or isinstance(value, bool | int | float | str | datetime.timedelta):
        return value
    return value if isinstance(value, datetime.date | datetime.time) else str(value)


class _Root:
    """A tree named "table", piece by piece."""

    def __init__(self, path: Path, uproot: Any) -> None:
        self._file = uproot.recreate(path)
        self._tree: Any = None

    def write(self, table: pa.Table) -> None:
        arrays = {name: _numeric(table.column(name)) for name in table.column_names}
        if self._tree is None:
            self._tree = self._file.mktree("table", {n: _branch(a) for n, a in arrays.items()})
        self._tree.extend(arrays)

    def close(self, *, complete: bool) -> None:
        del complete
        self._file.close()


def _branch(array: Any) -> Any:
    return "string" if isinstance(array, list) else array.dtype


def _numeric(column: pa.ChunkedArray) -> Any:
    """Return a column as numbers that ROOT has, or as a list of texts."""
    kind = column.type
    if pa.types.is_boolean(kind) and not column.null_count:
        return column.to_numpy()
    if pa.types.is_integer(kind) and not column.null_count:
        return column.to_numpy()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64()).to_numpy().astype(_width(kind))
    return ["" if value is None else _text(value) for value in column.to_pylist()]


def _width(kind: pa.DataType) -> Any:
    return np.float32 if kind == pa.float32() else np.float64


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


class _HDF5:
    """A group of data sets of one length, piece by piece."""

    def __init__(self, path: Path, h5py: Any) -> None:
        self._h5py, self._file = h5py, h5py.File(path, "w")

    def write(self, table: pa.Table) -> None:
        for name in table.column_names:
            values = _numeric(table.column(name))
            text = isinstance(values, list)
            if name not in self._file:
                dtype = self._h5py.string_dtype() if text else values.dtype
                self._file.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=True)
            data = self._file[name]
            start = len(data)
            data.resize((start + len(values),))
            data[start:] = values

    def close(self, *, complete: bool) -> None:
        del complete
        self._file.close()


class _Whole:
    """A format whose library writes a table at once: the rows are held in memory."""

    def __init__(self, path: Path, write: Any, used: Any) -> None:
        self._path, self._write, self._used = path, write, used
        self._tables: list[pa.Table] = []

    def write(self, table: pa.Table) -> None:
        self._tables.append(table)

    def close(self, *, complete: bool) -> None:
        if complete:
            self._write(self._path, pa.concat_tables(self._tables), self._used)


def _write_fits(path: Path, table: pa.Table, astropy_table: Any) -> None:
    columns = {}
    for name in table.column_names:
        column = table.column(name)
        kind = column.type
        if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
            values = column.fill_null(False if pa.types.is_boolean(kind) else 0).to_numpy()
            mask = column.is_null().to_numpy()
            columns[name] = np.ma.array(values, mask=mask) if mask.any() else values
            continue
        values = _numeric(column)
        columns[name] = _ascii(name, values) if isinstance(values, list) else values
    astropy_table.Table(columns).write(str(path), format="fits", overwrite=True)


def _ascii(name: str, texts: list[str]) -> np.ndarray:
    for text in texts:
        if not text.isascii():
            expected = "letters of ASCII, as FITS has no others; write .parquet or .csv"
            raise DataError(f"column {name!r}", expected, repr(text))
    return np.array(texts, dtype=np.str_)


def _write_statistics(path: Path, table: pa.Table, pyreadstat: Any) -> None:
    """Write a file of Stata, SPSS or SAS; ordered categories become numbers with labels."""
    import pandas as pd

    frame: dict[str, Any] = {}
    labels: dict[str, dict[int, str]] = {}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_dictionary(column.type):
            unified = column.unify_dictionaries().combine_chunks()
            names = unified.dictionary.to_pylist()
            frame[name] = pd.Series(unified.indices.to_pylist(), dtype="Int32")
            labels[name] = {i: str(label) for i, label in enumerate(names)}
        elif pa.types.is_time(column.type) or pa.types.is_duration(column.type):
            texts = [None if v is None else _text(v) for v in column.to_pylist()]
            frame[name] = pd.Series(texts, dtype=object)
        elif pa.types.is_date(column.type):
            frame[name] = pd.Series(column.to_pylist(), dtype=object)
        elif pa.types.is_timestamp(column.type):
            frame[name] = column.cast(pa.timestamp("us")).to_pandas()
        elif pa.types.is_integer(column.type) and column.null_count:
            frame[name] = pd.Series(column.to_pylist(), dtype="Int64")
        elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            frame[name] = pd.Series(column.to_pylist(), dtype=object)
        else:
            frame[name] = column.to_pandas()
    data = pd.DataFrame(frame)
    if path.suffix == ".xpt":
        pyreadstat.write_xport(data, str(path), file_format_version=8)
    elif path.suffix == ".dta":
        pyreadstat.write_dta(data, str(path), variable_value_labels=labels)
    else:
        compress = path.suffix == ".zsav"
        pyreadstat.write_sav(data, str(path), variable_value_labels=labels, compress=compress)
