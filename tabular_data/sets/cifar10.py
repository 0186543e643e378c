"""CIFAR-10: small colour photographs, read from the binary version without pickle."""

from pathlib import Path

import numpy as np

from flowkit.errors import DataError
from tabular_data.dataset import Card, DataSet, Download, Pixels
from tabular_data.errors import MissingDataError
from tabular_data.fetching import fetch, unpack

_FILE = Download(
    "cifar10/cifar-10-binary.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "md5:c32a1d4ab5d03f1284b67883e8d87530",
)
_RECORD = 1 + 3 * 32 * 32
COLUMNS = tuple(f"{c}_row{i}_column{j}" for c in "rgb" for i in range(32) for j in range(32))
STEPS = (
    "levels 0 to 255 as they are: all red, all green, all blue, each row by row",
    "the last 5,000 of 50,000 training images for validation, as MAF did",
)


def read(root: Path) -> DataSet:
    """Read five files of training images and one of test images."""
    folder = root / "cifar10" / "cifar-10-batches-bin"
    if not folder.exists():
        unpack(fetch(_FILE, root), root / "cifar10" / "unpacked")
        (root / "cifar10" / "unpacked" / folder.name).rename(folder)
    batches = [read_batch(folder / f"data_batch_{i}.bin") for i in range(1, 6)]
    y, x = (np.concatenate(part) for part in zip(*batches, strict=True))
    y_test, x_test = read_batch(folder / "test_batch.bin")
    n_val = len(x) // 10
    labels = {"train": y[:-n_val], "val": y[-n_val:], "test": y_test}
    pixels = Pixels(256, (3, 32, 32))
    return DataSet(
        "cifar10", x[:-n_val], x[-n_val:], x_test, COLUMNS, STEPS, labels=labels, pixels=pixels
    )


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and images ``(n, 3072)`` of a binary batch."""
    if not path.exists():
        raise MissingDataError(f"{path} is not there. Remove {path.parent}, and load again.")
    content = np.fromfile(path, dtype=np.uint8)
    if len(content) % _RECORD or not len(content):
        raise DataError(str(path), f"records of {_RECORD} bytes", f"{len(content):,} bytes")
    rows = content.reshape(-1, _RECORD)
    return rows[:, 0], rows[:, 1:]


CARDS = (
    Card(
        "cifar10",
        "photographs of ten kinds of things, 32 x 32 in colour",
        read,
        "A. Krizhevsky, cs.toronto.edu/~kriz/cifar.html",
        "not stated",
        "A. Krizhevsky, Learning multiple layers of features from tiny images, 2009",
        (_FILE,),
    ),
)
