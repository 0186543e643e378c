"""Kullback-Leibler divergences of flows from toy densities.

Each flow is fitted to 100,000 draws, and scored on 100,000 new draws. The mean of log q - log p is
the negative divergence: at most 0, up to noise.

    python benchmarks/toys.py [NAME ...]

Writes benchmarks/results/toys.md.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from flowkit.flows import Flow, made_mog, maf, maf_mog, nsf
from flowkit.training import fit
from tabular_data import TOYS

ROWS = 100_000
RESULTS = Path(__file__).parent / "results"


class Recipe(NamedTuple):
    """A flow of a toy density; columns are divided by `scale`, which is the unit of bounds."""

    toy: str
    label: str
    make: Callable[[], Flow]
    scale: tuple[float, float]
    steps: int
    learning_rate: float


def _nsf(bound: float) -> Flow:
    return nsf(2, hidden=(64, 64), bins=12, bound=bound)


RECIPES = {
    "parabola-maf": Recipe(
        "parabola", "maf, order x1, x2", lambda: maf(2, hidden=(64, 64)), (2, 2), 2000, 2e-3
    ),
    "parabola": Recipe("parabola", "nsf", lambda: _nsf(8.0), (2, 2), 4000, 3e-3),
    "eight_gaussians": Recipe("eight_gaussians", "nsf", lambda: _nsf(4.0), (1.4, 1.4), 4000, 3e-3),
    "checkerboard": Recipe("checkerboard", "nsf", lambda: _nsf(4.0), (1.15, 1.15), 4000, 3e-3),
    "funnel": Recipe("funnel", "nsf", lambda: _nsf(5.0), (3, 40), 4000, 3e-3),
}


# The same settings for every smooth toy ...
for _toy, _scale in {
    "parabola": (2, 2),
    "eight_gaussians": (1.4, 1.4),
    "funnel": (3, 10),
}.items():
    RECIPES[f"{_toy}-made_mog"] = Recipe(
        _toy, "made_mog", lambda: made_mog(2, components=20, hidden=(64, 64)), _scale, 3000, 5e-3
    )
    RECIPES[f"{_toy}-maf_mog"] = Recipe(
        _toy,
        "maf_mog",
        lambda: maf_mog(2, layers=3, components=20, hidden=(64, 64)),
        _scale,
        3000,
        3e-3,
    )


# ... and more of everything for the sharp edges of the checkerboard.
RECIPES["checkerboard-made_mog"] = Recipe(
    "checkerboard",
    "made_mog, 40 components",
    lambda: made_mog(2, components=40, hidden=(128, 128)),
    (1.15, 1.15),
    8000,
    1e-2,
)
RECIPES["checkerboard-maf_mog"] = Recipe(
    "checkerboard",
    "maf_mog, 40 components",
    lambda: maf_mog(2, layers=1, components=40, hidden=(128, 128)),
    (1.15, 1.15),
    8000,
    1e-2,
)


HEADER = [
    "# Toy densities: nats from the optimum",
    "",
    f"Seed 0, torch {torch.__version__}, {platform.machine()} {platform.system()},",
    f"{os.cpu_count()} cores that others use too.",
    "Made by `benchmarks/toys.py`, which replaces the rows that it is asked for.",
    "",
    "| density | flow | optimum | mean of log q - log p | standard error | seconds | date |",
    "| --- | --- | --- | --- | --- | --- | --- |",
]


def read_rows(path: Path) -> dict[tuple[str, str], str]:
    """Return the rows of earlier results, by density and flow."""
    if not path.exists():
        return {}
    lines = [line for line in path.read_text().splitlines() if line.startswith("| ")][2:]
    cells = [tuple(cell.strip() for cell in line.split("|")[1:3]) for line in lines]
    return {(toy, flow): line for (toy, flow), line in zip(cells, lines, strict=True)}


def divergence(recipe: Recipe, seed: int = 0) -> tuple[float, float]:
    """Fit and score; return the mean of log q - log p on new draws, and its standard error."""
    toy, rng = TOYS[recipe.toy], np.random.default_rng(seed)
    scale = torch.tensor(recipe.scale, dtype=torch.float64)
    train, test = (torch.tensor(toy.sample(ROWS, rng)) / scale for _ in range(2))
    torch.manual_seed(seed)
    flow = recipe.make()
    options = {"steps": recipe.steps, "learning_rate": recipe.learning_rate}
    options["standardize"] = False  # a recipe has a scale of its own
    fit(flow, train.float(), seed=seed, **options)
    with torch.no_grad():
        log_q = flow.log_prob(test.float()).double() - scale.log().sum()
    difference = log_q.numpy() - toy.log_prob((test * scale).numpy())
    return float(difference.mean()), float(difference.std() / ROWS**0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RECIPES)}")
    names = parser.parse_args().names or list(RECIPES)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "toys.md"
    rows = read_rows(path)
    for name in names:
        recipe = RECIPES[name]
        start = time.perf_counter()
        mean, error = divergence(recipe)
        seconds = time.perf_counter() - start
        rows[recipe.toy, recipe.label] = (
            f"| {recipe.toy} | {recipe.label} | {TOYS[recipe.toy].optimum:.4f} | {mean:.4f} "
            f"| {error:.4f} | {seconds:.0f} | {date.today()} |"
        )
        print(rows[recipe.toy, recipe.label], flush=True)
        path.write_text("\n".join([*HEADER, *rows.values()]) + "\n")


if __name__ == "__main__":
    main()
