"""Schema of a table: the kind of each column, and rows as codes and real values."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from flowkit._checks import check_choice, check_keys
from flowkit.errors import ArgumentError, DataError
from flowkit.schema import codec, frames
from flowkit.schema.batches import THREADS, BatchSummaries
from flowkit.schema.columns import Column
from flowkit.schema.distinct import distinct_rows
from flowkit.schema.infer import infer
from flowkit.schema.overrides import check_rows, complete
from flowkit.schema.series import Series
from flowkit.schema.statistics import Statistics
from flowkit.schema.summary import Summary, summary_of

# Kinds of columns whose smallest and largest value are shown.
_RANGED = ("real", "positive", "bounded", "integer", "datetime")

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Discrete:
    """A column of the discrete block.

    Args:
        name: the table's column.
        kind: "flag" (0 for a present value, then one state for each atom, then missing if values
            may be missing), "categorical" (also numbers of few levels), or "integer".
        size: number of known states of a flag or categorical. A categorical has one more code,
            ``size``, for unseen values.
        lower: least allowed integer, None for none.
        upper: largest allowed integer.
        absent_if: index of the integer's flag. If the flag is not 0, the integer is absent and
            its code is 0.
        soft_lower: smaller integers are never drawn, and share the probability of half a row.
        step: likewise for integers that are not multiples of the step.
    """

    name: str
    kind: str
    size: int = 0
    lower: int | None = None
    upper: int | None = None
    absent_if: int | None = None
    soft_lower: int | None = None
    step: int = 1

    def present(self, codes: Any) -> Any:
        """Return which rows have a value in this column, ``(...)`` booleans.

        Args:
            codes: the whole discrete block ``(..., J)``, an array or a tensor.
        """
        if self.absent_if is None:
            return codes[..., 0] == codes[..., 0]
        return codes[..., self.absent_if] == 0

    @property
    def least(self) -> int | None:
        """The smallest integer that is drawn; None without a bound."""
        bounds = [bound for bound in (self.lower, self.soft_lower) if bound is not None]
        return max(bounds, default=None)


@dataclass(frozen=True)
class Encoded:
    """Rows as codes and real values.

    Args:
        codes: ``(rows, len(schema.discrete))`` int64, the discrete block.
        values: ``(rows, len(schema.continuous))`` float64, on the whole line; NaN where missing
            or at an atom.
        log_slopes: ``log |d value / d x|`` of the values present, 0 of the others; ``-inf`` where
            one is outside a bound.
        log_unseen: ``(rows, len(schema.discrete))``, the log-density, among unseen numbers, of one
            that is at none of its column's levels; 0 elsewhere.
    """

    codes: np.ndarray
    values: np.ndarray
    log_slopes: np.ndarray
    log_unseen: np.ndarray

    @property
    def log_jacobian(self) -> np.ndarray:
        """The term to add to a log-density of codes and values for one of rows, ``(rows,)``."""
        total: np.ndarray = self.log_slopes.sum(axis=1) + self.log_unseen.sum(axis=1)
        return total

    @property
    def present(self) -> np.ndarray:
        """Which continuous values are present, ``(rows, len(schema.continuous))``."""
        present: np.ndarray = ~np.isnan(self.values)
        return present

    def standardised(self, statistics: Statistics) -> np.ndarray:
        """Return ``(number - center) / scale`` of codes and values, side by side; NaN where absent.

        Args:
            statistics: of each code, then of each value.
        """
        numbers = np.concatenate([self.codes, self.values], axis=1)
        standardised: np.ndarray = (numbers - statistics.center) / statistics.scale
        return standardised

    def take(self, rows: np.ndarray) -> "Encoded":
        """Return some of the rows, by index or mask."""
        return Encoded(
            self.codes[rows], self.values[rows], self.log_slopes[rows], self.log_unseen[rows]
        )


@dataclass(frozen=True)
class Schema:
    """The kind of each column of a table.

    Densities are with respect to the product of Lebesgue measure for reals and times and counting
    measure for point masses, categories and integers. Of a continuous column with a step, the
    density is that of a value spread evenly within the step: a multiple of the step has the
    probability density x step. Samples are rounded to the step.

    Args:
        columns: the columns, in the table's order.
        library: library of the table and of samples: "numpy", "pandas", "polars", "pyarrow",
            "numpy.ma", "pyarrow.RecordBatch", "astropy", or one within another, such as
            "narwhals.polars".

    Example:
        >>> table = np.stack([np.linspace(0, 1, 30), np.repeat([0.0, 1.5], [29, 1])], axis=1)
        >>> print(Schema.infer(table))
        x0  real
        x1  real, point masses at 0
    """

    columns: tuple[Column, ...]
    library: str = "numpy"

    @classmethod
    def infer(cls, table: Any, overrides: Mapping[str, Any] | None = None) -> "Schema":
        """Infer the schema of a table; overrides take precedence.

        Args:
            table: an array ``(rows, columns)``, or a frame of pandas, polars or pyarrow.
            overrides: a mapping from names to a kind, a mapping of options, or a `Column`. The
                columns of an array are named "x0", "x1", ...

        Raises:
            DataError: the table has no rows, no columns or no values, or a column's dtype has no
                scalars.
            ArgumentError: an override names no column, or has options that do not fit.
        """
        table, library = frames.opened(table)
        names = frames.names(table)
        overrides = _overrides(overrides, names, frames.length(table))
        every = _side_by_side(lambda at: frames.read_at(table, at, names[at]), range(len(names)))
        for series in every:
            codec.check_finite(series, 0)
        # The repeated values of a single column may be rows that repeat, or a column that does.
        distinct = distinct_rows(every) if len(names) > 1 else len(every[0].values)

        def column_of(series: Series) -> Column:
            summary = summary_of(series)
            column = _column(summary, distinct, overrides)
            if not isinstance(overrides.get(series.name, column), Column):
                check_rows(series.name, column.kind, series, 0)
            return _completed(column, summary, overrides)

        return cls(_checked(_side_by_side(column_of, every)), library)

    @classmethod
    def infer_batches(
        cls, batches: Iterable[pa.RecordBatch], kinds: Mapping[str, str] | None = None
    ) -> "InferredSchema":
        """Infer the schema of a table that comes in batches, in memory that does not grow.

        Columns of at most a million distinct numbers or 200,000 distinct texts get the schema of
        `infer`; in tables of many columns, the limits are lower. Of the other columns, rows are
        drawn at random, with a fixed seed. Ranges, missing values, soft bounds, sentinels and
        their numbers of rows are those of all rows even then. Beyond 262,144 distinct rows, their
        number is an estimate with an error of 0.2 percent.

        Args:
            batches: the rows of a table, such as `flowkit.TableFile.batches` returns.
            kinds: kinds of columns by name, in place of the inferred ones.

        Raises:
            DataError: as `infer`.
            ArgumentError: as `infer`.

        Example:
            >>> table = pa.table({"x": [0.5, 1.25, 7.0], "n": [3, 1, 2]})
            >>> print(Schema.infer_batches(table.to_batches(max_chunksize=2)).schema)
            x  real, in steps of 0.01
            n  integer, none below 0
        """
        counted = BatchSummaries({str(k): v for k, v in (kinds or {}).items()})
        counted.read(batches)
        overrides = _overrides(kinds, counted.names, counted.rows)
        distinct = counted.distinct_rows() if len(counted.names) > 1 else counted.rows

        def column_of(at: int) -> tuple[Column, tuple[float, float] | None, int | None]:
            summary = counted.summary(at)
            column = _completed(_column(summary, distinct, overrides), summary, overrides)
            far = tuple((v, summary.ends.get(v, rows)) for v, rows in column.sentinels)
            column = replace(column, sentinels=far)
            seen = summary.span(v for v, _ in far) if column.kind in _RANGED else None
            return column, seen, summary.sampled

        columns, ranges, sampled = zip(
            *_side_by_side(column_of, range(len(counted.names)), THREADS), strict=True
        )
        drawn = zip(counted.names, sampled, strict=True)
        return InferredSchema(
            cls(_checked(columns), "pyarrow"),
            dict(zip(counted.names, ranges, strict=True)),
            {name: rows for name, rows in drawn if rows is not None},
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def modelled(self) -> tuple[str, ...]:
        """Names of the columns that are part of the density."""
        return tuple(column.name for column in self.columns if column.is_modelled)

    @cached_property
    def discrete(self) -> tuple[Discrete, ...]:
        """The columns of the discrete block."""
        block: list[Discrete] = []
        for column in self.columns:
            flag = None
            if column.has_flag:
                flag = len(block)
                block.append(Discrete(column.name, "flag", column.missing_state + column.missing))
            if column.kind == "categorical":
                size = len(column.categories) + column.missing
                block.append(Discrete(column.name, "categorical", size))
            elif column.at_levels:
                size = len(column.atoms) + column.missing
                block.append(Discrete(column.name, "categorical", size))
            elif column.kind == "integer":
                low, high, soft = (
                    None if bound is None else int(bound)
                    for bound in (column.lower, column.upper, column.soft_lower)
                )
                step = int(column.step or 1)
                block.append(Discrete(column.name, "integer", 0, low, high, flag, soft, step))
        return tuple(block)

    @cached_property
    def continuous(self) -> tuple[str, ...]:
        """Names of the columns that have a density."""
        return tuple(column.name for column in self.columns if column.is_continuous)

    @cached_property
    def flag_of(self) -> tuple[int | None, ...]:
        """Of each continuous column, the index of its flag in the discrete block."""
        flags = {d.name: i for i, d in enumerate(self.discrete) if d.kind == "flag"}
        return tuple(flags.get(name) for name in self.continuous)

    def values_present(self, codes: np.ndarray) -> np.ndarray:
        """Return which continuous values are present, by their flags, ``(n, len(continuous))``."""
        present = np.ones((len(codes), len(self.continuous)), dtype=bool)
        for j, flag in enumerate(self.flag_of):
            if flag is not None:
                present[:, j] = codes[:, flag] == 0
        return present

    @cached_property
    def circular(self) -> np.ndarray:
        """Which continuous columns are circular, ``(len(continuous),)``."""
        kinds = {column.name: column.kind for column in self.columns}
        return np.array([kinds[name] == "circular" for name in self.continuous], dtype=bool)

    def encode(
        self,
        table: Any,
        *,
        rows_from: int = 0,
        on_unknown: str = "score",
        spread: np.random.Generator | None = None,
        holes: bool = False,
    ) -> Encoded:
        """Return the rows of a table as codes and values.

        Args:
            table: the columns of the schema, in any order if they have names.
            rows_from: number of the first row, for messages.
            on_unknown: "score" gives unseen categories a code of their own; "raise" raises an
                error.
            spread: for a fit: rounded values are spread evenly within their resolution.
            holes: whether values may be missing in any column. The code of a missing value has no
                meaning then, if the column of the fit had none.

        Raises:
            DataError: a column is missing, or a value is not of its kind; column and row are
                named.
        """
        check_choice("on_unknown", on_unknown, ("score", "raise"))
        table = frames.plain(table)
        self._check_columns(table)
        n = frames.length(table)
        codes = np.zeros((n, len(self.discrete)), dtype=np.int64)
        values = np.full((n, len(self.continuous)), np.nan)
        log_slopes, log_unseen = np.zeros(values.shape), np.zeros(codes.shape)
        for column in self.columns:
            if column.kind == "identifier":
                continue
            series = frames.read(table, column.name, rows_from=rows_from)
            codec.check_finite(series, rows_from)
            if column.kind == "empty":
                check_rows(column.name, "empty", series, rows_from)
                continue
            if series.missing.any() and not (column.missing or holes):
                row = rows_from + int(np.flatnonzero(series.missing)[0])
                where = f"column {column.name!r}, row {row}"
                raise DataError(where, "a value, as the fit saw no missing one", "none")
            at = [i for i, d in enumerate(self.discrete) if d.name == column.name]
            if column.kind == "categorical":
                codes[:, at[0]] = codec.categories(column, series, on_unknown, rows_from)
                continue
            if column.at_levels:
                codes[:, at[0]], log_unseen[:, at[0]] = codec.levels(column, series, rows_from)
                continue
            state = np.where(series.missing, column.missing_state, 0)
            if column.kind == "integer":
                codes[:, at[-1]] = codec.integers(column, series, rows_from)
            else:
                x = codec.numbers(column, series, rows_from)
                for k, atom in enumerate(column.atoms):
                    state[(x == atom) & ~series.missing] = 1 + k
                present = state == 0
                if spread is not None:
                    x = codec.spread(column, x, spread)
                j = self.continuous.index(column.name)
                values[present, j], log_slope = codec.to_line(column, x[present])
                if log_slope.any():  # zeros that are not written take no memory
                    log_slopes[present, j] = log_slope
            if column.has_flag:
                codes[:, at[0]] = state
        return Encoded(codes, values, log_slopes, log_unseen)

    def decode(self, codes: np.ndarray, values: np.ndarray, *, rows_from: int = 0) -> Any:
        """Return codes and values as a table like the one that the schema was inferred from.

        Numbers and times are rounded to the step of their column, and clipped to the range of its
        dtype. Identifiers are numbered from ``rows_from + 1`` on.
        """
        decoded = []
        for column in self.columns:
            if column.kind == "identifier":
                values_of = codec.running(column, rows_from, len(codes))
                missing = np.zeros(len(codes), dtype=bool)
            else:
                values_of, missing = self.decoded(column, codes, values)
            decoded.append(codec.series_of(column, values_of, missing))
        return frames.table_of(decoded, self.library)

    def decoded(
        self, column: Column, codes: np.ndarray, values: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of a column that is no identifier, and which are missing."""
        n = len(codes)
        at = [i for i, d in enumerate(self.discrete) if d.name == column.name]
        if column.kind == "empty":
            return np.zeros(n), np.ones(n, dtype=bool)
        if column.kind == "categorical":
            return codec.from_categories(column, codes[:, at[0]])
        if column.at_levels:
            return codec.from_levels(column, codes[:, at[0]])
        state = codes[:, at[0]] if column.has_flag else np.zeros(n, dtype=np.int64)
        missing: np.ndarray = state == column.missing_state
        if column.kind == "integer":
            return codec.from_integers(column, codes[:, at[-1]]), missing
        x = codec.from_line(column, values[:, self.continuous.index(column.name)])
        for k, atom in enumerate(column.atoms):
            x[state == 1 + k] = atom
        return codec.from_numbers(column, x), missing

    def to_dict(self) -> dict[str, Any]:
        """Return the schema ready for JSON."""
        return {"library": self.library, "columns": [c.to_dict() for c in self.columns]}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Schema":
        """Make a schema from what `to_dict` returned.

        Raises:
            ArgumentError: keys or values that make no schema.
        """
        check_keys("schema", document, ("library", "columns"))
        check_choice("library", document["library"], frames.LIBRARIES)
        return cls(tuple(map(Column.from_dict, document["columns"])), document["library"])

    def describe(
        self, table: Any = None, *, ranges: Mapping[str, tuple[float, float] | None] | None = None
    ) -> str:
        """Return a line for each column, for people.

        Args:
            table: a table to show the ranges of; the schema itself stores none.
            ranges: the ranges to show if there is no table, by column.
        """
        if table is None:
            seen = [(ranges or {}).get(name) for name in self.names]
        else:
            place = {name: at for at, name in enumerate(frames.names(table))}
            seen = _side_by_side(lambda c: _range(table, place.get(c.name), c), self.columns)
        width = max(map(len, self.names))
        return "\n".join(
            f"{column.name:<{width}}  {column.describe(values)}"
            for column, values in zip(self.columns, seen, strict=True)
        )

    def __str__(self) -> str:
        return self.describe()

    def _column(self, name: str) -> Column:
        return self.columns[self.names.index(name)]

    def _check_columns(self, table: Any) -> None:
        names = frames.names(table)
        if isinstance(table, np.ndarray) and len(names) != len(self.names):
            raise DataError("table", f"{len(self.names)} columns", len(names))
        if not isinstance(table, np.ndarray):
            for name in self.names:
                if name not in names and self._column(name).kind != "identifier":
                    raise DataError(f"column {name!r}", "a column of that name", "none")


