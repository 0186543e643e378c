"""Files of FITS, ROOT and HDF5."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flowkit.errors import DataError
from flowkit.tables.arrow_table import ArrowTable
from flowkit.tables.formats import library
from flowkit.tables.header import choose
from flowkit.tables.held_table import look_at_texts
from flowkit.tables.options import Note, ReadOptions

_ROWS = 65_536
_REMEDY = "leave it out with --drop, or make columns of what is inside"


def fits(path: Path, options: ReadOptions, scratch: Path) -> ArrowTable:
    """Return one table of a FITS file: the first, or the one that options name.

    Raises:
        DataError: no table in it, none of that name, columns of vectors.
    """
    io = library("astropy.io.fits", path)
    table_of = library("astropy.table", path).Table
    notes: list[Note] = []
    with io.open(path, memmap=False) as units:
        places = [i for i, unit in enumerate(units) if isinstance(unit, _tables(io))]
        names = [units[i].name or str(i) for i in places]
        place = places[_chosen(names, places, options, path, "table")]
        if options.sheet is None and len(places) > 1:
            text = f"read the table {names[0]!r}, the first of {len(places)}"
            notes.append(Note(None, text, "--sheet"))
        read = table_of.read(units[place], character_as_bytes=False, unit_parse_strict="silent")
        arrays = {}
        for name in read.colnames:
            if name not in options.drop and (not options.keep or name in options.keep):
                arrays[name] = _fits_column(name, read[name])
            else:
                arrays[name] = pa.nulls(len(read))
    return look_at_texts(pa.table(arrays), options, scratch, notes)


def _tables(io: Any) -> tuple[type, ...]:
    return (io.BinTableHDU, io.TableHDU)


def _fits_column(name: str, column: Any) -> pa.Array:
    mask = np.ma.getmaskarray(np.ma.asarray(column)) if hasattr(column, "mask") else None
    values = np.asarray(getattr(column, "filled", lambda: column)() if mask is not None else column)
    return array_of(name, values, mask)


def array_of(name: str, values: np.ndarray, mask: np.ndarray | None = None) -> pa.Array:
    """Return a NumPy array of any byte order as one of Arrow.

    Raises:
        DataError: vectors, or complex numbers.
    """
    if values.ndim != 1:
        got = f"arrays of shape {values.shape[1:]}"
        raise DataError(f"column {name!r}", f"numbers, texts or times; {_REMEDY}", got)
    if values.dtype.kind == "c":
        expected = "real numbers; make columns of the real and imaginary parts"
        raise DataError(f"column {name!r}", expected, "complex numbers")
    if values.dtype.kind in "iuf":
        values = values.astype(values.dtype.newbyteorder("="))
        if values.dtype == np.float16:
            values = values.astype(np.float32)
        return pa.array(values, mask=mask)
    if values.dtype.kind == "b":
        return pa.array(values, mask=mask)
    if values.dtype.kind in "SUO":
        missing = np.zeros(len(values), dtype=bool) if mask is None else mask
        texts = [None if m else _text(v) for v, m in zip(values, missing, strict=True)]
        return pa.array(texts, pa.string())
    raise DataError(f"column {name!r}", f"numbers, texts or times; {_REMEDY}", values.dtype)


def _text(value: Any) -> str | None:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.rstrip(" \x00") or None


def root(path: Path, options: ReadOptions, scratch: Path) -> ArrowTable:
    """Return one tree of a ROOT file, read piece by piece.

    Raises:
        DataError: no tree in it, none of that name, branches of vectors.
    """
    uproot = library("uproot", path)
    with uproot.open(path) as file:
        classes = file.classnames(recursive=True)
        names = list(dict.fromkeys(n.partition(";")[0] for n, c in classes.items() if _is_tree(c)))
        name = names[_chosen(names, list(range(len(names))), options, path, "tree")]
        tree = file[name]
        schema, n_rows = _root_schema(tree, options), tree.num_entries

    def batches(columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        part = pa.schema([schema.field(column) for column in columns])
        with uproot.open(path) as file:
            for piece in file[name].iterate(columns, step_size=rows, library="np"):
                arrays = [array_of(c, piece[c]).cast(part.field(c).type) for c in columns]
                yield pa.RecordBatch.from_arrays(arrays, schema=part)

    notes = []
    if options.sheet is None and len(names) > 1:
        text = f"read the tree {names[0]!r}, the first of {len(names)}"
        notes.append(Note(None, text, "--sheet"))
    return _in_pieces(schema, batches, options, scratch, notes, n_rows)


def _in_pieces(
    schema: pa.Schema,
    batches: Any,
    options: ReadOptions,
    scratch: Path,
    notes: list[Note],
    n_rows: int,
) -> ArrowTable:
    """Return a table of numbers piece by piece; one with texts whole, as these are looked at."""
    if any(pa.types.is_string(field.type) for field in schema):
        names = [schema.names[j] for j in choose(schema.names, options)]
        part = pa.schema([schema.field(name) for name in names])
        table = pa.Table.from_batches(batches(names, _ROWS), part)
        return look_at_texts(table, ReadOptions.of(options, drop=(), keep=()), scratch, notes)
    blank = [pa.types.is_null(field.type) for field in schema]
    made = ArrowTable(schema, batches, options, nulls=blank, n_rows=n_rows)
    made.notes = notes + made.notes
    return made


def _is_tree(name: str) -> bool:
    return name in ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple")


def _root_schema(tree: Any, options: ReadOptions) -> pa.Schema:
    fields = []
    for name in tree.keys(recursive=False):
        wanted = name not in options.drop and (not options.keep or name in options.keep)
        if not wanted:
            fields.append(pa.field(name, pa.null()))
            continue
        first = tree[name].array(library="np", entry_stop=1)
        if len(first) and first.dtype == object and not isinstance(first[0], str):
            got = f"vectors of any length ({getattr(tree[name], 'typename', 'objects')})"
            raise DataError(f"column {name!r}", f"numbers, texts or times; {_REMEDY}", got)
        fields.append(pa.field(name, array_of(name, first).type))
    return pa.schema(fields)


def hdf5(path: Path, options: ReadOptions, scratch: Path) -> ArrowTable:
    """Return a table of an HDF5 file, read piece by piece.

    A table is a data set of records, or a group of data sets of one length. The layouts of pandas
    hold pickles, which are not read.

    Raises:
        DataError: no table in it, none of that name, a layout of pandas.
    """
    h5py = library("h5py", path)
    notes: list[Note] = []
    with h5py.File(path, "r") as file:
        found = _hdf5_tables(file, h5py)
        if not found and any(_is_pandas(item) for item in _walk(file, h5py)):
            expected = "data sets of numbers and texts; write the frame with to_parquet"
            raise DataError("table", expected, f"{path}, in pandas' own layout, which has pickles")
        names = list(found)
        name = names[_chosen(names, list(range(len(names))), options, path, "table")]
        if options.sheet is None and len(names) > 1:
            text = f"read the table {names[0]!r}, one of {len(names)}"
            notes.append(Note(None, text, "--sheet"))
        columns = found[name]
        schema = pa.schema([(c, _hdf5_type(file, p, f, c)) for c, (p, f) in columns.items()])
        n_rows = len(file[next(iter(columns.values()))[0]])

    def batches(wanted: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        part = pa.schema([schema.field(column) for column in wanted])
        with h5py.File(path, "r") as file:
            for start in range(0, n_rows, rows):
                arrays = []
                for column in wanted:
                    place, field = columns[column]
                    values = file[place][start : start + rows]
                    values = values if field is None else values[field]
                    arrays.append(array_of(column, values).cast(part.field(column).type))
                yield pa.RecordBatch.from_arrays(arrays, schema=part)

    return _in_pieces(schema, batches, options, scratch, notes, n_rows)


def _walk(file: Any, h5py: Any) -> list[Any]:
    found = [file]
    file.visititems(lambda _, item: found.append(item))
    return [item for item in found if isinstance(item, h5py.Group)]


def _is_pandas(item: Any) -> bool:
    return "pandas_type" in item.attrs


def _hdf5_tables(file: Any, h5py: Any) -> dict[str, dict[str, tuple[str, str | None]]]:
    """Return, by the name of each table, the places of its columns."""
    found: dict[str, dict[str, tuple[str, str | None]]] = {}
    for group in _walk(file, h5py):
        if any(_is_pandas(above) for above in (group, group.parent)):
            continue
        sets = {n: d for n, d in group.items() if isinstance(d, h5py.Dataset)}
        for name, data in sets.items():
            if data.dtype.names and data.ndim == 1:
                fields = {field: (data.name, field) for field in data.dtype.names}
                found[data.name.lstrip("/")] = fields
            del name
        flat = {n: d for n, d in sets.items() if d.ndim == 1 and not d.dtype.names}
        if flat and len({len(d) for d in flat.values()}) == 1:
            found[group.name.lstrip("/") or "/"] = {n: (d.name, None) for n, d in flat.items()}
    return found


def _hdf5_type(file: Any, place: str, field: str | None, name: str) -> pa.DataType:
    sample = file[place][:1]
    return array_of(name, sample if field is None else sample[field]).type


def _chosen(
    names: list[str], numbers: list[int], options: ReadOptions, path: Path, what: str
) -> int:
    """Return the index of the table that options name, the first if they name none."""
    if not names:
        raise DataError("table", f"a {what} in {path.name}", "none")
    if options.sheet is None:
        return 0
    for i, (name, number) in enumerate(zip(names, numbers, strict=True)):
        if str(options.sheet) in (name, str(number)):
            return i
    raise DataError("sheet", f"one of {', '.join(names)}", repr(options.sheet))
