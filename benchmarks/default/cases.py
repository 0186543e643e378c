"""Cases of the benchmark: tables, an amount of work, and the peers that are measured beside it."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

BUILDS = ("today", "base")
PEERS = ("mixture", "kde", "zuko-nsf")
MEASURES = ("fit", "score", "sample")
# Rows that are scored, and that are drawn.
TEST_ROWS = 10_000


@dataclass(frozen=True)
class Case:
    """One table, fitted by two builds with one ``effort``, and by peers with one setting each.

    In each round each contender is measured once. A measure ends after ``rounds`` rounds, or when
    a round is over and ``patience`` seconds have been used.
    """

    name: str
    rows: int = 0
    columns: int = 0
    categories: int = 0  # number of categories of each of four more columns; 0 for no such columns
    table: str = ""  # a table of the bank; empty for synthetic rows
    effort: str = "default"
    peers: tuple[str, ...] = PEERS
    rounds: int = 3
    patience: float = 60.0
    slice: float = 0.5  # seconds of score and sample in each round
    seed: int = 0

    def as_json(self) -> dict:
        """Return the case as a JSON document."""
        return {**asdict(self), "peers": list(self.peers)}


def case_from_json(data: dict) -> Case:
    return Case(**{**data, "peers": tuple(data["peers"])})


def _synthetic(rows: int, columns: int, effort: str, **options) -> Case:
    return Case(f"{rows}x{columns}-{effort}", rows, columns, effort=effort, **options)


# The early-stopped flow of zuko takes minutes beyond 10,000 rows, and the mixture has many
# parameters in many columns.
_MANY = ("mixture", "kde")
NAMED = (
    _synthetic(1_000, 10, "default"),
    Case("phoneme", table="phoneme"),
    _synthetic(10_000, 10, "default"),
    _synthetic(200_000, 10, "fast", peers=_MANY),
    _synthetic(1_000_000, 10, "fast", peers=_MANY),
    _synthetic(2_000, 200, "fast", peers=("kde",)),
)
# From one table each of these alone is varied. Named cases are points of the curves, too.
GROWTH = {
    "rows": (
        _synthetic(1_000, 10, "fast", peers=_MANY),
        _synthetic(10_000, 10, "fast", peers=_MANY),
        _synthetic(200_000, 10, "fast", peers=_MANY),
        _synthetic(1_000_000, 10, "fast", peers=_MANY),
    ),
    "columns": (
        _synthetic(2_000, 2, "fast", peers=_MANY),
        _synthetic(2_000, 10, "fast", peers=_MANY),
        _synthetic(2_000, 50, "fast", peers=_MANY),
        _synthetic(2_000, 200, "fast", peers=("kde",)),
        _synthetic(2_000, 300, "fast", peers=("kde",)),
    ),
    "categories": tuple(
        Case(f"categories-{k}-fast", 5_000, 4, k, effort="fast", peers=())
        for k in (2, 10, 100, 1_000)
    ),
}
QUICK = (
    Case("quick", 300, 3, effort="fast", peers=("mixture", "kde"), rounds=1, slice=0.01),
    Case("quick-categories", 300, 2, 3, effort="fast", peers=(), rounds=1, slice=0.01),
)


def plan(bank: Path | None, *, quick: bool = False) -> list[Case]:
    """Return all cases, each once; those of the bank need its folder."""
    if quick:
        return list(QUICK)
    every = {case.name: case for case in NAMED if bank is not None or not case.table}
    for axis in GROWTH.values():
        every |= {case.name: case for case in axis if case.name not in every}
    if bank is not None:
        for path in sorted(bank.glob("*.npz")):
            every.setdefault(path.stem, Case(path.stem, table=path.stem, peers=(), rounds=1))
    return list(every.values())


def axis_value(case: Case, axis: str) -> int:
    """Return the value of a case on an axis of `GROWTH`."""
    return getattr(case, axis)


def with_effort(case: Case, effort: str) -> Case:
    """Return a case of the bank with another amount of work, under another name."""
    return replace(case, name=f"{case.name}-{effort}", effort=effort, peers=())


def rows_of(case: Case, bank: str | None) -> tuple[object, object]:
    """Return training and test rows: arrays, or frames of pandas with categories.

    Synthetic rows are of a mixture of five correlated normals, and each third column is skewed.
    """
    if case.table:
        from densities.data import split

        return split(case.table, None if bank is None else Path(bank))
    rng = np.random.default_rng(case.seed)
    d = case.columns
    means = 1.5 * rng.normal(size=(5, d))
    factors = rng.normal(size=(5, d, d)) / d**0.5 + 0.3 * np.eye(d)

    def draw(n: int) -> object:
        x, component = np.empty((n, d)), rng.integers(5, size=n)
        for k in range(5):
            chosen = np.flatnonzero(component == k)
            x[chosen] = means[k] + rng.normal(size=(len(chosen), d)) @ factors[k]
        x[:, ::3] = np.exp(x[:, ::3] / 2)
        return x if not case.categories else _with_categories(x, component, case.categories, rng)

    return draw(case.rows), draw(TEST_ROWS)


def _with_categories(
    x: np.ndarray, component: np.ndarray, categories: int, rng: np.random.Generator
) -> object:
    """Return a frame with four columns of categories, which depend on the component."""
    import pandas as pd

    columns = {f"x{j}": column for j, column in enumerate(x.T)}
    for j in range(4):
        # The smaller of two draws: low categories are frequent, and others rare.
        code = np.minimum(*rng.integers(categories, size=(2, len(x))))
        code = (code + component * (j + 1)) % categories
        columns[f"c{j}"] = np.char.add("category ", code.astype(str)).astype(object)
    return pd.DataFrame(columns)
