"""Delimited text: its encoding, dialect and header, and its rows as Python reads them."""

import csv
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from flowkit.errors import DataError
from flowkit.tables import streams
from flowkit.tables.dialect import SPACE, check_closed, find_dialect, lines_of, unclosed
from flowkit.tables.formats import check_delimited
from flowkit.tables.header import Layout, find_layout
from flowkit.tables.numbers import is_plain
from flowkit.tables.options import Note, ReadOptions

_SAMPLE = 2000
_WIDE = 1000


@dataclass
class DelimitedText:
    """A text file with separated fields.

    Args:
        path: the file.
        options: what is known of it.
        scratch: a folder for copies.

    Raises:
        DataError: no text, no row, two rows of names, or a quotation mark that is never closed.
    """

    path: Path
    options: ReadOptions
    scratch: Path

    def __post_init__(self) -> None:
        with streams.open_bytes(self.path) as stream:
            head = stream.read(streams.HEAD)
            whole = not stream.read(1)
        check_delimited(self.path, head)
        self.notes: list[Note] = []
        self.encoding = streams.encoding_of(head, self.options.encoding)
        text = self._decode(head, whole)
        _check_no_nul(text, self.path)
        separator, text = self._separator_line(text)
        lines = itertools.islice(lines_of(text), self.options.skip, None)
        self._text = skipped = "".join(lines)
        comment = self.options.comment
        self.dialect = find_dialect(skipped, separator=separator, comment=comment)
        check_closed(skipped, whole, self.dialect)
        if self.dialect.separator is None:
            _check_no_fixed_width(skipped)
            _check_even(skipped)
        self.records = self._head_records(skipped)
        self.comments_below = False
        if not self.records:
            raise DataError("table", "at least one row", f"none in {self.path}")
        self._named_in_comment = self._add_names_in_comment()
        self._read_layout()
        self.note_encoding()
        self._note_dialect()

    def _read_layout(self) -> None:
        self.layout: Layout = find_layout(self.records, self.options, self.dialect.separator)
        self.names = self.layout.names
        self.notes += self.layout.notes
        if self.layout.first >= len(self.records):
            names = ", ".join(self.names[:5])[:80]
            raise DataError("table", "at least one row", f"only a line of names: {names}")
        if self.dialect.comment is not None:
            first = self.records[self.layout.first][0] - self.options.skip
            below = itertools.islice(lines_of(self._text), first, None)
            self.comments_below = any(self.dialect.is_comment(line) for line in below)
        self.rows_of_sample = [record for _, record in self.records[self.layout.first :][:_SAMPLE]]

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
        first, record = self.records[0]
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
        self.records.insert(0, (first - 1, names))
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

    def note_encoding(self) -> None:
        """Note an encoding that is not UTF-8."""
        if self.options.encoding is None and not streams.is_utf8(self.encoding):
            names = {"cp1252": "Latin-1 (windows-1252)", "latin-1": "Latin-1"}
            name = names.get(self.encoding, self.encoding.upper())
            self.notes.append(Note(None, f"read as {name}, not UTF-8", "--encoding"))

    def line_of(self, row: int) -> int | None:
        """Return the number of the line in which a row of the table ends, from 1."""
        with self.rows() as rows:
            for number, _ in itertools.islice(rows, row, row + 1):
                return number
        return None

    @contextmanager
    def rows(self) -> Iterator[Iterator[tuple[int, list[str]]]]:
        """Read the rows of the whole file, slowly, each with the number of its line."""
        with streams.open_text(self.path, self.encoding) as text:
            for _ in range(self.options.skip):
                text.readline()
            records = self.dialect.records(iter(text))
            for _ in range(self.layout.first - self._named_in_comment):
                next(records, None)
            skip = self.options.skip
            every = not self.drops_blank_rows
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

    @property
    def drops_blank_rows(self) -> bool:
        """Whether rows without any value are left out, which takes all columns at once."""
        return len(self.names) <= _WIDE and not self.options.empty


def _bare(field: str) -> str:
    return field.lstrip("\ufeff")


def first_bytes(path: Path) -> bytes:
    """Return the bytes that show how a file is compressed."""
    with open(path, "rb") as file:
        return file.read(8)


def _check_no_fixed_width(text: str) -> None:
    """Raise a `DataError` if fields stand in columns of fixed width, with blanks between them."""
    lines = [line.strip() for line in itertools.islice(lines_of(text), _SAMPLE) if line.strip()]
    gaps = [len(re.findall(r"\S[ \t]{2,}(?=\S)", line)) for line in lines]
    if len(lines) > 2 and gaps[0] and sum(gap > 0 for gap in gaps) > 0.9 * len(lines):
        expected = (
            "one separator between fields; write the table again, e.g. with pandas.read_fwf, or "
            "give --separator , if each line is one text"
        )
        raise DataError("table", expected, "columns of fixed width")


def _check_even(text: str) -> None:
    """Raise a `DataError` if lines have separators, but not equally many."""
    lines = [line for line in itertools.islice(lines_of(text), _SAMPLE) if line.strip()]
    for separator in (",", ";", "\t", "|"):
        parted = re.compile(rf"\S{re.escape(separator)}(?=\S)")
        widths = [len(parted.findall(line)) + 1 for line in lines]
        if len(lines) > 2 and widths[0] > 1 and sum(w > 1 for w in widths) > 0.9 * len(lines):
            other = next((i for i, width in enumerate(widths) if width != widths[0]), None)
            if other is None:
                continue
            expected = (
                "equally many fields in all lines; delete the lines that are no rows, or give "
                "--skip for those above, or --separator"
            )
            got = f"{widths[0]} between `{separator}` in the first line, {widths[other]} in another"
            raise DataError("table", expected, got)


def _check_no_nul(text: str, path: Path) -> None:
    if "\x00" in text:
        line = text[: text.index("\x00")].count("\n") + 1
        expected = "text without NUL bytes; write the table again, or give its --encoding"
        raise DataError(f"line {line} of {path.name}", expected, "a NUL byte")
