"""UCI regression sets with their published splits, and a small set of scikit-learn."""

from dataclasses import dataclass
from functools import cache

import numpy as np

import tabular_data
from flowkit.schema import Schema

# By the number of rows.
SETS = {
    "yacht": "yacht",
    "boston": "bostonHousing",
    "energy": "energy",
    "concrete": "concrete",
    "wine": "wine-quality-red",
    "kin8nm": "kin8nm",
    "power": "power-plant",
    "naval": "naval-propulsion-plant",
    "protein": "protein-tertiary-structure",
}
QUICK = "diabetes"
_SPLITS = dict.fromkeys(SETS, 20) | {"protein": 5, QUICK: 2}


@dataclass(frozen=True)
class Split:
    """Training and test rows of one split.

    Args:
        x: training features, ``(n, columns)``; the last tenth of the rows is for validation.
        y: training targets, ``(n,)``.
        x_test: test features.
        y_test: test targets.
        step: width of the cells of the target's grid, a property of the whole set.
    """

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    step: float


def splits(name: str) -> int:
    """Return the number of published splits of a set."""
    return _SPLITS[name]


def load(name: str, split: int) -> Split:
    """Read one split of a set."""
    if name == QUICK:
        train, test = _diabetes(split)
    else:
        data = tabular_data.load(f"uci-{SETS[name]}", split=split)
        train, test = np.concatenate([data.train, data.val]), data.test
    step = _step(np.sort(np.concatenate([train, test])[:, -1]).tobytes())
    return Split(train[:, :-1], train[:, -1], test[:, :-1], test[:, -1], step)


@cache
def _step(targets: bytes) -> float:
    """Return the step that a schema has for the target; for one without a grid a tiny one."""
    y = np.frombuffer(targets)
    column = Schema.infer(y[:, None]).columns[0]
    if column.step is not None:
        return float(column.step)
    return 1.0 if column.kind == "integer" else 1e-9 * float(y.std())


def _diabetes(split: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    rows = np.column_stack([x, y])[np.random.default_rng(split).permutation(len(y))]
    return rows[:120], rows[120:150]
