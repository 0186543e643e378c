"""Conditions on the columns of a table: values, ranges, sets and missing values, as evidence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowkit.errors import ArgumentError
from flowkit.schema import Column, Schema
from flowkit.tabular.conditioning.evidence import Evidence
from flowkit.tabular.conditioning.reader import ConditionReader
from flowkit.tabular.conditioning.states import all_states
from flowkit.tabular.discrete import DiscreteBlock


@dataclass
class Conditions:
    """Conditions on columns, as evidence of a single row.

    Args:
        evidence: the evidence.
        fixed: names of the columns that have one value.
        log_slope: log-derivative of the values that are given, for densities in the table's units.
    """

    evidence: Evidence
    fixed: set[str]
    log_slope: float


def conditions_of(
    schema: Schema, block: DiscreteBlock | None, conditions: Mapping[str, Any]
) -> Conditions:
    """Return conditions on the columns of a schema as evidence.

    Args:
        schema: of the table.
        block: its discrete block; None without one.
        conditions: by name of the column a value, a range ``(low, high)`` or a set of values.

    Raises:
        ArgumentError: a column or a condition that is not possible; the column is named.
    """
    if not isinstance(conditions, Mapping) or not conditions:
        raise ArgumentError(
            "conditions", "a mapping of column names to values, ranges or sets", repr(conditions)
        )
    d, every = len(schema.continuous), [] if block is None else list(range(len(block.columns)))
    evidence = Evidence(
        np.zeros((1, len(every)), dtype=np.int64),
        np.zeros((1, len(every)), dtype=bool),
        np.full((1, d), np.nan),
        [all_states(block, j) for j in every] if block is not None else [],
        np.full(d, np.nan),
        np.full(d, np.nan),
    )
    states, log_slope, fixed = list(evidence.states), 0.0, set()
    for name, condition in conditions.items():
        column = column_named(schema, name)
        found = ConditionReader(schema, block, column).read(condition)
        for j, code in found.codes.items():
            evidence.codes[0, j], evidence.fixed[0, j] = code, True
        for j, some in found.states.items():
            states[j] = some
        if column.is_continuous:
            at = schema.continuous.index(column.name)
            evidence.values[0, at] = found.value
            evidence.low[at], evidence.high[at] = found.ends
        log_slope += found.log_slope
        if not isinstance(condition, tuple | set | frozenset):
            fixed.add(column.name)
    if fixed >= set(schema.modelled):
        raise ArgumentError(
            "conditions",
            "every column has a value, so that no column is left; "
            "leave one out, or use score_samples for the whole row",
        )
    return Conditions(evidence._replace(states=states), fixed, log_slope)


def column_named(schema: Schema, name: object, argument: str = "conditions") -> Column:
    """Return a column that is part of the density.

    Raises:
        ArgumentError: there is no such column, or it is not modelled.
    """
    if name not in schema.names:
        columns = ", ".join(schema.modelled)
        raise ArgumentError(argument, f"there is no column {name!r}; the columns are {columns}")
    column = schema.columns[schema.names.index(str(name))]
    if not column.is_modelled:
        raise ArgumentError(
            argument,
            f"column {name!r} is no part of the density, as its kind is {column.kind}; "
            "leave it out",
        )
    return column
