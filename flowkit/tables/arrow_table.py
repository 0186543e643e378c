"""Tables whose columns have types in the file, as batches of Arrow."""

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from flowkit.errors import DataError
from flowkit.tables.header import choose
from flowkit.tables.options import Note, ReadOptions

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
        self._batches = batches
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

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Return the rows in pieces."""
        for batch in self._batches(self.schema.names, rows):
            yield batch.cast(self.schema) if batch.schema != self.schema else batch


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


def _scan(batches: Iterator[pa.RecordBatch], names: list[str]) -> tuple[int, set[str]]:
    rows, blank = 0, set(names)
    for batch in batches:
        rows += batch.num_rows
        for name in list(blank):
            if batch.column(name).null_count < batch.num_rows:
                blank.discard(name)
    return rows, blank
