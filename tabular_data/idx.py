"""Reader of the idx format of MNIST."""

import gzip
import struct
from pathlib import Path

import numpy as np

from flowkit.errors import DataError

_BYTES = 0x08  # the code of unsigned bytes, the only type of the MNIST files


def read_idx(path: Path) -> np.ndarray:
    """Return the array in an idx file of bytes, gzipped or not.

    Raises:
        DataError: the file is truncated, or has another type.
    """
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            content = file.read()
    except (EOFError, gzip.BadGzipFile) as error:
        raise DataError(str(path), "a complete gzip file", error) from error
    zeros, kind, dimensions = struct.unpack(">HBB", content[:4]) if len(content) > 4 else (1, 0, 0)
    start = 4 + 4 * dimensions
    if zeros != 0 or kind != _BYTES or len(content) < start:
        raise DataError(str(path), "an idx file of unsigned bytes", content[:4].hex())
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) - start != np.prod(shape):
        raise DataError(str(path), f"{np.prod(shape):,} values", f"{len(content) - start:,}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
