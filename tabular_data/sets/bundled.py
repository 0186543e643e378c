"""Data sets bundled with scikit-learn, without downloads."""

from functools import partial
from pathlib import Path

import numpy as np

from tabular_data.dataset import Card, DataSet

_SETS = ("iris", "wine", "breast_cancer", "diabetes", "digits")
STEPS = ("shuffled by default_rng(0): a fifth for test, a tenth of the rest for validation",)


def read(root: Path, name: str) -> DataSet:
    """Load one data set of scikit-learn."""
    from sklearn import datasets

    del root
    bunch = getattr(datasets, f"load_{name}")()
    order = np.random.default_rng(0).permutation(len(bunch.data))
    n_test = len(order) // 5
    n_val = (len(order) - n_test) // 10
    parts = {
        "test": order[:n_test],
        "val": order[n_test : n_test + n_val],
        "train": order[n_test + n_val :],
    }
    columns = tuple(str(c).replace(" ", "_") for c in bunch.feature_names)
    rows = {part: bunch.data[chosen] for part, chosen in parts.items()}
    labels = {part: bunch.target[chosen] for part, chosen in parts.items()}
    return DataSet(name, rows["train"], rows["val"], rows["test"], columns, STEPS, labels=labels)


CARDS = tuple(
    Card(
        name,
        "bundled with scikit-learn",
        partial(read, name=name),
        "scikit-learn's own copy",
        "see scikit-learn's description",
        "F. Pedregosa et al., Scikit-learn: machine learning in Python, 2011",
    )
    for name in _SETS
)
