"""Files that are written whole or not at all."""

import os
import secrets
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, parts: Collection[bytes | memoryview]) -> None:
    """Write the parts beside ``path``, and put them in its place once they are on the disk."""
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
    with suppress(OSError):  # not every system can open a directory; the file is whole anyway
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
