"""Tables of the benchmark: a folder of NAME.npz files, and data sets of scikit-learn."""

from pathlib import Path

import numpy as np

MOST_ROWS = 30_000
_FEWEST_LEVELS = 16  # a column of fewer is a category, and left out


def names(bank: Path | None) -> list[str]:
    """Return the names of all tables, the smallest first."""
    sizes = {name: len(_rows(name, bank)) for name in (*_BUNDLED, *_banked(bank))}
    return sorted(sizes, key=sizes.__getitem__)


def split(name: str, bank: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Return training and test rows, four to one; the split is the same for each method and call.

    Uniform noise of the width of the resolution is added to columns with ties, because the density
    of repeated values is unbounded.
    """
    rng = np.random.default_rng(0)
    x = _rows(name, bank)
    if len(x) > MOST_ROWS:
        x = x[rng.choice(len(x), MOST_ROWS, replace=False)]
    x = _spread(x, rng)
    order = rng.permutation(len(x))
    held_out = max(len(x) // 5, 30)
    return x[order[held_out:]], x[order[:held_out]]


def _rows(name: str, bank: Path | None) -> np.ndarray:
    x = _bundled(name) if name in _BUNDLED else np.load(bank / f"{name}.npz")["X"]
    x = x[np.isfinite(x).all(1)]
    return x[:, [len(np.unique(column)) >= _FEWEST_LEVELS for column in x.T]]


def _spread(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    x = x.astype(np.float64)
    for j, column in enumerate(x.T.copy()):
        levels = np.unique(column)
        if 1 < len(levels) < 0.5 * len(x):
            gaps = np.diff(levels)
            width = gaps.min() if len(levels) < 2000 else np.median(gaps)
            x[:, j] += rng.uniform(0, width, len(x))
    return x


# Of scikit-learn's bundled tables, the numeric ones.
_BUNDLED = ("iris", "wine", "breast_cancer", "diabetes")


def _bundled(name: str) -> np.ndarray:
    from sklearn import datasets

    return getattr(datasets, f"load_{name}")().data


def _banked(bank: Path | None) -> list[str]:
    return [] if bank is None else sorted(path.stem for path in bank.glob("*.npz"))
