"""GAS: sixteen chemical sensors in a stream of ethylene and CO."""

from pathlib import Path
from typing import Any

import numpy as np

from tabular_data.dataset import Card, DataSet, split_tail
from tabular_data.pickles import read_frame
from tabular_data.sets.maf_archive import ARCHIVE, CITATION, LICENCE, member

STEPS = (
    "rows are a quarter of UCI's, drawn at random, as the archive has them",
    "methane, ethylene and the time dropped",
    "while any two columns correlate above 0.98 (signed): the first column that does is dropped",
    "standardised by mean and unbiased deviation of all rows, test rows among them",
    "last tenth for test, last tenth of the rest for validation",
)


def read(root: Path) -> DataSet:
    """Read MAF's pickled frame, with an unpickler restricted to frames."""
    return prepare(read_frame(member(root, "gas/ethylene_CO.pickle")))


def prepare(frame: Any) -> DataSet:
    """Preprocess UCI's columns as in MAF."""
    frame = frame.drop(columns=["Meth", "Eth", "Time"])
    rows, columns = frame.to_numpy(dtype=np.float64), [str(c) for c in frame.columns]
    related = (np.corrcoef(rows.T) > 0.98).sum(axis=1)
    while (related > 1).any():
        first = int(np.flatnonzero(related > 1)[0])
        rows, columns = np.delete(rows, first, axis=1), columns[:first] + columns[first + 1 :]
        related = (np.corrcoef(rows.T) > 0.98).sum(axis=1)
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0, ddof=1)
    train, val, test = split_tail(rows)
    return DataSet("gas", train, val, test, tuple(columns), STEPS)


CARDS = (
    Card(
        "gas",
        "chemical sensors in a stream of gas, as in MAF's archive",
        read,
        "UCI, Gas sensor array under dynamic gas mixtures; MAF's archive",
        LICENCE,
        CITATION,
        (ARCHIVE,),
    ),
)
