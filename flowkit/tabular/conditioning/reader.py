"""Reader of conditions: a value, a range or a set of one column, as codes and an interval."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flowkit.errors import ArgumentError, DataError
from flowkit.schema import Column, Schema, codec, numpy_columns, objects
from flowkit.schema.series import Series
from flowkit.tabular.conditioning.states import States, all_states
from flowkit.tabular.discrete import DiscreteBlock


@dataclass
class OfColumn:
    """What a condition says of one column: its codes, its value or the range of its value."""

    codes: dict[int, int] = field(default_factory=dict)
    states: dict[int, States] = field(default_factory=dict)
    value: float = np.nan
    ends: tuple[float, float] = (np.nan, np.nan)
    log_slope: float = 0.0


class ConditionReader:
    """The reader of conditions on one column."""

    def __init__(self, schema: Schema, block: DiscreteBlock | None, column: Column) -> None:
        self.column, self.block = column, block
        self.at = [j for j, d in enumerate(schema.discrete) if d.name == column.name]
        self.where = f"column {column.name!r}"

    def read(self, condition: Any) -> OfColumn:
        """Return what a condition says."""
        if isinstance(condition, tuple):
            return self._range(condition)
        if isinstance(condition, set | frozenset):
            if not condition:
                raise ArgumentError(
                    self.where, "the set of values is empty, so no row is left; name one at least"
                )
            return self._set([self._value(value) for value in condition])
        if isinstance(condition, list | dict | np.ndarray):
            raise ArgumentError(
                self.where, "a value, a range (low, high) or a set of values", repr(condition)
            )
        return self._value(condition)

    def _value(self, value: Any) -> OfColumn:
        series = self._series(value)
        if series.missing[0]:
            return self._missing()
        try:
            return self._present(series, value)
        except DataError as error:
            raise ArgumentError(self.where, error.expected, error.got) from error

    def _present(self, series: Series, value: Any) -> OfColumn:
        column = self.column
        if column.kind == "categorical":
            code = int(codec.categories(column, series, "score", 0)[0])
            if code >= len(column.categories) + column.missing:
                shown = ", ".join(map(repr, column.categories[:8]))
                more = ", ..." if len(column.categories) > 8 else ""
                raise ArgumentError(
                    self.where, f"the fit has not seen {value!r}; it has seen {shown}{more}"
                )
            return OfColumn({self.at[0]: code})
        if column.at_levels:
            code = int(codec.levels(column, series, 0)[0][0])
            if code >= len(column.atoms) + column.missing:
                shown = ", ".join(f"{atom:g}" for atom in column.atoms[:8])
                raise ArgumentError(
                    self.where, f"the fit has not seen {value!r}; its only values are {shown}"
                )
            return OfColumn({self.at[0]: code})
        flag = {self.at[0]: 0} if column.has_flag else {}
        if column.kind == "integer":
            number = int(codec.integers(column, series, 0)[0])
            low, high = column.lower, column.upper
            if (low is not None and number < low) or (high is not None and number > high):
                raise self._outside(value)
            return OfColumn(flag | {self.at[-1]: number})
        x = codec.numbers(column, series, 0)
        if x[0] in column.atoms:
            return OfColumn({self.at[0]: 1 + column.atoms.index(float(x[0]))})
        line, slope = codec.to_line(column, x)
        if slope[0] == -np.inf:
            raise self._outside(value)
        return OfColumn(flag, value=float(line[0]), log_slope=float(slope[0]))

    def _missing(self) -> OfColumn:
        column = self.column
        if not column.missing:
            raise ArgumentError(
                self.where,
                "the fit saw no missing value, so a missing value has density 0; give a value",
            )
        if column.kind == "categorical" or column.at_levels:
            number = len(column.atoms if column.at_levels else column.categories)
            return OfColumn({self.at[0]: number})
        codes = {self.at[0]: column.missing_state}
        if column.kind == "integer":
            codes[self.at[1]] = 0
        return OfColumn(codes)

    def _set(self, values: list[OfColumn]) -> OfColumn:
        if any(not np.isnan(value.value) for value in values):
            raise ArgumentError(
                self.where,
                "a set of numbers has probability 0 in a continuous column; "
                "give a range (low, high), or one value",
            )
        found = OfColumn()
        for j in self.at:
            assert self.block is not None  # noqa: S101  for the type checker
            codes = np.unique([value.codes[j] for value in values if j in value.codes])
            absent = self.column.kind == "integer" and self.column.has_flag and j == self.at[1]
            if absent:  # the code of a missing integer is no number
                here = [v.codes[j] for v in values if v.codes[self.at[0]] == 0]
                codes = np.unique(np.array(here, dtype=np.int64))
            if not len(codes):
                found.codes[j] = 0
                continue
            found.states[j] = States(codes, codes, codes, np.ones(len(codes), dtype=bool))
        return found

    def _range(self, ends: tuple[Any, ...]) -> OfColumn:
        low, high = self._ends(ends)
        column, block = self.column, self.block
        if column.kind == "categorical" or column.at_levels:
            return self._levels_within(low, high)
        flag = {self.at[0]: 0} if column.has_flag else {}
        if column.kind == "integer":
            assert block is not None  # noqa: S101  for the type checker
            first = None if low is None else int(np.ceil(low))
            last = None if high is None else int(np.floor(high))
            within = [b for b in (column.lower, first) if b is not None]
            below = [b for b in (column.upper, last) if b is not None]
            if within and below and max(within) > min(below):
                raise self._empty(ends)
            states = all_states(block, self.at[-1], first, last)
            return OfColumn(flag, {self.at[-1]: states})
        atoms = [
            1 + k
            for k, atom in enumerate(column.atoms)
            if (low is None or atom >= low) and (high is None or atom <= high)
        ]
        on_line = self._line(low, high)
        found = OfColumn()
        if on_line is not None:
            found.ends, atoms = on_line, [0, *atoms]
        if not atoms:
            raise self._empty(ends)
        if column.has_flag:
            codes = np.array(atoms)
            found.states[self.at[0]] = States(codes, codes, codes, np.ones(len(codes), dtype=bool))
        return found

    def _line(self, low: float | None, high: float | None) -> tuple[float, float] | None:
        """Return the ends of a range on the line, or on the circle; None if it is empty."""
        column = self.column
        if column.kind == "circular":
            assert column.period is not None  # noqa: S101  for the type checker
            start = 0.0 if low is None else low
            turn = (column.period if high is None else high) - start
            turn = turn % column.period or column.period
            angle = float(codec.to_line(column, np.array([start]))[0][0])
            return angle, angle + 2 * np.pi * turn / column.period
        ends = (self._image(low, -np.inf), self._image(high, np.inf))
        return ends if ends[0] < ends[1] else None

    def _image(self, end: float | None, none: float) -> float:
        """Return an end on the line: infinite at a bound, and beyond."""
        column = self.column
        lower = 0.0 if column.kind == "positive" else column.lower
        if end is None:
            return none
        if lower is not None and end <= lower:
            return -np.inf
        if column.upper is not None and end >= column.upper:
            return np.inf
        return float(codec.to_line(column, np.array([end], dtype=np.float64))[0][0])

    def _levels_within(self, low: float | None, high: float | None) -> OfColumn:
        column = self.column
        known = column.atoms if column.at_levels else column.categories
        numbers = [isinstance(k, int | float) and not isinstance(k, bool) for k in known]
        if not all(numbers):
            raise ArgumentError(
                self.where, "a range needs numbers, and its values are words; give a set of them"
            )
        codes = np.array(
            [
                i
                for i, k in enumerate(known)
                if (low is None or float(k) >= low) and (high is None or float(k) <= high)
            ],
            dtype=np.int64,
        )
        if not len(codes):
            raise self._empty((low, high))
        return OfColumn(
            {}, {self.at[0]: States(codes, codes, codes, np.ones(len(codes), dtype=bool))}
        )

    def _ends(self, ends: tuple[Any, ...]) -> tuple[float | None, float | None]:
        if len(ends) != 2 or all(end is None for end in ends):
            raise ArgumentError(
                self.where, "a range (low, high), of which one end may be None", repr(ends)
            )
        found: list[float | None] = []
        for end in ends:
            series = None if end is None else self._series(end)
            if series is None:
                found.append(None)
                continue
            if series.missing[0] or series.family == "text":
                raise ArgumentError(self.where, "a range between numbers or times", repr(ends))
            found.append(float(series.values[0]))
        low, high = found
        if self.column.kind != "circular" and low is not None and high is not None and low > high:
            raise ArgumentError(
                self.where, f"the range {ends!r} ends before it starts; give the lower end first"
            )
        return low, high

    def _series(self, value: Any) -> Series:
        if self.column.kind == "datetime" and isinstance(value, str):
            value = np.datetime64(value)
        try:
            if isinstance(value, np.generic):
                return numpy_columns.read(self.column.name, np.array([value]))
            return objects.read(self.column.name, [value])
        except DataError as error:
            raise ArgumentError(self.where, error.expected, error.got) from error

    def _outside(self, value: Any) -> ArgumentError:
        column = self.column
        low = 0.0 if column.kind == "positive" else column.lower
        return ArgumentError(
            self.where,
            f"{value!r} is outside the bounds {low} and {column.upper}, so its density is 0; "
            "give a value within",
        )

    def _empty(self, ends: tuple[Any, ...]) -> ArgumentError:
        return ArgumentError(
            self.where, f"the range {ends!r} holds no value with a density; give a wider one"
        )
