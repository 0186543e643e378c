"""Data sets, and cards with their source, licence and files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Download:
    """One file of a data set.

    Attributes:
        path: path below the data root.
        url: URL, None if the file has to be placed by hand.
        checksum: published checksum, "sha256:..." or "md5:..."; None if none is published.
    """

    path: str
    url: str | None = None
    checksum: str | None = None


@dataclass(frozen=True)
class Card:
    """Source, licence, citation and files of a data set.

    Attributes:
        name: name of the data set, the argument of `load`.
        about: description in one line.
        read: function of the root folder and of options that returns the data set.
        source: origin of the data.
        licence: licence as stated by the owners.
        citation: citation of the paper or archive.
        files: files below the root folder.
    """

    name: str
    about: str
    read: Callable[..., "DataSet"]
    source: str
    licence: str
    citation: str
    files: tuple[Download, ...] = ()


@dataclass(frozen=True)
class Pixels:
    """Levels and shape of images, for bits per dimension.

    Attributes:
        levels: number of values of a pixel.
        shape: shape of one image: (rows, columns), or (rows, columns, channels).
    """

    levels: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class DataSet:
    """A data set with training, validation and test rows.

    Attributes:
        name: name of the data set.
        train: training rows, ``(n, d)``; a pyarrow table if columns have several kinds.
        val: validation rows; None if the source has none.
        test: test rows.
        columns: names of the columns.
        steps: preprocessing steps, in order.
        labels: classes ``(n,)`` or factors of "train", "val" and "test", if there are any.
        pixels: levels and shape of images.
        part: the part of the original data; empty for all of them.
        card: source, licence and citation.
    """

    name: str
    train: Any
    val: Any
    test: Any
    columns: tuple[str, ...]
    steps: tuple[str, ...]
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    pixels: Pixels | None = None
    part: str = ""
    card: Card | None = None

    @property
    def features(self) -> int:
        """Number of columns."""
        return len(self.columns)

    def __str__(self) -> str:
        sizes = ", ".join(
            f"{len(part):,} {name}"
            for name in ("train", "val", "test")
            if (part := getattr(self, name)) is not None
        )
        part = f" ({self.part})" if self.part else ""
        return f"{self.name}{part}: {sizes} rows of {self.features} columns"


def split_tail(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split as in MAF: the last tenth for test, the last tenth of the rest for validation.

    Example:
        >>> [len(part) for part in split_tail(np.zeros((36_488, 1)))]
        [29556, 3284, 3648]
    """
    n_test = int(0.1 * len(rows))
    rest, test = rows[: len(rows) - n_test], rows[len(rows) - n_test :]
    n_val = int(0.1 * len(rest))
    return rest[: len(rest) - n_val], rest[len(rest) - n_val :], test
