"""Held-out log-likelihoods of tables: flowkit, a Gaussian, a mixture, a kernel estimate and zuko.

    python benchmarks/tables.py [--bank DIR] [--only TABLE ...] [--methods NAME ...] [--quick]

Methods are fitted to four fifths of a table, and scored on the last fifth. Scores are nats per row,
in the units of the table. Baselines are tuned (see `densities/methods.py`); flowkit has default
arguments. Writes benchmarks/results/tables.{json,md,png}. Results in the JSON file are not measured
again, unless a table or method is named.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from datetime import date
from pathlib import Path

import numpy as np
import torch
from densities.data import names, split
from densities.methods import METHODS
from densities.report import plot, report
from speed.machine import machine

RESULTS = Path(__file__).parent / "results"
_QUICK_TABLES = ("iris", "diabetes")
_QUICK_METHODS = ("gaussian", "mixture", "flowkit")


def measure(table: str, method: str, bank: Path | None) -> dict:
    """Fit one method to one table and score it."""
    train, test = split(table, bank)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mixtures that did not converge
        density = METHODS[method]()
        density.fit(train)
    seconds = time.perf_counter() - start
    scores = density.score_samples(test)
    row = {"table": table, "rows": len(train), "columns": train.shape[1], "method": method}
    row |= {"seconds": seconds, **_summary(scores), "date": date.today().isoformat()}
    row["shared"] = not _machine_is_ours()
    if method == "flowkit":
        row["flows alone"] = _summary(density.flows_only().score_samples(test))
        row["members"] = density.members_
    return row


def _machine_is_ours() -> bool:
    """Return whether all cores were free during the fit, so that its seconds are valid."""
    cores = os.cpu_count() or 1
    return torch.get_num_threads() >= cores and os.getloadavg()[0] < cores + 0.5


def _summary(scores: np.ndarray) -> dict[str, float]:
    return {
        "score": float(scores.mean()),
        "standard error": float(scores.std(ddof=1) / len(scores) ** 0.5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bank", type=Path, help="folder of tables, NAME.npz with an array X")
    parser.add_argument("--only", nargs="+", metavar="TABLE")
    parser.add_argument("--methods", nargs="+", choices=METHODS)
    parser.add_argument("--quick", action="store_true", help="small tables, for a test run")
    parser.add_argument("--output", type=Path, help="folder for the results")
    options = parser.parse_args()
    folder = options.output or (Path(tempfile.mkdtemp()) if options.quick else RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tables.json"
    results = json.loads(path.read_text()) if path.exists() else {"rows": []}
    results = {"machine": machine(), "seed": 0} | results
    tables = _QUICK_TABLES if options.quick else names(options.bank)
    methods = _QUICK_METHODS if options.quick else tuple(METHODS)
    named = bool(options.only or options.methods)
    for table in tables:
        for method in methods:
            if options.only and table not in options.only:
                continue
            if options.methods and method not in options.methods:
                continue
            same = [r for r in results["rows"] if (r["table"], r["method"]) == (table, method)]
            if same and not named:
                continue
            row = measure(table, method, options.bank)
            results["rows"] = [r for r in results["rows"] if r not in same] + [row]
            path.write_text(json.dumps(results, indent=1) + "\n")
            message = f"{table}: {method}, {row['score']:.4f}, {row['seconds']:.1f} s"
            print(message, file=sys.stderr, flush=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    plot(results, path.with_suffix(".png"))
    path.with_suffix(".md").write_text(report(results, path.with_suffix(".png").name))
    print(path.with_suffix(".md"))


if __name__ == "__main__":
    main()
