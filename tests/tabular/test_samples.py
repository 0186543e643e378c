"""Tables drawn by `FlowDensity` fill cells as its own density says, by quadrature."""

import itertools

import numpy as np
import pandas as pd
import pytest

from flowkit import FlowDensity

DRAWS = 20_000
NODES, WEIGHTS = np.polynomial.legendre.leggauss(5)
_slow = pytest.mark.slow


def two_reals(generator, n):
    x = generator.normal(size=n)
    y = np.where(generator.random(n) < 0.5, x + 0.3 * generator.normal(size=n), -(x**2))
    return pd.DataFrame({"x": x, "y": y + 0.3 * generator.normal(size=n)})


def angle_and_real(generator, n):
    angle = (generator.normal(np.pi, 1.2, n)) % (2 * np.pi)
    return pd.DataFrame({"angle": angle, "x": np.sin(angle) + 0.3 * generator.normal(size=n)})


def category_hole_two_reals(generator, n):
    kind = generator.choice(["a", "b"], n, p=[0.7, 0.3])
    x = generator.normal(size=n) + np.where(kind == "a", -1, 2)
    y = 0.5 * x + 0.5 * generator.normal(size=n)
    y[generator.random(n) < np.where(kind == "a", 0.1, 0.5)] = np.nan
    return pd.DataFrame({"kind": kind, "x": x, "y": y})


def count_and_amount(generator, n):
    count = generator.poisson(2, n)
    amount = generator.normal(3 + count, 1.0)
    amount[count == 0] = 0.0
    return pd.DataFrame({"count": count, "amount": amount})


TABLES = {
    "two reals": (two_reals, None, {}),
    "two reals, turned": (two_reals, ["y", "x"], {}),
    "two reals, another order": (two_reals, None, {"random_state": 3}),
    "angle and real": (angle_and_real, None, {}),
    "real and angle": (angle_and_real, ["x", "angle"], {}),
    "category, hole, two reals": (category_hole_two_reals, None, {}),
    "count, amount with an atom": (count_and_amount, None, {}),
}
QUICK = ("angle and real", "category, hole, two reals")


def cells_of(column: pd.Series, name: str) -> list[tuple[str, object]]:
    """Return the cells of a column: states, atoms and holes, and ranges of a real."""
    if name in ("kind", "count"):
        return [("state", value) for value in sorted(column.dropna().unique())[:12]]
    cells: list[tuple[str, object]] = []
    if column.isna().any():
        cells.append(("hole", np.nan))
    real = column.dropna()
    if (real == 0).any():
        cells.append(("state", 0.0))
        real = real[real != 0]
    edges = np.linspace(*np.quantile(real, [0.002, 0.998]), 9)
    if name == "angle":
        edges = np.linspace(0, 2 * np.pi, 9)
    return cells + [("range", pair) for pair in itertools.pairwise(edges)]


def mass_and_share(density, frame, drawn, cells, names):
    """Return the density's mass in a product of cells, and the share of the draws in it."""
    inside = np.ones(len(drawn), dtype=bool)
    points, weights = [], []
    for name, (kind, value) in zip(names, cells, strict=True):
        column = drawn[name]
        if kind == "range":
            low, high = value
            inside &= ((column > low) & (column <= high) & (column != 0)).to_numpy()
            points.append((low + high) / 2 + (high - low) / 2 * NODES)
            weights.append((high - low) / 2 * WEIGHTS)
        else:
            same = column.isna() if kind == "hole" else column == value
            inside &= same.to_numpy()
            points.append(np.array([value], dtype=object if name == "kind" else None))
            weights.append(np.ones(1))
    grid = pd.DataFrame(dict(zip(names, map(list, zip(*itertools.product(*points), strict=True)),
                                 strict=True)))  # fmt: skip
    grid = grid.astype(frame.dtypes.to_dict())
    weight = np.array([np.prod(w) for w in itertools.product(*weights)])
    return grid, weight, inside.mean()


def total_variation(name: str) -> float:
    make, order, options = TABLES[name]
    frame = make(np.random.default_rng(0), 800)
    frame = frame if order is None else frame[order]
    schema = {"angle": {"kind": "circular", "period": 2 * np.pi}} if "angle" in frame else None
    options = {"random_state": 0, "schema": schema, "effort": "fast"} | options
    density = FlowDensity(**options).fit(frame)
    drawn = density.sample(DRAWS, random_state=1)
    names = list(frame.columns)
    grids, weights, shares = [], [], []
    for cells in itertools.product(*[cells_of(frame[name], name) for name in names]):
        grid, weight, share = mass_and_share(density, frame, drawn, cells, names)
        grids.append(grid)
        weights.append(weight)
        shares.append(share)
    masses = np.exp(density.score_samples(pd.concat(grids, ignore_index=True)))
    ends = np.cumsum([len(w) for w in weights])[:-1]
    mass = np.array([m @ w for m, w in zip(np.split(masses, ends), weights, strict=True)])
    shares = np.array(shares)
    assert mass.sum() == pytest.approx(1, abs=0.06)  # the rest lies outside of all cells
    outside = abs((1 - mass.sum()) - (1 - shares.sum()))
    return 0.5 * (np.abs(mass - shares).sum() + outside)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=_slow)
                                  for n in TABLES])  # fmt: skip
def test_cells_are_filled_as_the_density_says(name):
    assert total_variation(name) <= 0.03
