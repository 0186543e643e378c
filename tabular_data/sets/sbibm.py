"""Posteriors with known unnormalised density, with reference draws."""

import bz2
from functools import partial
from pathlib import Path

import numpy as np

from flowkit.errors import ArgumentError, DataError
from tabular_data.dataset import Card, DataSet
from tabular_data.errors import MissingDataError

# Number of parameters, and of numbers in an observation.
TASKS = {
    "two_moons": (2, 2),
    "gaussian_linear": (10, 10),
    "gaussian_mixture": (2, 2),
    "slcp": (5, 8),
}
OBSERVATIONS = 10
STEPS = ("train holds the reference draws of one observation's posterior; there is no split",)


def read(root: Path, task: str, observation: int = 1) -> DataSet:
    """Read one observation of a task: reference draws, observation and true parameters."""
    if not 1 <= observation <= OBSERVATIONS:
        raise ArgumentError("observation", f"a number from 1 to {OBSERVATIONS}", observation)
    parameters, outcomes = TASKS[task]
    folder = root / "sbibm" / task / f"num_observation_{observation}"
    draws = _csv(folder / "reference_posterior_samples.csv.bz2", parameters)
    labels = {
        "observation": _csv(folder / "observation.csv", outcomes)[0],
        "true_parameters": _csv(folder / "true_parameters.csv", parameters)[0],
    }
    columns = tuple(f"parameter_{j}" for j in range(1, parameters + 1))
    steps = (*STEPS, f"observation {observation}")
    return DataSet(f"sbibm-{task}", draws, None, draws[:0], columns, steps, labels=labels)


def _csv(path: Path, columns: int) -> np.ndarray:
    """Return the numbers of a CSV file with a header line, ``(n, columns)``."""
    if not path.exists():
        raise MissingDataError(
            f"{path} is not there. Place the folder of github.com/sbi-benchmark/sbibm, "
            f"sbibm/tasks/{path.parent.parent.name}/files, at {path.parent.parent}"
        )
    try:
        with (bz2.open if path.suffix == ".bz2" else open)(path, "rt") as file:
            rows = np.loadtxt(file, delimiter=",", skiprows=1, ndmin=2)
    except (EOFError, OSError, ValueError) as error:
        raise DataError(str(path), f"a CSV of {columns} columns", error) from error
    if rows.shape[1] != columns:
        raise DataError(str(path), f"{columns} columns", rows.shape[1])
    return rows


CARDS = tuple(
    Card(
        f"sbibm-{task}",
        f"10,000 draws of a posterior of {parameters} parameters; option observation: 1 to 10",
        partial(read, task=task),
        "github.com/sbi-benchmark/sbibm",
        "MIT",
        "J. Lueckmann, J. Boelts, D. Greenberg, P. Goncalves and J. Macke, Benchmarking "
        "simulation-based inference, 2021",
    )
    for task, (parameters, _) in TASKS.items()
)
