"""Formats of table files, by the endings of names, and files that are not what their name says."""

import difflib
import importlib
import os
import re
from pathlib import Path
from typing import Any

from flowkit.errors import ArgumentError, DataError

# Formats by ending; those of text may be compressed.
TEXT = {".csv": ",", ".tsv": "\t", ".txt": "\t", ".data": ",", ".dat": "\t", ".tab": "\t"}
LINES = (".jsonl", ".ndjson")
ARROW = (".feather", ".arrow", ".ipc")
EXCEL = (".xlsx", ".xlsm")
FITS = (".fits", ".fit")
HDF5 = (".h5", ".hdf5", ".hdf")
STATISTICS = (".dta", ".sav", ".zsav", ".por", ".sas7bdat", ".xpt")
FORMATS = (*TEXT, *LINES, ".json", ".parquet", *ARROW, *EXCEL, *FITS, ".root", *HDF5, *STATISTICS)
COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}

_EXTRAS = {
    "openpyxl": "excel",
    "astropy": "fits",
    "uproot": "root",
    "h5py": "hdf5",
    "tables": "hdf5",
    "pandas": "hdf5",
    "pyreadstat": "statistics",
}
_URL = re.compile(r"^[a-z][a-z0-9+.-]+://?", re.IGNORECASE)
_MAGIC = (
    (b"%PDF-", "a PDF", "copy the table out of it, e.g. with a spreadsheet program"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "unpack it, or name it .xlsx"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls)", "save it as .xlsx or .csv"),
    (b"PAR1", "a Parquet file", "name it .parquet"),
    (b"ARROW1", "an Arrow file", "name it .arrow"),
    (b"\x89HDF", "an HDF5 file", "name it .h5"),
    (b"SIMPLE  =", "a FITS file", "name it .fits"),
    (b"root\x00", "a ROOT file", "name it .root"),
    (b"SQLite format 3", "an SQLite database", "write its table to a .csv first"),
    (b"\x89PNG", "a picture", "give the table itself"),
    (b"\xff\xd8\xff", "a picture", "give the table itself"),
    (b"\x80\x04\x95", "a pickle", "write it to .parquet or .csv first; pickles are never read"),
)
_COMPRESSION = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\xfd7zXZ": "xz"}
_JSON = re.compile(rb'\s*\[?\s*\{\s*"[^"\n]*"\s*:')
_HTML = re.compile(
    rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html|head|body|table|\?xml)", re.I | re.S
)


def format_of(path: str | os.PathLike[str]) -> str:
    """Return the format of a table by its name: the ending, that of a compression aside.

    Raises:
        ArgumentError: an ending that is none of these.

    Example:
        >>> format_of("houses.csv.gz")
        '.csv'
    """
    name = Path(path).name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    ending = Path(name).suffix
    if ending not in FORMATS:
        expected = f"a name ending in one of {', '.join(FORMATS)}; .gz, .zst, .bz2, .xz after these"
        raise ArgumentError("table", expected, os.fspath(path))
    return ending


def format_to_read(path: str | os.PathLike[str]) -> str:
    """Return the format of a file that is there: text, if its name does not say another.

    Example:
        >>> format_to_read("houses.asc")
        '.txt'
    """
    try:
        return format_of(path)
    except ArgumentError:
        return ".txt"


def check_file(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file that is there and may be read.

    Raises:
        DataError: a URL, a folder, no file, no right to read, an empty file.
    """
    text = os.fspath(path)
    if _URL.match(text):
        expected = "a file on this machine; download it first, e.g. with curl -O"
        shown = re.sub(":/(?!/)", "://", text, count=1)  # a path keeps one slash of two
        raise DataError("table", expected, f"the URL {shown}")
    path = Path(path)
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix.lower() in FORMATS)[:3]
        hint = f", which contains {', '.join(inside)}" if inside else ""
        raise DataError("table", "a file", f"the folder {path}{hint}")
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                raise DataError("table", "at least one row", f"{path}, which is empty")
    except FileNotFoundError as error:
        near = _near(path)
        hint = f"; there is {' and '.join(near)}" if near else ""
        raise DataError("table", "a file", f"none at {path}{hint}") from error
    except PermissionError as error:
        expected = "a file that may be read; change its permissions, e.g. with chmod u+r"
        raise DataError("table", expected, f"{path}: no right to read it") from error
    except OSError as error:
        raise DataError("table", "a file that can be read", f"{path}: {error.strerror}") from error
    return path


def check_text(path: Path, head: bytes) -> None:
    """Raise a `DataError` if the first bytes of what should be text are those of something else."""
    for magic, name, remedy in _MAGIC:
        if head.startswith(magic):
            raise DataError("table", f"text, as the name {path.name} says", f"{name}: {remedy}")
    if _HTML.match(head):
        remedy = "a web page was saved in place of the table: download the file that it links to"
        raise DataError("table", f"text, as the name {path.name} says", f"HTML or XML: {remedy}")


def check_delimited(path: Path, head: bytes) -> None:
    """Raise a `DataError` as `check_text` does, or if the text is JSON."""
    check_text(path, head)
    if _JSON.match(head):
        remedy = "JSON: name it .json if it is one list of objects, .jsonl if each line is one"
        raise DataError("table", f"delimited text, as the name {path.name} says", remedy)


def compression_of(head: bytes) -> str | None:
    """Return the compression of a file by its first bytes, whatever its name."""
    for magic, name in _COMPRESSION.items():
        if head.startswith(magic):
            return name
    return None


def library(name: str, path: str | os.PathLike[str]) -> Any:
    """Return a library that a format needs.

    Raises:
        DataError: it is not installed; the line that installs it is named.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        root = name.partition(".")[0]
        line = f"pip install 'flowkit-density[{_EXTRAS[root]}]'"
        expected = f"{root} to be installed, for {Path(path).suffix} files: {line}"
        raise DataError("table", expected, "none") from error


def _near(path: Path) -> list[str]:
    try:
        names = [p.name for p in path.parent.iterdir()]
    except OSError:
        return []
    return difflib.get_close_matches(path.name, names, n=2, cutoff=0.7)
