"""Table files: any file of rows and columns as Arrow, with a note on each guess."""

import os
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from flowkit.errors import DataError
from flowkit.tables.formats import TEXT, check_file, format_to_read
from flowkit.tables.options import Note, ReadOptions
from flowkit.tables.scratch import ScratchFolder

_ROWS = 65_536
# Cells of one batch: wide tables come in fewer rows.
_CELLS = 4_000_000


@dataclass(frozen=True)
class Reading:
    """A table that was read.

    Args:
        table: the rows.
        notes: the guesses that were made.
    """

    table: pa.Table
    notes: tuple[Note, ...]


class TableFile:
    r"""A table in a file, whose types are those of all its rows.

    Opening the file reads all of it once or a few times, in pieces. Memory does not grow with the
    number of rows.

    Args:
        path: the file; the ending of its name is its format, text if it is none of them.
        options: how it is written, where that is not to be guessed.
        **changes: single options in place of those in ``options``.

    Attributes:
        path: the file.
        schema: names and Arrow types of the columns.
        notes: the guesses that were made.
        hints: by name, "code" of text whose spelling matters (02139), "flag" of two words for yes
            and no, "identifier" of a column that is different in every row, "index" of one that
            counts the rows.
        n_rows: the number of rows.
        settings: what other files of the same making are to be read with, options by name: the
            order of day and month, and the spellings of missing values that were given.

    Raises:
        DataError: the file is not there, is no table, or has a value that is none of its column's
            kind.
        ArgumentError: an option that does not fit.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "houses.csv")
        >>> _ = path.write_text("price;rooms\n1,5;3\n2,25;4\n")
        >>> with TableFile(path) as file:
        ...     print(file.schema.types, *file.notes, sep="\n")
        [DataType(double), DataType(int64)]
        read `;` as separator (--separator)
        read `,` as decimal mark (--decimal)
    """

    path: Path
    schema: pa.Schema
    notes: tuple[Note, ...]
    hints: Mapping[str, str]
    n_rows: int
    settings: Mapping[str, Any]

    def __init__(
        self, path: str | os.PathLike[str], options: ReadOptions | None = None, **changes: Any
    ) -> None:
        self.options = ReadOptions.of(options, **changes)
        self.path = check_file(path)
        ending = format_to_read(path)
        scratch = ScratchFolder()
        self._finalizer = weakref.finalize(self, scratch.remove)
        try:
            self._table = _open(self.path, ending, self.options, scratch.path)
            if self._table.n_rows == 0:
                raise DataError("table", "at least one row", f"none in {self.path}")
        except OSError as error:
            self.close()
            expected = "a place for a copy of the file; TMPDIR names another folder"
            raise DataError("table", expected, f"{self.path}: {error}") from error
        except BaseException:
            self.close()
            raise
        self.schema = self._table.schema
        self.notes = tuple(self._table.notes)
        self.hints = dict(self._table.hints)
        self.n_rows = self._table.n_rows
        self._state = _state(self.path)
        settings = {
            "dates": self._table.dates or self.options.dates,
            "missing": list(self.options.missing),
            "present": list(self.options.present),
        }
        self.settings = {name: value for name, value in settings.items() if value}

    def batches(self, rows: int | None = None) -> Iterator[pa.RecordBatch]:
        """Return the rows, in the order of the file, as record batches of at most ``rows``.

        Raises:
            DataError: the file has changed since it was opened.
        """
        if _state(self.path) != self._state:
            raise DataError("table", "a file that does not change", f"{self.path}, which did")
        most = rows or max(1, min(_ROWS, _CELLS // max(len(self.schema), 1)))
        for batch in self._table.batches(most):
            for start in range(0, batch.num_rows, most):
                yield batch.slice(start, most)

    def read(self) -> pa.Table:
        """Return all rows."""
        return pa.Table.from_batches(self.batches(_ROWS), self.schema)

    def close(self) -> None:
        """Delete what was written for reading: copies of files that are not plain text."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_table(
    path: str | os.PathLike[str], options: ReadOptions | None = None, **changes: Any
) -> Reading:
    r"""Read a whole table; the arguments are those of `TableFile`.

    Returns:
        The table, and a note on each guess.

    Raises:
        DataError: as `TableFile`.
        ArgumentError: as `TableFile`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "zips.csv")
        >>> _ = path.write_text('zip,price\n02139,"5,350"\n10001,"6,120"\n')
        >>> reading = read_table(path, thousands=",")
        >>> reading.table.to_pylist()[0]
        {'zip': '02139', 'price': 5350}
        >>> print(reading.notes[0])
        zip: text, as `02139` starts with a zero (--column zip=number)
    """
    with TableFile(path, options, **changes) as file:
        return Reading(file.read(), file.notes)


def read_batches(
    path: str | os.PathLike[str],
    options: ReadOptions | None = None,
    *,
    rows: int | None = None,
    **changes: Any,
) -> Iterator[pa.RecordBatch]:
    """Return the rows of a table in pieces; the arguments are those of `TableFile`.

    Args:
        path: the file.
        options: how it is written, where that is not to be guessed.
        rows: the most rows of one piece.
        **changes: single options in place of those in ``options``.
    """
    with TableFile(path, options, **changes) as file:
        yield from file.batches(rows)


def _open(path: Path, ending: str, options: ReadOptions, scratch: Path) -> Any:
    if ending in TEXT:
        from flowkit.tables.text_table import TextTable

        return TextTable(path, options, scratch)
    from flowkit.tables.binary import open_table

    return open_table(path, ending, options, scratch)


def _state(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns
