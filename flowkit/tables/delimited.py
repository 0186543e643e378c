"""Delimited text: a file of any separator and encoding as a relation of DuckDB."""

import csv
import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from duckdb import Error as DuckError

from flowkit.errors import DataError
from flowkit.tables import streams
from flowkit.tables.dialect import SPACE, Dialect, check_closed, find_dialect, lines_of, unclosed
from flowkit.tables.engine import connect, literal
from flowkit.tables.formats import check_text, compression_of
from flowkit.tables.header import Layout, find_layout
from flowkit.tables.numbers import is_plain
from flowkit.tables.options import Note, ReadOptions
from flowkit.tables.survey import Relation

_SAMPLE = 2000
_CHECKED = 50
_GLOB = "*?[]{}"
_TAIL = 65_536
_WIDE = 1000
# A table of fewer bytes a column than this takes longer to plan than to read.
_WIDE_BYTES = 20_000


@dataclass
class DelimitedText:
    """A text file with separated fields.

    Args:
        path: the file.
        options: what is known of it.
        scratch: a folder for copies, where DuckDB cannot read the file as it is.

    Raises:
        DataError: no text, no row, or lines that are no rows of one table.
    """

    path: Path
    options: ReadOptions
    scratch: Path

    def __post_init__(self) -> None:
        with streams.open_bytes(self.path) as stream:
            head = stream.read(streams.HEAD)
            whole = not stream.read(1)
        check_text(self.path, head)
        self.notes: list[Note] = []
        self._source, self._plain = self.path, True
        self.encoding = streams.encoding_of(head, self.options.encoding)
        text = self._decode(head, whole)
        _check_no_nul(text, self.path)
        separator, text = self._separator_line(text)
        lines = itertools.islice(lines_of(text), self.options.skip, None)
        self._text = skipped = "".join(lines)
        comment = self.options.comment
        self.dialect = find_dialect(skipped, separator=separator, comment=comment)
        check_closed(skipped, whole, self.dialect)
        self._records = self._head_records(skipped)
        self._comments_below = False
        if not self._records:
            raise DataError("table", "at least one row", f"none in {self.path}")
        self._named_in_comment = self._add_names_in_comment()
        self._read_layout()
        self._note_encoding()
        self._note_dialect()

    def _read_layout(self) -> None:
        self.layout: Layout = find_layout(self._records, self.options, self.dialect.separator)
        self.names = self.layout.names
        self.notes += self.layout.notes
        if self.layout.first >= len(self._records):
            names = ", ".join(self.names[:5])
            raise DataError("table", "at least one row", f"only a line of names: {names}")
        if self.dialect.comment is not None:
            first = self._records[self.layout.first][0] - self.options.skip
            below = itertools.islice(lines_of(self._text), first, None)
            self._comments_below = any(self.dialect.is_comment(line) for line in below)
        self.rows_of_sample = [record for _, record in self._records[self.layout.first :][:_SAMPLE]]

    def _separator_line(self, text: str) -> tuple[str | None, str]:
        """Return the separator, where a first line "sep=;" gives it, and the options skip it."""
        match = re.match('\ufeff?"?sep=(.)"?\r?\n', text)
        if match is None or self.options.separator is not None or self.options.skip:
            return self.options.separator, text
        self.options = ReadOptions.of(self.options, skip=1, separator=match[1])
        return match[1], text

    def _add_names_in_comment(self) -> bool:
        """Take the last comment above the first record as the header, if it has its width."""
        if self.dialect.comment is None or self.options.header is False:
            return False
        first, record = self._records[0]
        above = list(itertools.islice(lines_of(self._text), first - self.options.skip - 1))
        if not above or not self.dialect.is_comment(above[-1]):
            return False
        bare = replace(self.dialect, comment=None)
        line = above[-1].lstrip(" \t\ufeff")[len(self.dialect.comment) :].lstrip(" ")
        names = next((fields for _, fields in bare.records([line])), [])
        if len(names) != len(record) or any(is_plain(name.strip()) for name in names):
            return False
        if not any(is_plain(field.strip()) for field in record):
            return False
        self._records.insert(0, (first - 1, names))
        return True

    def _decode(self, head: bytes, whole: bool) -> str:
        try:
            text = head.decode(self.encoding, errors="strict" if whole else "ignore")
        except UnicodeDecodeError as error:
            if self.options.encoding is None and streams.is_utf8(self.encoding):
                self.encoding = streams.eight_bit(head)
                return self._decode(head, whole)
            expected = f"text in {self.encoding}; give another --encoding, e.g. cp1252"
            raise DataError("table", expected, f"bytes that are none in {self.path}") from error
        if not whole and "\n" in text:
            text = text[: text.rindex("\n") + 1]
        return text

    def _head_records(self, text: str) -> list[tuple[int, list[str]]]:
        found = []
        skip = self.options.skip
        try:
            for number, record in self.dialect.records(lines_of(text)):
                found.append((number + skip, [_bare(field) for field in record]))
                if len(found) > _SAMPLE:
                    break
        except csv.Error as error:
            raise unclosed(found[-1][0] + 1 if found else 1, self.dialect) from error
        return found

    def _note_dialect(self) -> None:
        comment, separator = self.dialect.comment, self.dialect.separator
        if comment and self.options.comment is None:
            note = f"lines that start with `{comment}` left out"
            self.notes.append(Note(None, note, "--comment"))
        tabs = any(end in self.path.name.lower() for end in (".tsv", ".tab"))
        if self.options.separator is not None or separator == ("\t" if tabs else ","):
            return
        if separator is not None:
            name = {"\t": "tabs", SPACE: "blanks"}.get(separator, f"`{separator}`")
            self.notes.append(Note(None, f"read {name} as separator", "--separator"))
        elif not all(is_plain(row[0].strip() or "0") for row in self.rows_of_sample):
            note = "one column, as no separator was found"
            self.notes.append(Note(None, note, "--separator"))

    def _note_encoding(self) -> None:
        if self.options.encoding is None and not streams.is_utf8(self.encoding):
            names = {"cp1252": "Latin-1 (windows-1252)", "latin-1": "Latin-1"}
            name = names.get(self.encoding, self.encoding.upper())
            self.notes.append(Note(None, f"read as {name}, not UTF-8", "--encoding"))

    def line_of(self, row: int) -> int | None:
        """Return the number of the line in which a row of the table ends, from 1."""
        with self._rows() as rows:
            for number, _ in itertools.islice(rows, row, row + 1):
                return number
        return None

    @contextmanager
    def _rows(self) -> Iterator[Iterator[tuple[int, list[str]]]]:
        """Read the rows of the whole file, slowly, each with the number of its line."""
        with streams.open_text(self.path, self.encoding) as text:
            for _ in range(self.options.skip):
                text.readline()
            records = self.dialect.records(iter(text))
            for _ in range(self.layout.first - self._named_in_comment):
                next(records, None)
            skip = self.options.skip
            every = not self._drops_blank_rows
            yield ((n + skip, r) for n, r in records if every or any(f.strip() for f in r))

    def samples(self) -> dict[int, dict[str, float]]:
        """Return the texts of the first rows with the number of rows of each, by column."""
        found: dict[int, dict[str, float]] = {j: {} for j in range(len(self.names))}
        for record in self.rows_of_sample:
            if len(record) != len(self.names):
                continue
            for j, field in enumerate(record):
                text = field.strip()
                found[j][text] = found[j].get(text, 0) + 1
        return found

    def last_row(self) -> list[str] | None:
        """Return the last row where that is quick to know: of files that are not compressed."""
        if compression_of(_first_bytes(self._source)) is not None:
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
            self._note_encoding()
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
        width, last = len(self.names), self._records[self.layout.first - 1][0]
        if "unicode" in str(error).lower() and self.options.encoding is not None:
            expected = f"text in {self.options.encoding}; give another --encoding, e.g. cp1252"
            return DataError("table", expected, f"bytes that are none in {self.path}")
        try:
            with self._rows() as rows:
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
            compression_of(_first_bytes(self.path)) not in (None, "gzip")
            or not streams.is_utf8(self.encoding)
            or any(mark in str(self.path.absolute()) for mark in _GLOB)
        )

    def _needs_rewriting(self) -> bool:
        """Return whether the rows are separated in a way that DuckDB does not read."""
        comment = self.dialect.comment is not None
        return self.dialect.separator == SPACE or (
            comment and (self.options.comment is not None or self._comments_below)
        )

    def _rewrite(self) -> None:
        """Write the rows alone, with commas between the fields."""
        target = self.scratch / "rows.csv"
        width = len(self.names)
        last = self._records[self.layout.first - 1][0] if self.layout.first else 0
        with open(target, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            try:
                with self._rows() as rows:
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
        compression = compression_of(_first_bytes(path)) or "none"
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

        def query(types: Mapping[int, str], *, blank: bool = False) -> str:
            columns = [f"'c{j}': '{types.get(j, 'VARCHAR')}'" for j in range(len(names))]
            read = f"read_csv(?, columns={{{', '.join(columns)}}}, {listed})"
            sql = f"SELECT {', '.join(names)} FROM {read}"
            if self._drops_blank_rows:
                each = [f"{name}::VARCHAR" if types else name for name in names]
                sql += f" WHERE COALESCE({', '.join(each)}) IS {'' if blank else 'NOT '}NULL"
            return sql

        self._blank_rows = query({}, blank=True)

        wide = path.stat().st_size < _WIDE_BYTES * len(names)
        return Relation(connection, query({}), (str(path),), wide=wide, with_types=query)

    @property
    def _drops_blank_rows(self) -> bool:
        """Whether rows without any value are left out, which takes all columns at once."""
        return len(self.names) <= _WIDE

    def _lines_above(self) -> int:
        """Return the records above the first row, as DuckDB counts them: blank lines too."""
        return self._records[self.layout.first - 1][0] if self.layout.first else self.options.skip

    def _agrees(self, relation: Relation) -> bool:
        """Return whether DuckDB's first rows are those of Python's reader."""
        theirs = relation.rows(f"SELECT * FROM source LIMIT {_CHECKED}")
        ours = self.rows_of_sample
        if self._drops_blank_rows:
            ours = [r for r in ours if any(f.strip() for f in r)]
        ours = ours[:_CHECKED]
        pairs = zip(theirs, ours, strict=False)
        same = all([(c or "").strip() for c in a] == [c.strip() for c in b] for a, b in pairs)
        return same and len(theirs) == len(ours)

    def note_blank_rows(self, relation: Relation) -> None:
        """Note how many rows without any value were left out."""
        if self._drops_blank_rows:
            blank = replace(relation, sql=self._blank_rows, parameters=relation.parameters[:1])
            count = blank.rows("SELECT count(*) FROM source")[0][0]
            if count:
                rows = "1 row" if count == 1 else f"{count:,} rows"
                self.notes.append(Note(None, f"{rows} without any value left out", None))

    def without(self, relation: Relation, row: list[str]) -> Relation:
        """Return a relation without the rows that are like one of totals."""
        conditions = " AND ".join(f"COALESCE(c{j}, '') = ?" for j in range(len(row)))
        sql = f"SELECT * FROM ({relation.sql}) WHERE NOT ({conditions})"
        parameters = (*relation.parameters, *row)
        return replace(relation, sql=sql, parameters=parameters, with_types=None)


def _bare(field: str) -> str:
    return field.lstrip("\ufeff")


def _first_bytes(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(8)


def _check_no_nul(text: str, path: Path) -> None:
    if "\x00" in text:
        line = text[: text.index("\x00")].count("\n") + 1
        expected = "text without NUL bytes; write the table again, or give its --encoding"
        raise DataError(f"line {line} of {path.name}", expected, "a NUL byte")
