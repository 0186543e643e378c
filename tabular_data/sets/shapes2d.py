"""Random rows of the grid of `tabular_data.shapes`."""

from pathlib import Path

import numpy as np

from flowkit._checks import check_count
from flowkit.errors import ArgumentError
from tabular_data import shapes
from tabular_data.dataset import Card, DataSet, Pixels


def read(root: Path, rows: int = 50_000, seed: int = 0) -> DataSet:
    """Draw distinct rows: ``rows`` for training, a tenth as many for validation and for test."""
    del root
    check_count("rows", rows)
    check_count("seed", seed, 0)
    tenth = max(rows // 10, 1)
    if rows + 2 * tenth > shapes.TOTAL:
        most = shapes.TOTAL * 10 // 12
        raise ArgumentError("rows", f"at most {most:,}, with validation and test distinct", rows)
    chosen = np.random.default_rng(seed).permutation(shapes.TOTAL)[: rows + 2 * tenth]
    codes = shapes.factors_of(chosen)
    pictures = shapes.render(codes)
    parts = np.split(np.arange(len(chosen)), [rows, rows + tenth])
    train, val, test = (pictures[part] for part in parts)
    names = ("train", "val", "test")
    side = shapes.SIDE
    return DataSet(
        "shapes2d",
        train,
        val,
        test,
        tuple(f"row{i}_column{j}" for i in range(side) for j in range(side)),
        (f"places of the grid of {shapes.TOTAL:,} drawn by default_rng({seed}), all different",),
        labels={name: codes[part] for name, part in zip(names, parts, strict=True)},
        pixels=Pixels(2, (side, side)),
    )


CARDS = (
    Card(
        "shapes2d",
        "shapes of known factors, 64 x 64 in black and white; options rows, seed",
        read,
        "drawn here, on the grid of dSprites",
        "none needed",
        "",
    ),
)