class InferredSchema(NamedTuple):
    """A schema that was inferred from batches.

    Args:
        schema: the schema.
        ranges: the smallest and the largest value of each column of numbers or times, sentinels
            aside; None of other columns.
        sampled: number of rows that were drawn at random, by column; columns of which all rows
            were counted are not in it.
    """

    schema: Schema
    ranges: Mapping[str, tuple[float, float] | None]
    sampled: Mapping[str, int]


def _overrides(
    overrides: Mapping[str, Any] | None, names: Sequence[str], rows: int
) -> dict[str, Any]:
    """Return what overrides the columns of a table, which has at least a row and a column."""
    if rows < 1 or not names:
        shape = (rows, len(names))
        raise DataError("table", "at least one row and one column", f"shape {shape}")
    overrides = {str(k): v for k, v in (overrides or {}).items()}
    for name in overrides:
        if name not in names:
            raise ArgumentError("schema", f"names of columns: {', '.join(names)}", repr(name))
    return overrides


def _column(summary: Summary, distinct_rows: int, overrides: Mapping[str, Any]) -> Column:
    """Return the inferred column with what overrides it, not yet completed from the rows."""
    overridden = summary.name in overrides
    column = infer(summary, distinct_rows=distinct_rows, overridden=overridden)
    return column.override(overrides[summary.name]) if overridden else column


