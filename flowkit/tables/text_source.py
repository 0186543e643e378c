"""Delimited text as a relation of DuckDB, from the file itself or a plain copy of it."""

import csv
import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from duckdb import Error as DuckError

from flowkit.errors import DataError
from flowkit.tables import streams
from flowkit.tables.delimited import DelimitedText, first_bytes
from flowkit.tables.dialect import SPACE, Dialect, unclosed
from flowkit.tables.engine import connect, literal
from flowkit.tables.formats import compression_of
from flowkit.tables.relation import Relation

_CHECKED = 50
_GLOB = "*?[]{}"
_TAIL = 65_536
_BLOCK = 2**22
# A table of fewer bytes a column than this takes longer to plan than to read.
_WIDE_BYTES = 20_000


class TextSource(DelimitedText):
    """A text file with separated fields, which DuckDB reads.

    Where DuckDB cannot read the file as it is, a copy in the folder ``scratch`` is read: for
    another encoding, blanks as separator, or comments among the rows. The arguments are those of
    `DelimitedText`.
    """

    def __post_init__(self) -> None:
        self._source: Path = self.path
        self._plain = True
        super().__post_init__()

    def last_row(self) -> list[str] | None:
        """Return the last row where that is quick to know: of files that are not compressed."""
        if compression_of(first_bytes(self._source)) is not None:
            return None
        with open(self._source, "rb") as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - _TAIL, 0))
            tail = file.read()
        lines = [line for line in tail.decode("utf-8", "replace").splitlines() if line.strip()]
        dialect = replace(self.dialect, comment=None) if self._plain else Dialect()
        try:
            _, record = next(iter(dialect.records(lines[-1:])))
        except (StopIteration, csv.Error):
            return None
        return record if len(record) == len(self.names) else None

    def relation(self) -> Relation:
        """Return the table as DuckDB reads it.

        Raises:
            DataError: lines that are no rows of one table.
        """
        self._source, self._plain = self.path, True
        if self._needs_rewriting():
            self._rewrite()
        elif self._needs_copy():
            self._source = self.scratch / "text"
            streams.copy_text(self.path, self.encoding, self._source)
        relation = self._connected()
        try:
            agrees = self._agrees(relation)
        except DuckError as error:
            again = self.retry(error)
            if again is None:
                raise
            return again
        if not agrees:
            self._rewrite()
            return self._connected()
        return relation

    def retry(self, error: Exception) -> Relation | None:
        """Return another reading of the file after an error; None if there is no other.

        Raises:
            DataError: a fault of the file.
        """
        if "unicode" in str(error).lower() and self.options.encoding is None:
            if not streams.is_utf8(self.encoding):
                return None
            self.encoding = "cp1252"
            self.note_encoding()
            return self.relation()
        problem = self.problem(error)
        if problem is not None:
            raise problem from error
        if not self._plain:
            return None
        self._rewrite()
        return self._connected()

    def problem(self, error: Exception) -> DataError | None:
        """Return what is wrong with the file, None if nothing is that Python's reader finds."""
        width, last = len(self.names), self.records[self.layout.first - 1][0]
        if "unicode" in str(error).lower() and self.options.encoding is not None:
            expected = f"text in {self.options.encoding}; give another --encoding, e.g. cp1252"
            return DataError("table", expected, f"bytes that are none in {self.path}")
        try:
            with self.rows() as rows:
                for number, record in rows:
                    if len(record) != width:
                        return self._ragged(last + 1, number, record, width)
                    last = number
        except csv.Error:
            return unclosed(last + 1, self.dialect)
        except DataError as found:
            return found
        return None

    def _ragged(self, first: int, number: int, record: list[str], width: int) -> DataError:
        if any(field.count("\n") > 20 for field in record) and number - first > 20:
            return unclosed(first, self.dialect)
        start = record[0].strip()[:40] if record else ""
        hint = "correct the line, or give --separator"
        if start[:1] in ("#", "%", "!", "/"):
            hint = f"if it is a comment, give --comment {literal(start[0])}"
        return DataError(
            f"line {number} of {self.path.name}",
            f"{width} columns, as in the lines before; {hint}",
            f"{len(record)}: {','.join(record)[:60]}",
        )

    def _needs_copy(self) -> bool:
        """Return whether DuckDB needs a copy in UTF-8, decompressed, under a plain name."""
        return (
            compression_of(first_bytes(self.path)) not in (None, "gzip")
            or not streams.is_utf8(self.encoding)
            or any(mark in str(self.path.absolute()) for mark in _GLOB)
        )

    def _needs_rewriting(self) -> bool:
        """Return whether the rows are separated in a way that DuckDB does not read."""
        comment = self.dialect.comment is not None
        return self.dialect.separator == SPACE or (
            comment and (self.options.comment is not None or self.comments_below)
        )

    def _rewrite(self) -> None:
        """Write the rows alone, with commas between the fields."""
        target = self.scratch / "rows.csv"
        width = len(self.names)
        last = self.records[self.layout.first - 1][0] if self.layout.first else 0
        with open(target, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            try:
                with self.rows() as rows:
                    for number, record in rows:
                        if len(record) != width:
                            raise self._ragged(last + 1, number, record, width)
                        writer.writerow(record)
                        last = number
            except csv.Error as error:
                raise unclosed(last + 1, self.dialect) from error
        self._source, self._plain = target, False

    def _connected(self) -> Relation:
        path = self._source.absolute()
        connection = connect([path], self.scratch, columns=len(self.names))
        dialect = self.dialect if self._plain else Dialect()
        compression = compression_of(first_bytes(path)) or "none"
        arguments = {
            "auto_detect": "false",
            "delim": literal(dialect.separator or "\x1e"),
            "quote": literal(dialect.quote),
            "escape": literal(dialect.escape),
            "header": "false",
            "skip": str(self._lines_above() if self._plain else 0),
            "compression": literal(compression),
            "hive_partitioning": "false",
        }
        listed = ", ".join(f"{key}={value}" for key, value in arguments.items())
        names = [f"c{j}" for j in range(len(self.names))]

        def query(types: Mapping[int, str]) -> str:
            columns = [f"'c{j}': '{types.get(j, 'VARCHAR')}'" for j in range(len(names))]
            read = f"read_csv(?, columns={{{', '.join(columns)}}}, {listed})"
            return f"SELECT {', '.join(names)} FROM {read}"

        @functools.cache
        def has_digit_groups() -> bool:
            return compression != "none" or _has_digit_groups(path, self._lines_above())

        each = ", ".join(f"{name}::VARCHAR" for name in names)
        wide = path.stat().st_size < _WIDE_BYTES * len(names)
        return Relation(
            connection,
            query({}),
            (str(path),),
            kept=f"COALESCE({each}) IS NOT NULL" if self.drops_blank_rows else None,
            wide=wide,
            with_types=query,
            has_digit_groups=has_digit_groups,
        )

    def _lines_above(self) -> int:
        """Return the records above the first row, as DuckDB counts them: blank lines too."""
        return self.records[self.layout.first - 1][0] if self.layout.first else self.options.skip

    def _agrees(self, relation: Relation) -> bool:
        """Return whether DuckDB's first rows are those of Python's reader."""
        theirs = relation.rows(f"SELECT * FROM source LIMIT {_CHECKED}")
        ours = self.rows_of_sample
        if self.drops_blank_rows:
            ours = [r for r in ours if any(f.strip() for f in r)]
        ours = ours[:_CHECKED]
        pairs = zip(theirs, ours, strict=False)
        same = all([(c or "").strip() for c in a] == [c.strip() for c in b] for a, b in pairs)
        return same and len(theirs) == len(ours)

    def without(self, relation: Relation, row: list[str]) -> Relation:
        """Return a relation without the rows that are like one of totals."""
        conditions = " AND ".join(f"COALESCE(c{j}, '') = ?" for j in range(len(row)))
        sql = f"SELECT * FROM ({relation.sql}) WHERE NOT ({conditions})"
        parameters = (*relation.parameters, *row)
        return replace(relation, sql=sql, parameters=parameters, with_types=None)


def _has_digit_groups(path: Path, lines_above: int) -> bool:
    """Return whether below some lines an underscore stands between digits, as in 1_000."""
    with open(path, "rb") as file:
        for _ in range(lines_above):
            file.readline()
        last = b""
        while block := file.read(_BLOCK):
            text = last + block
            if b"_" in text:
                code = np.frombuffer(text, np.uint8)
                at = np.flatnonzero(code[1:-1] == ord("_")) + 1
                beside = code[np.stack([at - 1, at + 1])]
                if ((beside >= ord("0")) & (beside <= ord("9"))).all(axis=0).any():
                    return True
            last = text[-2:]
    return False
