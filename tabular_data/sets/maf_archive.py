"""Archive of *Masked autoregressive flow*: download, and standardisation of its tables."""

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
    """Return a file of the archive; the archive is downloaded and unpacked first if necessary."""
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
    """Standardise parts by the mean and the biased standard deviation of a reference."""
    mean, scale = reference.mean(axis=0), reference.std(axis=0)
    return tuple((part - mean) / scale for part in parts)


def first_value_repeats(rows: np.ndarray) -> np.ndarray:
    """Return the mask of columns whose smallest value occurs more than 5 times, ``(d,)``.

    The benchmark intended the most frequent value, but its columns follow from the smallest.
    """
    return np.array([(column == column.min()).sum() > 5 for column in rows.T])
