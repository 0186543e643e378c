"""HEPMASS: simulated collisions that produce a particle of mass 1,000."""

import csv
from pathlib import Path

import numpy as np

from tabular_data.dataset import Card, DataSet
from tabular_data.sets.maf_archive import ARCHIVE, CITATION, LICENCE, first_value_repeats, member

STEPS = (
    "signal only (label 1), the label dropped; of the test file the last column too",
    "standardised by mean and unbiased deviation of the training file",
    "columns whose smallest value stands more than 5 times in training rows dropped "
    "(the benchmark meant the most frequent value, and took the smallest)",
    "test rows are those of the test file, validation the last tenth of the training file's",
)


def read(root: Path) -> DataSet:
    """Read the two CSV files of MAF's archive."""
    return prepare(*(_read(member(root, f"hepmass/1000_{part}.csv")) for part in ("train", "test")))


def prepare(train: tuple[list[str], np.ndarray], test: tuple[list[str], np.ndarray]) -> DataSet:
    """Preprocess the columns of both files, the label first, as in MAF."""
    names, rows = train
    train_rows = rows[rows[:, 0] == 1][:, 1:]
    test_rows = test[1][test[1][:, 0] == 1][:, 1:]
    test_rows = test_rows[:, : train_rows.shape[1]]
    mean, scale = train_rows.mean(axis=0), train_rows.std(axis=0, ddof=1)
    train_rows, test_rows = (train_rows - mean) / scale, (test_rows - mean) / scale
    kept = ~first_value_repeats(train_rows)
    columns = tuple(name for name, keep in zip(names[1:], kept, strict=True) if keep)
    train_rows, test_rows = train_rows[:, kept], test_rows[:, kept]
    n_val = int(0.1 * len(train_rows))
    return DataSet("hepmass", train_rows[:-n_val], train_rows[-n_val:], test_rows, columns, STEPS)


def _read(path: Path) -> tuple[list[str], np.ndarray]:
    """Return names and values of a CSV file; values beyond the header are kept."""
    with path.open(newline="") as file:
        lines = csv.reader(file)
        names = next(lines)
        rows = np.array([[float(v) for v in line if v != ""] for line in lines])
    return names, rows


CARDS = (
    Card(
        "hepmass",
        "simulated collisions, signal only, as in MAF's archive",
        read,
        "UCI, HEPMASS; MAF's archive",
        LICENCE,
        CITATION,
        (ARCHIVE,),
    ),
)
