"""Missing cells filled: flowkit and other libraries on tables with 30 % of cells removed at random.

    python benchmarks/imputation.py [--tables NAME ...] [--methods NAME ...] [--work DIR]
        [--output DIR] [--quick]

Each method is fitted to the table with its holes, and fills those of 200 of its rows: by one number
for each cell, and by 50 draws. Cells are scored in standard deviations of their column: the root of
the mean squared error of the number, the continuous ranked probability score of the draws, and the
log-density of the true cell under a kernel estimate of the draws, the same for each method. A
result is a file in the work folder (out/imputation), and is not measured again. Each run writes
the report of all files: benchmarks/results/imputation.{json,md}.

Methods: flowkit's default, `FlowDensity.impute`; scikit-learn's `IterativeImputer` by Bayesian
ridge regression, with draws from its posterior; the same by random forests, as MissForest does,
whose draws are normal with the error of each column's cells that were hidden for it; SDV's Gaussian
copula (`pip install sdv`), whose number is the mean of its draws. Data are below TABULAR_DATA_HOME.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from regression.data import QUICK, load
from regression.scores import crps
from single_results import measured_once, write_report
from speed.machine import machine

RESULTS = Path(__file__).parent / "results"
WORK = Path(__file__).parents[1] / "out" / "imputation"
TABLES = ("yacht", "energy", "concrete", "wine", "power")
_MOST_ROWS, _SCORED_ROWS, _SHARE, _DRAWS, _SEED = 1_500, 200, 0.3, 50, 0
# A method: fills a table ``(n, c)`` with NaN at some rows; numbers, and draws (d, rows, c).
Filled = tuple[np.ndarray, np.ndarray]


def holed(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a table and the same table with holes; no row and no column loses all cells."""
    split = load(name, 0)
    x = np.concatenate([split.x, split.x_test])
    table = np.column_stack([x, np.concatenate([split.y, split.y_test])])
    rng = np.random.default_rng(_SEED)
    table = table[rng.permutation(len(table))[:_MOST_ROWS]]
    gone = rng.random(table.shape) < _SHARE
    rows = gone.all(1)
    gone[rows, rng.integers(0, table.shape[1], rows.sum())] = False
    return table, np.where(gone, np.nan, table)


def scores(truth: np.ndarray, numbers: np.ndarray, draws: np.ndarray) -> dict[str, float]:
    """Return the mean scores of cells ``(m,)``, of numbers for them and draws ``(d, m)``."""
    d = len(draws)
    # Silverman's rule of thumb, no narrower than a hundredth of the column.
    width = np.maximum(0.9 * draws.std(0) * d**-0.2, 0.01)
    z = (truth - draws) / width
    log_kernel = -0.5 * z**2 - np.log(width) - 0.5 * np.log(2 * np.pi)
    # A wide normal of weight 0.001 keeps cells beyond all draws from ruling the mean.
    wide = -0.5 * (truth / 3) ** 2 - np.log(3) - 0.5 * np.log(2 * np.pi)
    log_prob = np.logaddexp(np.logaddexp.reduce(log_kernel) - np.log(d) + np.log(0.999), wide - 6.9)
    squared = (truth - numbers) ** 2
    return {
        "rmse": float(np.sqrt(squared.mean())),
        "crps": float(crps(np.sort(draws.T), np.arange(1, d) / d, truth).mean()),
        "log_prob": float(log_prob.mean()),
        "log_prob error": float(log_prob.std() / np.sqrt(len(truth))),
        "cells": len(truth),
    }


def flowkit(table: np.ndarray, rows: np.ndarray, quick: bool) -> Filled:
    """The default of this library."""
    from flowkit import FlowDensity

    effort = {"effort": "fast", "max_seconds": 1.0} if quick else {}
    density = FlowDensity(random_state=_SEED, **effort).fit(table)
    numbers = density.impute(table[rows], method="mean")
    return numbers, np.stack(density.impute(table[rows], n=_DRAWS, random_state=_SEED))


def iterative(table: np.ndarray, rows: np.ndarray, quick: bool) -> Filled:
    """Chained equations by Bayesian ridge regression."""
    iterative_imputer = _iterative_imputer()
    numbers = iterative_imputer(max_iter=20, random_state=_SEED).fit_transform(table)
    draws = [
        iterative_imputer(sample_posterior=True, max_iter=10, random_state=seed).fit_transform(
            table
        )[rows]
        for seed in range(2 if quick else _DRAWS)
    ]
    return numbers[rows], np.stack(draws)


def forest(table: np.ndarray, rows: np.ndarray, quick: bool) -> Filled:
    """Chained equations by random forests, as MissForest."""
    from sklearn.ensemble import RandomForestRegressor

    def filled(holes: np.ndarray) -> np.ndarray:
        trees = RandomForestRegressor(10 if quick else 100, random_state=_SEED)
        imputer = _iterative_imputer()(trees, max_iter=5, random_state=_SEED)
        result: np.ndarray = imputer.fit_transform(holes)
        return result

    rng = np.random.default_rng(_SEED)
    numbers = filled(table)
    hidden = ~np.isnan(table) & (rng.random(table.shape) < 0.1)
    errors = filled(np.where(hidden, np.nan, table)) - table
    spread = [np.sqrt(np.mean(e[h] ** 2)) for e, h in zip(errors.T, hidden.T, strict=True)]
    noise = rng.normal(size=(_DRAWS, len(rows), table.shape[1]))
    return numbers[rows], numbers[rows] + noise * np.array(spread)


