"""Files of Stata, SPSS and SAS, read through pyreadstat."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flowkit.errors import DataError
from flowkit.tables.arrow_table import ArrowTable
from flowkit.tables.formats import library
from flowkit.tables.held_table import look_at_texts
from flowkit.tables.options import Note, ReadOptions

_READERS = {
    ".dta": "read_dta",
    ".sav": "read_sav",
    ".zsav": "read_sav",
    ".por": "read_por",
    ".sas7bdat": "read_sas7bdat",
    ".xpt": "read_xport",
}


def read(path: Path, ending: str, options: ReadOptions, scratch: Path) -> ArrowTable:
    """Return the table in a file of Stata (.dta), SPSS (.sav, .zsav, .por) or SAS.

    Raises:
        DataError: it cannot be read as one.
    """
    pyreadstat = library("pyreadstat", path)
    try:
        columns, meta = getattr(pyreadstat, _READERS[ending])(
            str(path), output_format="dict", encoding=options.encoding
        )
    except Exception as error:  # its errors have no common class
        first = str(error).partition("\n")[0]
        raise DataError("table", f"a whole {ending} file", f"{path}: {first}") from error
    arrays: dict[str, pa.Array] = {}
    notes: list[Note] = []
    for name, cells in columns.items():
        labels = meta.variable_value_labels.get(name)
        arrays[name] = _column(cells, meta.readstat_variable_types.get(name, ""))
        if labels and _covers(arrays[name], labels):
            arrays[name] = _labelled(arrays[name], labels, meta.variable_measure.get(name))
            notes.append(Note(name, "labels of values read as categories, in their order", None))
    return look_at_texts(pa.table(arrays), options, scratch, notes)


def _column(cells: Any, kind: str) -> pa.Array:
    values = list(cells)
    if kind == "string":
        return pa.array([value or None for value in values], pa.string())
    if any(
        value is not None and not isinstance(value, float | int | np.number) for value in values
    ):
        return pa.array([None if value is None or value != value else value for value in values])
    numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    missing = np.isnan(numbers)
    present = np.where(missing, 0.0, numbers)
    if kind.startswith("int") and (present == np.floor(present)).all():
        return pa.array(present.astype(np.int64), mask=missing)
    return pa.array(numbers, mask=missing)


def _covers(array: pa.Array, labels: dict[Any, str]) -> bool:
    """Return whether every value has a label; a scale with its ends labelled is one of numbers."""
    present = set(array.drop_null().to_pylist())
    return bool(present) and present <= set(labels)


def _labelled(array: pa.Array, labels: dict[Any, str], measure: str | None) -> pa.Array:
    order = sorted(labels)
    index = {value: i for i, value in enumerate(order)}
    codes = [None if value is None else index[value] for value in array.to_pylist()]
    names = [str(labels[value]) for value in order]
    if len(set(names)) < len(names):
        return array
    ordered = measure != "nominal"
    indices = pa.array(codes, pa.int32())
    return pa.DictionaryArray.from_arrays(indices, pa.array(names), ordered=ordered)
