"""Tables of named NumPy arrays, such as astropy's: masked columns, and columns with a unit."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flowkit.errors import DataError
from flowkit.schema import numpy_columns
from flowkit.schema.series import Series

_MASKED, _UNIT = "masked ", " in "


@dataclass(frozen=True)
class Arrays:
    """A table of named NumPy arrays, masked or not.

    Args:
        columns: from names to arrays ``(rows,)``.
        units: physical units of some of them, in words.
    """

    columns: Mapping[str, np.ndarray]
    units: Mapping[str, str]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        return len(next(iter(self.columns.values()), ())), len(self.columns)


def is_astropy(table: Any) -> bool:
    """Return whether a table is astropy's, which is not imported for the answer."""
    module = sys.modules.get("astropy.table")
    return module is not None and isinstance(table, module.Table)


def has_quantities(table: Any) -> bool:
    """Return whether a table of astropy makes quantities of columns with a unit."""
    return isinstance(table, sys.modules["astropy.table"].QTable)


def of_astropy(table: Any) -> Arrays:
    """Return a table of astropy: columns and quantities as arrays, with their units beside."""
    arrays, units = {}, {}
    for name in table.colnames:
        column = table[name]
        unit = getattr(column, "unit", None)
        if unit is not None:
            units[name] = str(unit)
        if hasattr(column, "unmasked"):  # a masked quantity
            column = np.ma.MaskedArray(np.asarray(column.unmasked), np.asarray(column.mask))
        if not isinstance(column, np.ndarray):
            expected = "arrays (turn times and places into columns of these, or leave them out)"
            raise DataError(f"column {name!r}", expected, f"a {type(column).__name__}")
        masked = isinstance(column, np.ma.MaskedArray)
        arrays[str(name)] = (
            np.ma.MaskedArray(column.data, np.ma.getmaskarray(column))
            if masked
            else np.asarray(column)
        )
    return Arrays(arrays, units)


def to_astropy(columns: Sequence[Series], *, quantities: bool = False) -> Any:
    """Return columns as a table of astropy, or as one of quantities."""
    from astropy.table import Column, MaskedColumn, QTable, Table

    table = QTable() if quantities else Table()
    for series in columns:
        dtype, _, unit = series.dtype.partition(_UNIT)
        plain_dtype = dtype.removeprefix(_MASKED)
        array = numpy_columns.build(replace(series, dtype=plain_dtype))
        if plain_dtype != dtype or series.missing.any():
            table[series.name] = MaskedColumn(array, mask=series.missing, unit=unit or None)
        else:
            table[series.name] = Column(array, unit=unit or None)
    return table


def in_words(table: Arrays, name: str, dtype: str) -> str:
    """Return the dtype of a column of astropy: with a mask or not, in a physical unit or none."""
    masked = _MASKED if isinstance(table.columns[name], np.ma.MaskedArray) else ""
    unit = table.units.get(name)
    return f"{masked}{dtype}" + ("" if unit is None else f"{_UNIT}{unit}")
