"""The archive of *Masked autoregressive flow*: where it is, and how its tables are standardised."""

from pathlib import Path

import numpy as np

from tabular_data.dataset import Download
from tabular_data.errors import MissingDataError
from tabular_data.fetching import fetch, unpack

ARCHIVE = Download(
    "maf/data.tar.gz",
    "https://zenodo.org/records/1161203/files/data.tar.gz",
    "md5:9b9c9b0375315ad270eba4ce80c093ab",
)
CITATION = (
    "G. Papamakarios, T. Pavlakou and I. Murray, Masked autoregressive flow for density "
    "estimation, 2017; data: doi:10.5281/zenodo.1161203"
)
LICENCE = "CC BY 4.0 (archive); the tables are the UCI repository's, CC BY 4.0"


def member(root: Path, path: str) -> Path:
    """Return a file of the archive, which is fetched and unpacked first if need be."""
    folder = root / "maf" / "data"
    if not (folder / path).exists():
        unpack(fetch(ARCHIVE, root), root / "maf" / "unpacked")
        inner = root / "maf" / "unpacked" / "data"
        if inner.is_dir() and not folder.exists():
            inner.rename(folder)
    if not (folder / path).exists():
        raise MissingDataError(f"{folder / path} is not there, nor in {root / ARCHIVE.path}")
    return folder / path


def standardised(parts: tuple[np.ndarray, ...], reference: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the parts less the reference's mean, over its (biased) standard deviation."""
    mean, scale = reference.mean(axis=0), reference.std(axis=0)
    return tuple((part - mean) / scale for part in parts)


def first_value_repeats(rows: np.ndarray) -> np.ndarray:
    """Return which columns have their smallest value more than 5 times, ``(d,)``.

    It was meant to be the most frequent value; the benchmark's columns are what they are.
    """
    return np.array([(column == column.min()).sum() > 5 for column in rows.T])