def copula(table: np.ndarray, rows: np.ndarray, quick: bool) -> Filled:
    """SDV's Gaussian copula: each row's cells given those that are there."""
    del quick
    import pandas as pd
    from sdv.metadata import Metadata
    from sdv.single_table import GaussianCopulaSynthesizer

    frame = pd.DataFrame(table, columns=[f"c{j}" for j in range(table.shape[1])])
    metadata = Metadata.detect_from_dataframe(frame, table_name="t")
    for name in frame:
        metadata.update_column(name, table_name="t", sdtype="numerical")
    synthesizer = GaussianCopulaSynthesizer(metadata)
    synthesizer.fit(frame)
    draws = np.tile(table[rows], (_DRAWS, 1, 1))
    for i, row in enumerate(rows):
        gone = np.isnan(table[row])
        if gone.any():
            known = frame.loc[[row] * _DRAWS, frame.columns[~gone]].reset_index(drop=True)
            drawn = synthesizer.sample_remaining_columns(known)[frame.columns[gone]]
            values = drawn.to_numpy(dtype=float)
            draws[:, i, gone] = np.where(np.isnan(values), np.nanmean(table[:, gone], 0), values)
    return draws.mean(0), draws


def _iterative_imputer() -> Callable[..., object]:
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    return IterativeImputer


METHODS = {
    "flowkit": (flowkit, "flowkit-density"),
    "iterative": (iterative, "scikit-learn"),
    "forest": (forest, "scikit-learn"),
    "copula": (copula, "sdv"),
}


def measure(name: str, method: str, quick: bool) -> dict:
    """Fill the holes of a table by a method, and score its cells."""
    table, holes = holed(name)
    rows = np.arange(min(_SCORED_ROWS, len(table)))
    fill, package = METHODS[method]
    start, clock = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peers
        numbers, draws = fill(holes, rows, quick)
    seconds = {"seconds": time.perf_counter() - start, "processor": time.process_time() - clock}
    centre, scale = np.nanmean(table, 0), np.maximum(table.std(0), 1e-12)
    gone = np.isnan(holes[rows])

    def standard(values: np.ndarray) -> np.ndarray:
        result: np.ndarray = ((values - centre) / scale)[..., gone]
        return result

    result = {"table": name, "method": method, "rows": len(table), "columns": table.shape[1]}
    result |= scores(standard(table[rows]), standard(numbers), standard(draws))
    result |= {key: round(value, 2) for key, value in seconds.items()}
    result |= {"version": f"{package} {version(package)}", "machine": machine(), "seed": _SEED}
    return result | {"date": date.today().isoformat()}


def report(results: Sequence[dict]) -> str:
    """Return the results as Markdown."""
    machines = sorted({f"{m['cpu']}, {m['cores']} cores" for m in (r["machine"] for r in results)})
    lines = [
        "# Missing cells filled",
        "",
        f"{'; '.join(machines)}. {', '.join(sorted({r['date'] for r in results}))}. Seed {_SEED}. "
        f"{', '.join(sorted({r['version'] for r in results}))}.",
        "Made by `python benchmarks/imputation.py`, which says what each method does.",
        "",
        "30 % of all cells are removed at random. Scores are means over the removed cells of",
        f"{_SCORED_ROWS} rows, in standard deviations of their column: root mean squared error,",
        "CRPS and log-density of draws. Bold is best.",
        "",
        "| table | rows x columns | method | RMSE | CRPS | log-density | processor s |",
        f"|{' --- |' * 7}",
    ]
    for name in (*TABLES, QUICK):
        group = [r for r in results if r["table"] == name]
        for r in sorted(group, key=lambda r: list(METHODS).index(r["method"])):
            best = {key: min(g[key] for g in group) for key in ("rmse", "crps")}
            best["log_prob"] = max(g["log_prob"] for g in group)
            cells = [f"**{r[k]:.3f}**" if r[k] == best[k] else f"{r[k]:.3f}" for k in best]
            lines.append(
                f"| {name} | {r['rows']} x {r['columns']} | {r['method']} | {cells[0]} | {cells[1]}"
                f" | {cells[2]} ± {r['log_prob error']:.3f} | {r['processor']:.0f} |"
            )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--work", type=Path, help="folder of single results")
    parser.add_argument("--output", type=Path, help="folder of the report")
    parser.add_argument("--quick", action="store_true", help="a tiny table, for a test run")
    options = parser.parse_args(arguments)
    names = [QUICK] if options.quick else options.tables
    spare = Path(tempfile.mkdtemp()) if options.quick else None
    work, folder = options.work or spare or WORK, options.output or spare or RESULTS
    for name in names:
        for method in options.methods:
            path = work / f"{name}-{method}.json"
            try:
                version(METHODS[method][1])
            except PackageNotFoundError:
                print(f"{method}: skipped, {METHODS[method][1]} is missing", file=sys.stderr)
                continue
            found = measured_once(path, partial(measure, name, method, options.quick))
            if found is not None:
                print(f"{path.stem}: {found['log_prob']:.3f}", file=sys.stderr, flush=True)
    write_report(work, folder / "imputation.json", report)


if __name__ == "__main__":
    main()
