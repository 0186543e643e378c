"""Options of reading a table file, and notes on the guesses that were made."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from flowkit.errors import ArgumentError

KINDS = ("text", "number", "date", "time", "duration", "boolean")
DATES = ("day-first", "month-first")
_THOUSANDS = ("", ",", ".", " ", "'")


@dataclass(frozen=True)
class Note:
    """One guess that was made while a file was read.

    Args:
        column: the column that it is about; None for the whole table.
        text: the guess, a sentence without its full stop.
        option: the option of the command line that overrules it, None for none.

    Example:
        >>> print(Note("x", "`?` in 5 rows taken as missing", "--present '?'"))
        x: `?` in 5 rows taken as missing (--present '?')
    """

    column: str | None
    text: str
    option: str | None = None

    def __str__(self) -> str:
        where = "" if self.column is None else f"{self.column}: "
        return f"{where}{self.text}" + (f" ({self.option})" if self.option else "")


@dataclass(frozen=True)
class ReadOptions:
    """Options of reading; what is not given is guessed, and each guess becomes a `Note`.

    Args:
        separator: text between fields; "space" for any run of blanks and tabs.
        decimal: the decimal mark, "." or ",".
        thousands: the mark between groups of three digits, one of "," "." " " "'", "" for none.
        missing: further spellings of missing values. Numbers are compared as numbers.
        present: spellings that are values, although they look like missing ones.
        encoding: encoding of the text, by Python's names.
        comment: text that starts a line to be left out.
        header: whether the first line is one of names.
        skip: lines of the file before the header.
        drop: names of columns to leave out; "#2" is the second column of the file.
        keep: names of the only columns to read; () for all.
        dates: "day-first" or "month-first", of dates like 07/04/2023.
        columns: kinds of columns, by name: one of "text", "number", "date", "time", "duration",
            "boolean".
        sheet: the sheet of a workbook, the group or data set of an HDF5 file, the tree of a ROOT
            file, or the table of a FITS file, by name or number.
        empty: whether columns and rows without any value are kept.
        fitted: whether the table is read for a fitted model; errors then advise accordingly.
        total: whether a last row of totals is kept.

    Raises:
        ArgumentError: a value that is none of these.

    Example:
        >>> ReadOptions(decimal=";")
        Traceback (most recent call last):
        ...
        flowkit.errors.ArgumentError: decimal: expected one of '.', ',', got ';'
    """

    separator: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    missing: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    encoding: str | None = None
    comment: str | None = None
    header: bool | None = None
    skip: int = 0
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    dates: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    sheet: str | int | None = None
    empty: bool = False
    fitted: bool = False
    total: bool = False

    def __post_init__(self) -> None:
        for name in ("missing", "present", "drop", "keep"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise ArgumentError(name, "a sequence of texts", repr(value))
            object.__setattr__(self, name, tuple(str(v) for v in value))
        object.__setattr__(self, "columns", dict(self.columns))
        _check_one_of("decimal", self.decimal, (".", ","))
        _check_one_of("thousands", self.thousands, _THOUSANDS)
        _check_one_of("dates", self.dates, DATES)
        for name, kind in self.columns.items():
            _check_one_of(f"columns[{name!r}]", kind, KINDS)
        if self.decimal is not None and self.decimal == self.thousands:
            raise ArgumentError("thousands", "another mark than decimal", repr(self.thousands))
        if self.separator is not None and self.separator in ("", '"', "\n", "\r"):
            raise ArgumentError("separator", "text that can stand between fields", self.separator)
        if self.comment == "":
            raise ArgumentError("comment", "the text that a comment starts with", "none")
        if isinstance(self.skip, bool) or not isinstance(self.skip, int) or self.skip < 0:
            raise ArgumentError("skip", "a number of lines, at least 0", repr(self.skip))
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except LookupError as error:
                expected = "an encoding's name, e.g. utf-8, latin-1 or cp1252"
                raise ArgumentError("encoding", expected, repr(self.encoding)) from error

    @classmethod
    def of(cls, options: "ReadOptions | None", **changes: Any) -> "ReadOptions":
        """Return options with changes.

        Raises:
            ArgumentError: an option that there is not, or a value that it cannot have.
        """
        names = [f.name for f in fields(cls)]
        for name in changes:
            if name not in names:
                raise ArgumentError("options", "some of " + ", ".join(names), repr(name))
        before = {} if options is None else {name: getattr(options, name) for name in names}
        return cls(**{**before, **changes})


def _check_one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise ArgumentError(name, "one of " + ", ".join(map(repr, choices)), repr(value))
