"""Samples of toy densities: 10,000 points for training, 2,000 for validation, 10,000 for test."""

from functools import partial
from pathlib import Path

import numpy as np

from tabular_data.dataset import Card, DataSet
from tabular_data.toy import TOYS

_SIZES = (10_000, 2_000, 10_000)


def read(root: Path, name: str) -> DataSet:
    """Draw samples of a toy density."""
    del root
    rng = np.random.default_rng(0)
    train, val, test = (TOYS[name].sample(n, rng) for n in _SIZES)
    return DataSet(name, train, val, test, ("x0", "x1"), ("drawn with default_rng(0)",))


CARDS = tuple(
    Card(
        name,
        f"toy density, at best {toy.optimum:.4f} nats",
        partial(read, name=name),
        "drawn here",
        "none needed",
        "",
    )
    for name, toy in TOYS.items()
)