def _completed(column: Column, summary: Summary, overrides: Mapping[str, Any]) -> Column:
    """Return a column with what an override leaves open."""
    if summary.name not in overrides:
        return column
    return complete(column, summary, overrides[summary.name])


def _checked(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns of a table, if there is one to model."""
    if all(column.kind == "empty" for column in columns):
        raise DataError("table", "a value in at least one column", "only missing ones")
    if not any(column.is_modelled for column in columns):
        expected = "a column to model (give one the kind categorical if it is no identifier)"
        raise DataError("table", expected, "identifiers alone")
    return tuple(columns)


def _range(table: Any, at: int | None, column: Column) -> tuple[float, float] | None:
    """Return the smallest and the largest value of a column of numbers or times."""
    if column.kind not in _RANGED:
        return None
    series = (
        frames.read(table, column.name) if at is None else frames.read_at(table, at, column.name)
    )
    present = series.values[
        ~series.missing & ~np.isin(series.values, [v for v, _ in column.sentinels])
    ]
    return (float(present.min()), float(present.max())) if len(present) else None


def _side_by_side(
    function: Callable[[_Item], _Result], items: Iterable[_Item], threads: int | None = None
) -> list[_Result]:
    """Return the results of a function, computed in threads: NumPy and Arrow share the cores."""
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        return [*pool.map(function, items)]
