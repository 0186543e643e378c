"""Relations: tables in DuckDB, their columns as the survey found them, and queries of values."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from flowkit.tables.engine import literal
from flowkit.tables.forms import Form

_NATIVE = {"int64": "BIGINT", "double": "DOUBLE"}


@dataclass(frozen=True)
class Found:
    """What the survey found of one column.

    Args:
        position: that of the column in the file.
        name: its name.
        form: how it is written.
        arrow: the type of its values.
        present: rows with a value.
        minimum: the smallest value of a number or date, None of others.
        maximum: the largest one.
        total: the sum of a number.
        distinct: about how many different texts there are.
        native: whether the file's reader made its numbers, and must make them again.
    """

    position: int
    name: str
    form: Form
    arrow: pa.DataType
    present: int = 0
    minimum: Any = None
    maximum: Any = None
    total: float | None = None
    distinct: int | None = None
    native: bool = False


@dataclass(frozen=True)
class Relation:
    """A table in DuckDB.

    Args:
        connection: where it is.
        sql: a query with the columns c0, c1, ..., texts as they stand in the file.
        parameters: those of the query.
        kept: a condition that its rows meet; others, without any value, are left out.
        typed: Arrow types of the columns that are no texts, by position.
        held: whether the table is in memory, where only this connection sees it.
        wide: whether it has many columns for its rows, so that plans take longer than scans.
        with_types: from types by position to the query whose columns have them, where the
            file's reader can give them.
        has_digit_groups: whether an underscore stands between digits somewhere in the file, as
            in 1_000, which DuckDB's reader takes for a number.
    """

    connection: Any
    sql: str
    parameters: tuple[Any, ...] = ()
    kept: str | None = None
    typed: Mapping[int, pa.DataType] | None = None
    held: bool = False
    wide: bool = False
    with_types: Callable[[Mapping[int, str]], str] | None = None
    has_digit_groups: Callable[[], bool] = lambda: True

    @property
    def reads_decimals(self) -> bool:
        """Whether the file's reader makes the same numbers of decimals as the survey.

        It takes blanks before a number and zeros before its digits, and so does the survey in
        a column with decimal points.
        """
        return self.with_types is not None and not self.wide and not self.has_digit_groups()

    def natively(self, types: Mapping[int, pa.DataType]) -> "Relation":
        """Return the relation with columns of numbers that the file's reader makes."""
        if self.with_types is None:
            raise RuntimeError("the reader of this file makes texts only")
        sql = self.with_types({j: _NATIVE[str(kind)] for j, kind in types.items()})
        return replace(self, sql=sql, typed=types)

    def rows(self, query: str, *, blank_rows: bool = False) -> list[tuple[Any, ...]]:
        """Return the rows of a query over the table ``source``.

        Args:
            query: the query.
            blank_rows: whether rows without any value are there too. Then only the columns of
                the query are read, as aggregates of values need no others.
        """
        sql = f"WITH source AS ({self.sql if blank_rows else self._filtered}) {query}"
        found: list[tuple[Any, ...]] = self.connection.execute(
            sql, list(self.parameters)
        ).fetchall()
        return found

    def batches(self, query: str, rows: int) -> Iterator[pa.RecordBatch]:
        """Return the rows of a query as record batches, without the whole in memory."""
        cursor = self.connection if self.held else self.connection.cursor()
        sql = f"WITH source AS ({self._filtered}) {query}"
        reader = cursor.sql(sql, params=list(self.parameters)).to_arrow_reader(rows)
        yield from reader

    @property
    def _filtered(self) -> str:
        return self.sql if self.kept is None else f"SELECT * FROM ({self.sql}) WHERE {self.kept}"


def stripped(position: int, form: Form) -> str:
    """Return an expression of the text of a column, NULL where it is missing."""
    base = f"c{position}"
    if not form.plain or form.missing:
        # To trim a set of characters takes ten times as long as to see that none is there.
        blank = " OR ".join(f"contains(c{position}, {literal(space)})" for space in _SPACES)
        base = f"CASE WHEN {blank} THEN trim(c{position}, {literal(_SPACES)}) ELSE c{position} END"
    marks = sorted({*form.missing, ""})
    listed = ", ".join(literal(mark) for mark in marks)
    return f"CASE WHEN {base} NOT IN ({listed}) THEN {base} END"


_SPACES = " \t\r\n\u00a0\u202f\u2009"


def value(found: Found) -> str:
    """Return an expression of the values of a column, from its stripped text t0, t1, ..."""
    sql = found.form.sql(f"t{found.position}")
    return f"CAST({sql} AS BIGINT)" if found.arrow == pa.int64() else sql


def is_native(found: Found) -> bool:
    """Return whether the file's reader makes the values of a column as the survey does."""
    if found.native:
        return True
    return found.form.plain and not found.form.missing and str(found.arrow) in _NATIVE


def values_of(
    relation: Relation,
    found: Iterable[Found],
    native: Mapping[int, pa.DataType],
    more: Sequence[str] = (),
) -> tuple[Relation, str]:
    """Return a relation, and the query over it of the values v0, v1, ... of columns.

    Args:
        relation: the table.
        found: the columns.
        native: types of those whose numbers the file's reader makes, by position.
        more: expressions of further columns, with names.
    """
    if native and relation.with_types is not None:
        relation = relation.natively(native)
    found, typed = list(found), relation.typed or {}
    texts = [f for f in found if f.position not in typed]
    inner = [f"{stripped(f.position, f.form)} AS t{f.position}" for f in texts]
    inner += [f"c{f.position}" for f in found if f.position in typed]
    values = [
        f"{f'c{f.position}' if f.position in typed else value(f)} AS v{f.position}" for f in found
    ]
    values += [text.rpartition(" AS ")[2] for text in more]
    return (
        relation,
        f"SELECT {', '.join(values)} FROM (SELECT {', '.join([*inner, *more])} FROM source)",
    )
