"""POWER: electric power consumption of a household, by the minute."""

from datetime import datetime
from pathlib import Path

import numpy as np

from tabular_data.dataset import Card, DataSet, split_tail
from tabular_data.errors import MissingDataError
from tabular_data.sets.maf_archive import ARCHIVE, CITATION, LICENCE, member, standardised

COLUMNS = (
    "global_active_power",
    "voltage",
    "sub_metering_1",
    "sub_metering_2",
    "sub_metering_3",
    "time",
)
STEPS = (
    "rows shuffled by RandomState(42)",
    "global_intensity (column 3), then global_reactive_power (column 1) dropped",
    "uniform noise added, drawn in this order: voltage 0.01, active power 0.001, sub-meterings 1; "
    "none for the time",
    "last tenth for test, last tenth of the rest for validation",
    "standardised by mean and biased deviation of training and validation rows",
)


def read(root: Path) -> DataSet:
    """Read ``data.npy`` of MAF's archive."""
    return prepare(np.load(member(root, "power/data.npy"), allow_pickle=False))


def prepare(rows: np.ndarray, part: str = "") -> DataSet:
    """Preprocess rows ``(n, 8)`` as in MAF."""
    rng = np.random.RandomState(42)
    rows = rows.copy()
    rng.shuffle(rows)
    rows = np.delete(np.delete(rows, 3, axis=1), 1, axis=1)
    n = len(rows)
    voltage, gap = 0.01 * rng.rand(n, 1), 0.001 * rng.rand(n, 1)
    metering = rng.rand(n, 3)
    rows = rows + np.hstack([gap, voltage, metering, np.zeros((n, 1))])
    train, val, test = split_tail(rows)
    train, val, test = standardised((train, val, test), np.concatenate([train, val]))
    return DataSet("power", train, val, test, COLUMNS, STEPS, part=part)


def read_raw(path: Path) -> np.ndarray:
    """Return the rows of UCI's text file in the format of ``data.npy``, ``(n, 8)``."""
    rows = []
    with path.open() as file:
        next(file)
        for line in file:
            _, clock, *values = line.strip().split(";")
            if "?" in values or "" in values:
                continue
            time = datetime.strptime(clock, "%H:%M:%S")
            rows.append([*map(float, values), time.hour * 60.0 + time.minute])
    return np.array(rows)


def read_part(root: Path) -> DataSet:
    """Read UCI's raw file, or the beginning of that file, and preprocess as in MAF."""
    path = root / "power" / "household_power_consumption.txt"
    if not path.exists():
        raise MissingDataError(
            f"{path} is not there. Place UCI's raw file, or its beginning, there."
        )
    rows = read_raw(path)
    whole = len(rows) == 2_049_280
    return prepare(rows, "" if whole else f"the first {len(rows):,} of 2,049,280 rows")


CARDS = (
    Card(
        "power",
        "electricity of a household by the minute, as in MAF's archive",
        read,
        "UCI, Individual household electric power consumption; MAF's archive",
        LICENCE,
        CITATION,
        (ARCHIVE,),
    ),
    Card(
        "power-raw",
        "the same from UCI's raw text file, as much as there is of it",
        read_part,
        "UCI, Individual household electric power consumption",
        "CC BY 4.0",
        "G. Hebrail and A. Berard, doi:10.24432/C58K54",
    ),
)
