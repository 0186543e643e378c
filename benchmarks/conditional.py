"""Density regression: flowkit and other libraries on the UCI sets, on all published splits.

    python benchmarks/conditional.py [--sets SET ...] [--splits N] [--methods NAME ...]
        [--work DIR] [--output DIR] [--quick]

Each method is fitted to the training rows of a split and scored on its test rows: log-likelihood
in the target's own units, that of the cells of the target's grid, continuous ranked probability
score, coverage and width of 90 % intervals. A result is a file in the work folder
(out/conditional), and is not measured again; delete the file to repeat it. Several processes may
share the work folder if their sets or methods differ. Each run writes the report of all files:
benchmarks/results/conditional.{json,md,png}.

Methods whose package is missing are left out. For all of them, in an environment of their own:

    pip install -e ".[bench]" lightgbm quantile-forest sbi
    pip install autograd einops jaxtyping ml-collections
    pip install --no-deps ngboost treeffuser

(the last two pin older versions of scikit-learn, and treeffuser of numpy and lightgbm; they run
with those of today). Data are below TABULAR_DATA_HOME. Seconds are compared with one thread each
(`OMP_NUM_THREADS=1`).
"""

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from regression.data import QUICK, SETS, load, splits
from regression.methods import METHODS, OURS, versions
from regression.plot import plot
from regression.report import report, summary
from regression.scores import scores
from speed.machine import machine

RESULTS = Path(__file__).parent / "results"
WORK = Path(__file__).parents[1] / "out" / "conditional"
_SEED = 0
_QUICK_METHODS = (OURS, "ensemble")


def measure(name: str, split: int, method: str, quick: bool = False) -> dict:
    """Fit one method to one split of a set and score it."""
    data = load(name, split)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peers
        clocks = [_clocks()]
        predict = METHODS[method].fit(data, _SEED, quick)
        clocks.append(_clocks())
        predictive = predict()
        predictive.log_prob(data.y_test)
        clocks.append(_clocks())
        found = scores(predictive, data.y_test, data.step)
    result = {"set": name, "split": split, "method": method, "step": data.step, **found}
    result |= {"rows": len(data.x), "test rows": len(data.x_test), "columns": data.x.shape[1]}
    for part, begin, end in zip(("fit", "predict"), clocks, clocks[1:], strict=False):
        result[f"{part} seconds"], result[f"{part} processor seconds"] = (
            round(b - a, 3) for a, b in zip(begin, end, strict=True)
        )
    result |= {"versions": versions(method), "machine": machine(), "seed": _SEED}
    return result | {"date": date.today().isoformat()}


def _clocks() -> tuple[float, float]:
    """Return the time, and the processor time of all threads."""
    return time.perf_counter(), time.process_time()


def _skipped(name: str, method: str) -> str | None:
    """Return why a method is left out of a set, if it is."""
    chosen = METHODS[method]
    if chosen.missing():
        return f"{method}: skipped, {chosen.package} is not installed"
    if chosen.most_rows is not None:
        data = load(name, 0)
        if len(data.x) + len(data.x_test) > chosen.most_rows:
            return f"{name}: {method} skipped, more than {chosen.most_rows:,} rows"
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--splits", type=int, help="number of splits, by default all published")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--work", type=Path, help="folder of single results")
    parser.add_argument("--output", type=Path, help="folder of the report")
    parser.add_argument("--quick", action="store_true", help="a tiny set, for a test run")
    options = parser.parse_args(arguments)
    names, methods = options.sets, options.methods
    if options.quick:
        names, methods = [QUICK], [m for m in methods if m in _QUICK_METHODS]
    spare = Path(tempfile.mkdtemp()) if options.quick else None
    work, folder = options.work or spare or WORK, options.output or spare or RESULTS
    work.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        for method in methods:
            reason = _skipped(name, method)
            if reason:
                print(reason, file=sys.stderr, flush=True)
                continue
            for split in range(min(options.splits or 100, splits(name))):
                _measure_once(work / f"{name}-{split}-{method}.json", options.quick)
    results = summary([json.loads(path.read_text()) for path in sorted(work.glob("*-*-*.json"))])
    path = folder / "conditional.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    plot(results, path.with_suffix(".png"))
    path.with_suffix(".md").write_text(report(results, path.with_suffix(".png").name))
    print(path.with_suffix(".md"))


def _measure_once(path: Path, quick: bool) -> None:
    """Measure what the name of a file says, unless the file exists. A failure is printed."""
    if path.exists():
        return
    name, split, method = path.stem.split("-", 2)
    try:
        found = measure(name, int(split), method, quick)
    except Exception as error:
        print(f"{path.stem}: failed, {error!r}", file=sys.stderr, flush=True)
        return
    path.write_text(json.dumps(found) + "\n")
    print(
        f"{path.stem}: {found['log_prob']:.3f}, per cell {found['log_cell']:.3f}, crps "
        f"{found['crps']:.4g}, {found['fit seconds']:.1f} s",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    main()
