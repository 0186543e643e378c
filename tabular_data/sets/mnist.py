"""MNIST and Fashion-MNIST, read from idx files."""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np

from flowkit.errors import DataError
from tabular_data.dataset import Card, DataSet, Download, Pixels
from tabular_data.errors import ChecksumError
from tabular_data.fetching import fetch
from tabular_data.idx import read_idx

COLUMNS = tuple(f"row{i}_column{j}" for i in range(28) for j in range(28))
STEPS = (
    "grey levels 0 to 255 as they are, images row by row",
    "the last 10,000 of 60,000 training images for validation",
)
_SHAPES = {"train-images": (60_000, 28, 28), "train-labels": (60_000,)} | {
    "t10k-images": (10_000, 28, 28),
    "t10k-labels": (10_000,),
}
_KINDS = {"images": "idx3", "labels": "idx1"}


def _files(folder: str, mirror: str) -> tuple[Download, ...]:
    names = [f"{part}-{_KINDS[part.split('-')[1]]}-ubyte.gz" for part in _SHAPES]
    return tuple(Download(f"{folder}/{name}", f"{mirror}/{name}") for name in names)


# Checksums of the arrays, because mirrors compress files differently.
_SHA256 = {
    "mnist": "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16",
    "fashion_mnist": "ca3ab2a37f845e1b8ae23cab1b51749a3011ba3bf1d9016176d75cbaabac376f",
}


def read(root: Path, name: str = "mnist") -> DataSet:
    """Read the four files, and verify the checksum of the arrays."""
    arrays = {}
    for part, file in zip(_SHAPES, CARD_FILES[name], strict=True):
        arrays[part] = read_idx(fetch(file, root))
        if arrays[part].shape != _SHAPES[part]:
            raise DataError(str(root / file.path), f"shape {_SHAPES[part]}", arrays[part].shape)
    actual = hashlib.sha256(b"".join(a.tobytes() for a in arrays.values())).hexdigest()
    if actual != _SHA256[name]:
        raise ChecksumError(f"{root / name}: expected sha256 {_SHA256[name]} of all, got {actual}")
    return split(name, *arrays.values())


def split(
    name: str, x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray
) -> DataSet:
    """Return a data set from images ``(n, 28, 28)`` and labels."""
    x, x_test, n_val = x.reshape(len(x), -1), x_test.reshape(len(x_test), -1), len(x) // 6
    labels = {"train": y[:-n_val], "val": y[-n_val:], "test": y_test}
    pixels = Pixels(256, (28, 28))
    return DataSet(
        name, x[:-n_val], x[-n_val:], x_test, COLUMNS, STEPS, labels=labels, pixels=pixels
    )


CARD_FILES = {
    "mnist": _files("mnist", "https://ossci-datasets.s3.amazonaws.com/mnist"),
    "fashion_mnist": _files(
        "fashion_mnist", "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
    ),
}
CARDS = (
    Card(
        "mnist",
        "handwritten digits, 28 x 28 grey levels",
        read,
        "Y. LeCun, C. Cortes and C. Burges, yann.lecun.com/exdb/mnist",
        "CC BY-SA 3.0",
        "Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, Gradient-based learning applied to "
        "document recognition, 1998",
        CARD_FILES["mnist"],
    ),
    Card(
        "fashion_mnist",
        "articles of clothing, 28 x 28 grey levels",
        partial(read, name="fashion_mnist"),
        "Zalando Research, github.com/zalandoresearch/fashion-mnist",
        "MIT",
        "H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST, 2017",
        CARD_FILES["fashion_mnist"],
    ),
)
