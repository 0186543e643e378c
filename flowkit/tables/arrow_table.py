"""Tables whose columns have types in the file, as batches of Arrow."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowkit.errors import DataError
from flowkit.tables.forms import quoted
from flowkit.tables.header import choose
from flowkit.tables.numbers import is_plain
from flowkit.tables.options import Note, ReadOptions

_FIRST_ROWS = 65_536
_FEWEST_RUNNING = 5

Batches = Callable[[list[str], int], Iterator[pa.RecordBatch]]


class ArrowTable:
    """A table whose types are known from the file.

    Args:
        schema: names and types of its columns.
        batches: from names of columns and a number of rows to the batches of the rows.
        options: which columns to read.
        nulls: for each column, whether it has no value at all; None to find out by reading.
        n_rows: number of rows, None to find out by reading.

    Raises:
        DataError: columns of lists, structs, binary or complex values.
    """

    def __init__(
        self,
        schema: pa.Schema,
        batches: Batches,
        options: ReadOptions,
        *,
        nulls: Sequence[bool] | None = None,
        n_rows: int | None = None,
    ) -> None:
        self.notes: list[Note] = []
        self.dates: str | None = None
        self.hints: dict[str, str] = {}
        fields = [schema.field(j) for j in choose(schema.names, options)]
        check_scalars(fields)
        self._batches, self._missing = batches, options.missing
        names = [field.name for field in fields]
        blank = {f.name for f, none in zip(schema, nulls or (), strict=False) if none}
        if nulls is None or n_rows is None:
            n_rows, blank = _scan(batches(names, 65_536), names)
        self.n_rows = n_rows
        if n_rows and not options.empty:
            left_out = [name for name in names if name in blank]
            if len(left_out) == len(names):
                raise DataError("table", "at least one value", "none")
            fields = [field for field in fields if field.name not in blank]
            self.notes += left_out_note(left_out)
        for name in (f.name for f in fields if f.name.startswith("__index_level_")):
            self.hints[name] = "index"
            self.notes.append(Note(name, "an index of pandas", f"--drop {name}"))
        self.schema = pa.schema(fields)
        whole = [f.name for f in fields if pa.types.is_integer(f.type) and f.name not in self.hints]
        if whole:
            for name in _running(batches(whole, _FIRST_ROWS), whole):
                self.hints[name] = "index"
                self.notes.append(
                    Note(name, "counts the rows: an index?", f"--drop {quoted(name)}")
                )

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Return the rows in pieces."""
        for batch in self._batches(self.schema.names, rows):
            batch = batch.cast(self.schema) if batch.schema != self.schema else batch
            yield _without(batch, self._missing) if self._missing else batch


def left_out_note(names: Sequence[str]) -> list[Note]:
    """Return the note on columns without values that are left out."""
    if not names:
        return []
    many = "1 empty column" if len(names) == 1 else f"{len(names)} empty columns"
    listed = ", ".join([name for name in names if name][:5]) + (", ..." if len(names) > 5 else "")
    return [Note(None, f"{many} left out" + (f": {listed}" if listed else ""), "--empty")]


def check_scalars(fields: Sequence[pa.Field]) -> None:
    """Raise a `DataError` that names the columns whose values are no scalars."""
    bad = [field for field in fields if not _is_scalar(field.type)]
    if bad:
        named = ", ".join(f"{field.name} ({field.type})"[:60] for field in bad[:3])
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        drops = " ".join(f"--drop {field.name}" for field in bad[:3])
        raise DataError(
            "table",
            f"columns of numbers, texts or times; leave the others out with {drops}, or make "
            "columns of what is inside",
            f"{named}{more}",
        )


def _is_scalar(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _is_scalar(kind.value_type)
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    binary = binary or pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind)
    return not (pa.types.is_nested(kind) or binary)


def _without(batch: pa.RecordBatch, missing: Sequence[str]) -> pa.RecordBatch:
    """Return rows in which values that were said to be missing are; numbers compare as numbers."""
    columns = [_blanked(column, missing) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _blanked(column: Any, missing: Sequence[str]) -> Any:
    kind = column.type
    if pa.types.is_dictionary(kind):
        codes = column.indices
        gone = pc.is_in(
            codes, pc.indices_nonzero(_are(column.dictionary, missing)).cast(codes.type)
        )
        codes = pc.if_else(gone, pa.scalar(None, codes.type), codes)
        return pa.DictionaryArray.from_arrays(codes, column.dictionary, ordered=kind.ordered)
    return pc.if_else(_are(column, missing), pa.scalar(None, kind), column)


def _are(column: Any, spellings: Sequence[str]) -> Any:
    """Return which values are written in one of these ways."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers = pa.array([float(s) for s in spellings if is_plain(s)], pa.float64())
        return pc.is_in(column.cast(pa.float64(), safe=False), numbers)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pc.is_in(column, pa.array(spellings, kind))
    return pa.array([False] * len(column))


def _running(batches: Iterator[pa.RecordBatch], names: list[str]) -> list[str]:
    """Return names of columns that count the rows; reading ends with the last such column."""
    last: dict[str, Any] = dict.fromkeys(names)
    rows = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        for name, before in list(last.items()):
            column = batch.column(name)
            counts = column.fill_null(0).to_numpy().astype(np.int64)
            starts = counts[:1] - 1 if before is None else np.array([before])
            if column.null_count or (np.diff(counts, prepend=starts) != 1).any():
                del last[name]
            else:
                last[name] = counts[-1]
        rows += batch.num_rows
        if not last:
            return []
    return list(last) if rows >= _FEWEST_RUNNING else []


def _scan(batches: Iterator[pa.RecordBatch], names: list[str]) -> tuple[int, set[str]]:
    rows, blank = 0, set(names)
    for batch in batches:
        rows += batch.num_rows
        for name in list(blank):
            if batch.column(name).null_count < batch.num_rows:
                blank.discard(name)
    return rows, blank
