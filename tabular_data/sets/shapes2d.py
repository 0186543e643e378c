"""A draw of shapes in the plane, for whoever wants rows and not the grid."""

from pathlib import Path

import numpy as np

from flowkit._checks import check_count
from tabular_data import shapes
from tabular_data.dataset import Card, DataSet, Pixels


def read(root: Path, rows: int = 50_000, seed: int = 0) -> DataSet:
    """Draw different places of the grid: ``rows`` to train, and a tenth as many to val and test."""
    del root
    check_count("rows", rows)
    check_count("seed", seed, 0)
    tenth = max(rows // 10, 1)
    check_count("rows in all", shapes.TOTAL - rows - 2 * tenth, 0)
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
