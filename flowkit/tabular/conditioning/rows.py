"""Rows of some columns of a schema, as codes and values of all of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from flowkit.schema import Schema
from flowkit.schema.frames import plain
from flowkit.tabular.conditioning.evidence import Evidence
from flowkit.tabular.conditioning.states import States


class SomeColumns:
    """Some columns of a schema: their rows are encoded and decoded by themselves.

    Args:
        schema: of the whole table.
        names: names of the columns, in the order of the table that is made of them.
    """

    def __init__(self, schema: Schema, names: Sequence[str]) -> None:
        self._whole, self.names = schema, tuple(names)
        columns = tuple(schema.columns[schema.names.index(name)] for name in names)
        self._own = Schema(columns, schema.library)
        # Columns of an array have names by their place.
        placed = tuple(replace(c, name=f"x{j}") for j, c in enumerate(columns))
        self._of_array = Schema(placed, schema.library)
        where = {(d.name, d.kind): j for j, d in enumerate(schema.discrete)}
        self.codes = np.array([where[d.name, d.kind] for d in self._own.discrete], dtype=np.int64)
        places = [schema.continuous.index(name) for name in self._own.continuous]
        self.values = np.array(places, dtype=np.int64)

    def encode(self, table: Any) -> "Encoded":
        """Return rows of the columns as codes and values of the whole schema.

        Raises:
            DataError: a column is missing, or a value is not of its kind.
        """
        table = plain(table)
        own = self._of_array if isinstance(table, np.ndarray) else self._own
        encoded = own.encode(table)
        n = len(encoded.codes)
        codes = np.zeros((n, len(self._whole.discrete)), dtype=np.int64)
        values = np.full((n, len(self._whole.continuous)), np.nan)
        codes[:, self.codes], values[:, self.values] = encoded.codes, encoded.values
        return Encoded(codes, values, encoded.log_jacobian)

    def decode(self, codes: np.ndarray, values: np.ndarray, *, rows_from: int = 0) -> Any:
        """Return codes and values of the whole schema as a table of the columns.

        Identifiers are numbered from ``rows_from + 1`` on.
        """
        return self._own.decode(codes[:, self.codes], values[:, self.values], rows_from=rows_from)

    def evidence(self, encoded: "Encoded", states: Sequence[States]) -> Evidence:
        """Return encoded rows as evidence, with the other columns open."""
        d = encoded.values.shape[1]
        fixed = np.zeros(encoded.codes.shape, dtype=bool)
        fixed[:, self.codes] = True
        nowhere = np.full(d, np.nan)
        return Evidence(encoded.codes, fixed, encoded.values, states, nowhere, nowhere)


class Encoded(NamedTuple):
    """Rows of some columns, as codes and values of all columns.

    Attributes:
        codes: ``(n, J)``, 0 of the other columns.
        values: ``(n, d)``, NaN of the other columns.
        log_jacobian: the term that makes a log-density one of the table's units, ``(n,)``.
    """

    codes: np.ndarray
    values: np.ndarray
    log_jacobian: np.ndarray
