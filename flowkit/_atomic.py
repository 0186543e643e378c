"""Atomic writes: files that are written completely or not at all."""

import os
import secrets
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, parts: Collection[bytes | memoryview]) -> None:
    """Write the parts to a temporary file, and rename that file to ``path`` once it is on disk."""
    temporary = path.with_name(f".flowkit-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    with suppress(OSError):  # not every system can open a directory; the file is complete anyway
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
