"""Binarised MNIST, the fixed draw of Larochelle and Murray."""

import gzip
from pathlib import Path

import numpy as np

from flowkit.errors import DataError
from tabular_data.dataset import Card, DataSet, Download, Pixels
from tabular_data.fetching import fetch
from tabular_data.sets.mnist import COLUMNS

STEPS = ("each pixel drawn once with the grey level as its probability; the source's own splits",)
_FOLDER = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist"
# Text files; gzipped copies are read as well.
_FILES = tuple(
    Download(
        f"binarized_mnist/binarized_mnist_{part}.amat", f"{_FOLDER}/binarized_mnist_{part}.amat"
    )
    for part in ("train", "valid", "test")
)


def read(root: Path) -> DataSet:
    """Read three text files with 784 digits in a line."""
    paths = []
    for file in _FILES:
        packed = root / f"{file.path}.gz"
        paths.append(packed if packed.exists() else fetch(file, root))
    train, val, test = map(read_amat, paths)
    return DataSet("binarized_mnist", train, val, test, COLUMNS, STEPS, pixels=Pixels(2, (28, 28)))


def read_amat(path: Path) -> np.ndarray:
    """Return the digits of a text file, ``(n, 784)`` uint8."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            digits = np.frombuffer(file.read(), dtype=np.uint8)
    except (EOFError, gzip.BadGzipFile) as error:
        raise DataError(str(path), "a complete gzip file", error) from error
    digits = digits[digits > ord(" ")] - ord("0")
    if len(digits) % 784 or not len(digits) or digits.max() > 1:
        raise DataError(str(path), "lines of 784 zeros and ones", f"{len(digits):,} digits")
    rows: np.ndarray = digits.reshape(-1, 784)
    return rows


CARDS = (
    Card(
        "binarized_mnist",
        "MNIST in black and white, a fixed draw",
        read,
        "H. Larochelle, cs.toronto.edu/~larocheh",
        "CC BY-SA 3.0",
        "H. Larochelle and I. Murray, The neural autoregressive distribution estimator, 2011",
        _FILES,
    ),
)
