"""Dialects of delimited text: separator, quotes and comments, from the first lines of a file."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from flowkit.errors import DataError
from flowkit.tables.clock import CLOCK

SPACE = "space"
_SEPARATORS = (
    ",",
    ";",
    "\t",
    "|",
    SPACE,
    "::",
    "||",
    "~",
    "^",
    "\x01",
    "\x1f",
    ":",
    "&",
    "#",
    "/",
    "*",
)
_COMMENTS = ("#", "%", "//", "!", "--")
_SAMPLE = 400
# Text is split right if nearly all of its lines have equally many fields.
_CONSISTENT = 0.9
# A mark after a backslash that ends no field: a backslash may as well be the last letter of one.
_ESCAPED = re.compile(r'\\"(?:[^,;\t|\r\n"]|"(?:[,;\t|\r\n]|\Z))')
_WORD = re.compile(r'"[^"]*"|[^\s]+')
_CLEAN = re.compile(rf"{CLOCK}|[0-9]{{1,4}}[-/.][0-9]{{1,2}}[-/.][0-9]{{1,4}}(?:[T ].*)?")
_NUMBER = re.compile(
    r"[-+]?(?:[0-9]+(?:[.,'][0-9]+| [0-9]{3}(?![0-9]))*|[.,][0-9]+)(?:[eE][-+]?[0-9]+)?\s*%?"
)


@dataclass(frozen=True)
class Dialect:
    """How the fields of a text are separated.

    Args:
        separator: the text between fields; "space" for any run of blanks and tabs; None for one
            column only.
        quote: the quotation mark around fields that contain separators.
        escape: the character before a quotation mark that is part of a field.
        comment: what a line starts with that is to be left out.
    """

    separator: str | None = ","
    quote: str = '"'
    escape: str = '"'
    comment: str | None = None

    def records(self, lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
        """Return each record with the number of the line that it ends in, from 1.

        Comments and blank lines are left out.
        """
        if self.separator == SPACE:
            for number, line in enumerate(lines, 1):
                if line.strip() and not self.is_comment(line):
                    yield number, [_unquoted(word) for word in _WORD.findall(line)]
            return
        counted = _Counted(lines, self)
        if self.separator is not None and len(self.separator) > 1:
            for line in counted:
                if line.strip():
                    yield counted.number, line.rstrip("\r\n").split(self.separator)
            return
        for record in self._reader(counted):
            if record and (len(record) > 1 or record[0].strip()):
                yield counted.number, record

    def _reader(self, lines: Iterable[str], *, strict: bool = False) -> Iterator[list[str]]:
        return csv.reader(
            lines,
            delimiter=self.separator or "\x1e",
            quotechar=self.quote,
            doublequote=self.escape == self.quote,
            escapechar=None if self.escape == self.quote else self.escape,
            skipinitialspace=self.separator not in ("\t", None),
            strict=strict,
        )

    def is_closed(self, lines: Iterable[str], *, several: bool) -> bool:
        """Return whether each quotation mark that is opened in the lines of a record is closed.

        Args:
            lines: those of the record.
            several: whether a field has several lines: its mark must be closed before a separator
                then, blanks aside.
        """
        if self.separator == SPACE or len(self.separator or "") > 1:
            return True
        blanks = re.compile(f"{re.escape(self.quote)} +(?={re.escape(self.separator or '$')})")
        plain = (blanks.sub(self.quote, line) for line in lines if not self.is_comment(line))
        try:
            return all(True for _ in self._reader(plain, strict=True))
        except csv.Error as error:
            return not several and "end of data" not in str(error)

    def is_comment(self, line: str) -> bool:
        """Return whether a line is to be left out."""
        return self.comment is not None and line.lstrip(" \t\ufeff").startswith(self.comment)


class _Counted:
    """Lines with their number, comments between records left out."""

    def __init__(self, lines: Iterable[str], dialect: Dialect) -> None:
        self._lines, self._dialect, self.number = iter(lines), dialect, 0

    def __iter__(self) -> "_Counted":
        return self

    def __next__(self) -> str:
        while True:
            line = next(self._lines)
            self.number += 1
            if not self._dialect.is_comment(line):
                return line


def lines_of(text: str) -> Iterator[str]:
    """Return the lines of a text with their ends, in all three ways to end a line."""
    return iter(io.StringIO(text, newline=""))


def find_dialect(text: str, *, separator: str | None, comment: str | None) -> Dialect:
    """Return the dialect of a text by its first lines.

    Args:
        text: the first part of a file, whole lines.
        separator: the separator, where it was given.
        comment: what comments start with, where it was given.

    Raises:
        DataError: a quotation mark that is opened and never closed.
    """
    quote, escape = _quotes(text)
    comments = (comment,) if comment else (None, *(c for c in _COMMENTS if _starts(text, c)))
    lines = [line for line in lines_of(text) if line.strip()][: 2 * _SAMPLE]
    tried: list[tuple[float, int, Dialect]] = []
    for mark in comments:
        for rank, candidate in enumerate((separator,) if separator else _SEPARATORS):
            if candidate != SPACE and candidate not in text:
                continue
            dialect = Dialect(candidate, quote, escape, mark)
            score = _score(dialect, text)
            if score > 0 and (comment or not _are_rows(mark, lines, dialect)):
                tried.append((score, -rank, dialect))
    if not tried:
        mark = comments[-1] if comments[-1] and _comments_on_top(text, comments[-1]) else comment
        return Dialect(separator, quote, escape, mark)
    return max(tried, key=lambda t: (t[0], t[1]))[2]


def _are_rows(mark: str | None, lines: list[str], dialect: Dialect) -> bool:
    """Return whether lines that start like comments are rows: most lines, or rows as wide."""
    if mark is None:
        return False
    marked = [dialect.is_comment(line) for line in lines]
    if 2 * sum(marked) > len(lines):
        return True
    first = marked.index(False)
    below = [
        line for line, is_marked in zip(lines[first:], marked[first:], strict=True) if is_marked
    ]
    plain = [line for line, is_marked in zip(lines, marked, strict=True) if not is_marked]
    bare = replace(dialect, comment=None)
    shapes = [_shape(record) for _, record in bare.records(plain)]
    usual = max(set(shapes), key=shapes.count)
    # A comment may have as many commas as a row, but not as many numbers.
    like = [_shape(record) for _, record in bare.records(below)]
    same = sum(width == usual[0] and numbers >= usual[1] - 1 for width, numbers in like)
    return usual[0] > 1 and 2 * same > len(below)


def _shape(record: list[str]) -> tuple[int, int]:
    """Return the number of fields, and how many of them are numbers."""
    return len(record), sum(_NUMBER.fullmatch(field.strip()) is not None for field in record)


def _score(dialect: Dialect, text: str) -> float:
    """Return how well a dialect splits a text: 0 not at all, up to 2."""
    records = _first_records(dialect, text)
    if records is None or not records:
        return 0.0
    widths = Counter(len(record) for record in records)
    # A title or a line of sums may be narrower; most lines decide.
    width, _ = max(widths.items(), key=lambda item: (item[1] * (item[0] > 1), item[0]))
    if width < 2:
        return 0.0
    start = next(i for i, record in enumerate(records) if len(record) in (width, width - 1))
    body = records[start:]
    share = sum(len(record) == width for record in body) / len(body)
    if share < _CONSISTENT and not (len(body) <= 10 and share > 0.5):
        return 0.0
    fields = [field.strip() for record in body if len(record) == width for field in record]
    clean = sum(_is_clean(field, dialect) for field in fields) / len(fields)
    if dialect.separator in (":", "/", "*", "&", "#", " ", SPACE) and _is_one_column(text, dialect):
        return 0.0
    if width == 2 and len(records[0]) == 1 and any(len(r) == 2 and r[1].strip() for r in records):
        # Under a single name, 1,5 is a number.
        return 0.0 if dialect.separator != SPACE or not text.lstrip().startswith('"') else 0.5
    if dialect.separator == SPACE and start > 0:
        return 0.0
    if dialect.separator == SPACE and not _is_spaced(text, body, width, clean):
        return 0.0
    strong = 1.0 if dialect.separator in (",", ";", "\t", "|") else 0.55
    # Comments are a better reading of lines than rows of another width.
    bonus = 0.01 if dialect.comment and share == 1 else 0.0
    return strong * share * clean * clean * (1 - 0.3 * (start > 5)) + bonus - 0.02 * (start > 0)


def _is_spaced(text: str, body: list[list[str]], width: int, clean: float) -> bool:
    """Return whether blanks separate fields, and not words: some fields are numbers."""
    narrower = len(body[0]) == width - 1 and (width > 2 or text.lstrip().startswith('"'))
    if clean < 0.6 or not (len(body[0]) == width or narrower):
        return False
    rows = [record for record in body[1:] if len(record) == width]
    columns = list(zip(*rows, strict=True))
    numeric = [sum(bool(_NUMBER.fullmatch(f)) for f in column) for column in columns]
    return max(numeric, default=0) > len(rows) / 2


def _is_clean(field: str, dialect: Dialect) -> bool:
    if not field or _NUMBER.fullmatch(field) or _CLEAN.fullmatch(field):
        return True
    others = [s for s in (",", ";", "\t", "|") if s != dialect.separator]
    if dialect.separator in ("::", "||"):
        others = [s for s in others if s not in dialect.separator]
    if dialect.separator in (SPACE, ":"):
        return not any(s in field for s in (",", ";", "\t", "|", '"'))
    words = field.split()
    if len(words) > 1 and all(_NUMBER.fullmatch(word) for word in words):
        return False
    # In running text a blank follows a comma.
    return not any(re.search(re.escape(s) + r"(?! )", field) for s in others)


def _is_one_column(text: str, dialect: Dialect) -> bool:
    """Return whether whole lines are times, dates or numbers, which a colon or slash would cut."""
    lines = [line.strip() for line in lines_of(text) if line.strip()][1:_SAMPLE]
    lines = [line for line in lines if not dialect.is_comment(line)]
    whole = sum(bool(_CLEAN.fullmatch(s) or _NUMBER.fullmatch(s)) for s in lines)
    return whole > _CONSISTENT * max(len(lines), 1)


def _first_records(dialect: Dialect, text: str) -> list[list[str]] | None:
    found: list[list[str]] = []
    try:
        for _, record in dialect.records(lines_of(text)):
            found.append(record)
            if len(found) == _SAMPLE:
                break
    except csv.Error:
        return None
    return found


def _quotes(text: str) -> tuple[str, str]:
    """Return the quotation mark and the character that escapes it."""
    if '"' not in text:
        around = len(re.findall(r"(?m)(?:^|[,;\t|])'[^'\n]*'(?=[,;\t|\r\n]|$)", text))
        if around >= 2 and around >= text.count("'") / 3:
            return "'", "\\" if "\\'" in text else "'"
    return '"', "\\" if _ESCAPED.search(text) else '"'


def _starts(text: str, comment: str) -> bool:
    return re.search(rf"(?m)^[ \t\ufeff]*{re.escape(comment)}", text) is not None


def _comments_on_top(text: str, comment: str) -> bool:
    lines = [line for line in lines_of(text) if line.strip()]
    marked = [line.lstrip(" \t\ufeff").startswith(comment) for line in lines]
    return marked[0] and not all(marked)


def _unquoted(word: str) -> str:
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] == '"' else word


def check_closed(text: str, whole: bool, dialect: Dialect) -> None:
    """Raise a `DataError` if a quotation mark is opened and never closed in the head of a file."""
    try:
        last = 0
        lines = [*lines_of(text)]
        for number, record in dialect.records(lines):
            several = any("\n" in field or "\r" in field for field in record)
            ends = several or (whole and number == len(lines))
            if ends and not dialect.is_closed(lines[last:number], several=several):
                raise unclosed(last + 1, dialect)
            if any(field.count("\n") > 200 for field in record) or (
                whole and number - last > 5 and record[-1].count("\n") >= number - last - 1 > 5
            ):
                raise unclosed(last + 1, dialect)
            last = number
    except csv.Error as error:
        if dialect.quote not in text:
            expected = "fields of at most 131,072 letters"
            raise DataError(f"line {last + 1}", expected, "a longer one") from error
        raise unclosed(last + 1, dialect) from error


def unclosed(line: int, dialect: Dialect) -> DataError:
    """Return the error of a quotation mark that is never closed."""
    expected = f"a second {dialect.quote} in line {line} or after it, where the first one is opened"
    got = "none, or a field of more than 131,072 letters"
    return DataError("table", f"{expected}; add or delete one", got)
