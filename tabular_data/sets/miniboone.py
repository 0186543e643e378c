"""MINIBOONE: particle identification in a neutrino experiment."""

from pathlib import Path

import numpy as np

from tabular_data.dataset import Card, DataSet, split_tail
from tabular_data.errors import MissingDataError
from tabular_data.sets.maf_archive import ARCHIVE, CITATION, LICENCE, member, standardised

STEPS = (
    "the archive's rows: signal, without 11 outliers and 7 columns whose smallest value repeats",
    "not shuffled; last tenth for test, last tenth of the rest for validation",
    "standardised by mean and biased deviation of training and validation rows",
)
_SMALL = (
    "the benchmark's validation split to train, in the order it has; its last tenth to choose by",
    "the benchmark's test split, standardised by the benchmark's own training rows",
)


def read(root: Path) -> DataSet:
    """Read ``data.npy`` of MAF's archive."""
    return prepare(np.load(member(root, "miniboone/data.npy"), allow_pickle=False))


def prepare(rows: np.ndarray) -> DataSet:
    """Preprocess rows ``(n, 43)`` as in MAF."""
    train, val, test = split_tail(rows)
    train, val, test = standardised((train, val, test), np.concatenate([train, val]))
    return DataSet("miniboone", train, val, test, _columns(rows), STEPS)


def read_small(root: Path) -> DataSet:
    """Read the validation and test splits only; scores are not comparable with published ones."""
    parts = []
    for name in ("val", "test"):
        path = root / "miniboone" / f"{name}.npy"
        if not path.exists():
            raise MissingDataError(
                f"{path} is not there. Place the {name} split of the benchmark, (n, 43), there."
            )
        parts.append(np.load(path, allow_pickle=False).astype(np.float64))
    rows, test = parts
    n_val = len(rows) // 10
    return DataSet(
        "miniboone-small",
        rows[:-n_val],
        rows[-n_val:],
        test,
        _columns(test),
        _SMALL,
        part="3,284 of 29,556 rows to train",
    )


def _columns(rows: np.ndarray) -> tuple[str, ...]:
    return tuple(f"x{j}" for j in range(rows.shape[1]))


CARDS = (
    Card(
        "miniboone",
        "particle identification, signal only, as in MAF's archive",
        read,
        "UCI, MiniBooNE particle identification; MAF's archive",
        LICENCE,
        CITATION,
        (ARCHIVE,),
    ),
    Card(
        "miniboone-small",
        "the same, trained on the benchmark's validation split",
        read_small,
        "UCI, MiniBooNE particle identification",
        "CC BY 4.0",
        CITATION,
    ),
)
