"""What `load` returns, and what is known of a data set before it is loaded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Download:
    """One file of a data set.

    Attributes:
        path: where it lies below the data root.
        url: where it comes from, None where it has to be placed by hand.
        checksum: "sha256:..." or "md5:...", as the source publishes it; None where no source does.
    """

    path: str
    url: str | None = None
    checksum: str | None = None


@dataclass(frozen=True)
class Card:
    """What is known of a data set: where it comes from, and who is to be thanked.

    Attributes:
        name: by which `load` knows it.
        about: one line.
        read: reads the files below a root, its first argument; the others are options.
        source: where the data come from, for people.
        licence: as its owners state it.
        citation: of the paper or the archive.
        files: what has to be below the root.
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
    """What turns log-likelihoods of images into bits per dimension.

    Attributes:
        levels: number of values that a pixel can take.
        shape: of one image: (rows, columns), or (rows, columns, channels).
    """

    levels: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class DataSet:
    """A data set, split.

    Attributes:
        name: its name.
        train: rows to fit, ``(n, d)``; a pyarrow table where columns are of several kinds.
        val: rows to choose by; None where the source has none.
        test: rows to report on.
        columns: names of the columns.
        steps: what was done to the data, in order.
        labels: of "train", "val" and "test", classes ``(n,)`` or factors, where there are any.
        pixels: of images.
        part: what part of the original this is; empty for the whole of it.
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
    """Return train, val and test as MAF split: the last tenth, and the last tenth of the rest.

    Example:
        >>> [len(part) for part in split_tail(np.zeros((36_488, 1)))]
        [29556, 3284, 3648]
    """
    n_test = int(0.1 * len(rows))
    rest, test = rows[: len(rows) - n_test], rows[len(rows) - n_test :]
    n_val = int(0.1 * len(rest))
    return rest[: len(rest) - n_val], rest[len(rest) - n_val :], test
