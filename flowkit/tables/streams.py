"""Streams of text of files: decompressed and decoded, and plain UTF-8 copies for DuckDB."""

import codecs
import io
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from flowkit.errors import DataError
from flowkit.tables.formats import compression_of

HEAD = 2**20
_UNDEFINED = b"\x81\x8d\x8f\x90\x9d"  # in windows-1252


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open the decompressed bytes of a file.

    Raises:
        DataError: while reading, if the file is cut off or damaged.
    """
    with open(path, "rb") as raw:
        kind = compression_of(raw.read(8))
        raw.seek(0)
        stream: Any = raw
        if kind == "xz":
            stream = lzma.LZMAFile(raw)  # noqa: SIM115, closed with the file below
        elif kind is not None:
            stream = pa.CompressedInputStream(pa.PythonFile(raw, "r"), kind)
        try:
            yield stream
        except (OSError, EOFError, lzma.LZMAError, pa.ArrowInvalid) as error:
            if kind is None:
                raise
            cut = "truncated" in str(error).lower() or isinstance(error, EOFError)
            cut = cut or "end-of-stream" in str(error)
            problem = "cut off before its end" if cut else "damaged"
            expected = f"a whole {kind} file; download or copy it again"
            raise DataError("table", expected, f"{path}, which is {problem}") from error


@contextmanager
def open_text(path: Path, encoding: str) -> Iterator[IO[str]]:
    """Open the text of a file, with its line ends as they are.

    Raises:
        DataError: while reading, if bytes are no text of the encoding.
    """
    with open_bytes(path) as stream:
        reader = io.TextIOWrapper(
            io.BufferedReader(_Raw(stream), HEAD), encoding=encoding, newline=""
        )
        try:
            yield reader
        except UnicodeDecodeError as error:
            expected = f"text in {encoding}; another encoding is given by --encoding, e.g. cp1252"
            got = f"bytes that are none in {path}"
            raise DataError("table", expected, got) from error


class _Raw(io.RawIOBase):
    """A stream of bytes of Arrow as one of Python's."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._stream.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)


def encoding_of(head: bytes, told: str | None) -> str:
    """Return the encoding of a text by its first bytes: UTF-8, UTF-16 or windows-1252."""
    if told is not None:
        name = codecs.lookup(told).name
        return "utf-8-sig" if name == "utf-8" else name
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(head) >= 4:
        even, odd = head[0:4096:2].count(0), head[1:4096:2].count(0)
        most = len(head[:4096]) // 3
        if odd > most and even < most // 8:
            return "utf-16-le"
        if even > most and odd < most // 8:
            return "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return eight_bit(head)
    return "utf-8-sig"


def eight_bit(head: bytes) -> str:
    """Return "cp1252", or "latin-1" for bytes that windows-1252 has no letters for."""
    return "latin-1" if any(byte in head for byte in _UNDEFINED) else "cp1252"


def is_utf8(encoding: str) -> bool:
    """Return whether an encoding is UTF-8, with or without its mark at the start."""
    return encoding in ("utf-8-sig", "utf-8", "ascii")


def copy_text(path: Path, encoding: str, target: Path) -> None:
    """Write a UTF-8 copy with one kind of line end."""
    with open_text(path, encoding) as source, open(target, "w", encoding="utf-8", newline="") as to:
        decoder = io.IncrementalNewlineDecoder(None, translate=True)
        while chunk := source.read(HEAD):
            to.write(decoder.decode(chunk))
        to.write(decoder.decode("", final=True))
