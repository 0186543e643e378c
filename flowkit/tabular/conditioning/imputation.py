"""Imputation: missing cells of a table, drawn given the cells of their row that are there."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from flowkit.errors import ArgumentError
from flowkit.schema import Column, Schema
from flowkit.schema.codec import series_of
from flowkit.schema.frames import length, names, opened, read, table_of
from flowkit.schema.series import Series
from flowkit.tabular.conditioning.conditioner import Conditioner
from flowkit.tabular.conditioning.evidence import Draws, Evidence
from flowkit.tabular.conditioning.numbers import has_numbers, mean_of, numbers_of, rounded
from flowkit.tabular.conditioning.states import States, all_states
from flowkit.tabular.conditioning.weights import chosen

# Weighted draws of each row that are resampled, and draws that a mean is taken of.
_WEIGHTED, _OF_MEAN = 16, 64
_ROWS = 4_096


class Imputer:
    """The missing cells of tables, given the other cells of their row.

    Args:
        conditioner: of the table's model.
    """

    def __init__(self, conditioner: Conditioner) -> None:
        self._conditioner, self._schema = conditioner, conditioner.schema

    def draws(self, table: Any, n: int, generator: torch.Generator) -> list[Any]:
        """Return ``n`` tables, each with a draw in the place of each missing cell."""
        holes = _Holes(self._schema, table)
        weighted = n if self._conditioner.members.all_closed else max(_WEIGHTED, 4 * n)
        codes, values = [], []
        for evidence in self._evidence(holes):
            drawn = self._conditioner.draw(evidence, draws=weighted, generator=generator)
            rows = len(drawn.codes)
            row = np.repeat(np.arange(rows), weighted)
            at = chosen(drawn.log_weight.ravel(), row, rows, n, generator).reshape(rows, n)
            order = torch.rand(rows, n, dtype=torch.float64, generator=generator).argsort(1)
            at = np.take_along_axis(at, order.numpy(), axis=1) % weighted
            own = np.arange(rows)[:, None]
            codes.append(drawn.codes[own, at])
            values.append(drawn.values[own, at])
        if not codes:
            return [holes.filled({}) for _ in range(n)]
        every_code, every_value = np.concatenate(codes), np.concatenate(values)
        return [holes.filled(holes.decoded(every_code[:, i], every_value[:, i])) for i in range(n)]

    def mean(self, table: Any, generator: torch.Generator) -> Any:
        """Return the table with the mean of each missing cell, or with its commonest category."""
        holes = _Holes(self._schema, table)
        found: dict[str, list[np.ndarray]] = {}
        for evidence in self._evidence(holes):
            drawn = self._conditioner.bulk.draw(evidence, draws=_OF_MEAN, generator=generator)
            for column in holes.columns:
                found.setdefault(column.name, []).append(self._mean(column, drawn))
        return holes.filled({name: np.concatenate(parts) for name, parts in found.items()})

    def _mean(self, column: Column, drawn: Draws) -> np.ndarray:
        schema = self._schema
        weight = np.exp(drawn.log_weight - drawn.log_weight.max(1, keepdims=True))
        if has_numbers(column) and column.kind != "categorical" and not column.at_levels:
            mean = mean_of(column, numbers_of(schema, column, drawn.codes, drawn.values), weight)
            return rounded(column, mean)
        j = next(j for j, d in enumerate(schema.discrete) if d.name == column.name)
        codes = drawn.codes[:, :, j]
        share = np.zeros((len(codes), int(codes.max()) + 1))
        np.add.at(share, (np.arange(len(codes))[:, None], codes), weight)
        commonest = np.zeros((len(codes), len(schema.discrete)), dtype=np.int64)
        commonest[:, j] = share.argmax(1)
        return schema.decoded(column, commonest, np.zeros((len(codes), len(schema.continuous))))[0]

    def _evidence(self, holes: "_Holes") -> list[Evidence]:
        """Return the rows with holes, and the states of present values for the open codes."""
        block, schema = self._conditioner.discrete, self._schema
        states = [] if block is None else [
            _present(schema, j, all_states(block, j)) for j in range(len(block.columns))
        ]  # fmt: skip
        nowhere = np.full(len(schema.continuous), np.nan)
        whole = Evidence(holes.codes, holes.fixed, holes.values, states, nowhere, nowhere)
        return [whole.take(slice(i, i + _ROWS)) for i in range(0, len(holes.codes), _ROWS)]


class _Holes:
    """The missing cells of a table, and the encoded rows that have any."""

    def __init__(self, schema: Schema, table: Any) -> None:
        self.schema = schema
        self.table, self.library = opened(table)
        encoded = schema.encode(self.table, holes=True)
        in_table = names(self.table)
        self.series = [read(self.table, name) for name in in_table]
        self.missing = {s.name: s.missing for s in self.series}
        modelled = [c for c in schema.columns if c.is_modelled]
        self.columns = [c for c in modelled if self.missing[c.name].any()]
        self.rows = np.zeros(length(self.table), dtype=bool)
        for column in self.columns:
            self.rows |= self.missing[column.name]
        self.codes, self.values = encoded.codes[self.rows], encoded.values[self.rows]
        self.fixed = np.ones(self.codes.shape, dtype=bool)
        for j, discrete in enumerate(schema.discrete):
            self.fixed[:, j] = ~self.missing[discrete.name][self.rows]

    def decoded(self, codes: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
        """Return the values of the columns with holes, ``(rows with holes,)`` each."""
        return {c.name: self.schema.decoded(c, codes, values)[0] for c in self.columns}

    def filled(self, found: dict[str, np.ndarray]) -> Any:
        """Return the table with the holes of columns filled."""
        places = {column.name: column for column in self.columns}
        every = []
        for series in self.series:
            if series.name in found and series.name in places:
                series = self._filled(series, places[series.name], found[series.name])
            every.append(series)
        result = table_of(every, self.library)
        if hasattr(self.table, "index") and hasattr(result, "index"):  # of pandas
            result.index = self.table.index
        return result

    def _filled(self, series: Series, column: Column, found: np.ndarray) -> Series:
        here = self.missing[series.name]
        if here.all() and self.library == self.schema.library:
            # A column without any value may have a type without values: it gets that of the fit.
            return series_of(column, found, np.zeros_like(here))
        values = series.values
        if series.ticks is not None and column.kind == "categorical":
            values = np.array(series.labels(), dtype=object)
        if values.dtype.kind in "biu" and found.dtype.kind == "f":
            values = values.astype(np.float64)
        values = values.copy()
        values[here] = found[here[self.rows]]
        return replace(series, values=values, missing=np.zeros(len(values), dtype=bool), ticks=None)


def _present(schema: Schema, j: int, states: States) -> States:
    """Return the states of a column in which a value is present, and seen."""
    discrete = schema.discrete[j]
    column = schema.columns[schema.names.index(discrete.name)]
    if discrete.kind == "integer" or not column.missing:
        return states
    missing = column.missing_state if discrete.kind == "flag" else discrete.size - 1
    kept = states.code != missing
    return States(states.code[kept], states.low[kept], states.high[kept], states.drawn[kept])


def imputed(
    conditioner: Conditioner, table: Any, n: int, method: str, generator: torch.Generator
) -> Any:
    """Return a table with its holes filled; a list of tables for ``n`` above one.

    Raises:
        ArgumentError: several means are wanted, of which there is one.
    """
    imputer = Imputer(conditioner)
    if method == "mean":
        if n != 1:
            raise ArgumentError("n", "1 with method='mean', as there is one mean", n)
        return imputer.mean(table, generator)
    drawn = imputer.draws(table, n, generator)
    return drawn[0] if n == 1 else drawn
