"""Distance of `ConditionalFlowDensity` from conditional densities that are known.

    python benchmarks/known_conditionals.py [--cases NAME ...] [--rows 20000] [--work DIR]

The model is fitted to draws of a known conditional, and scored on as many new draws. The gap is
the mean of log q - log p: at most 0 up to noise, whose standard error is given. A result is a file
in the work folder (out/known_conditionals), and is not measured again. Each run writes the report
of all files, benchmarks/results/known_conditionals.{json,md}.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from single_results import measured_once, write_report
from speed.machine import machine

from flowkit import ConditionalFlowDensity

RESULTS = Path(__file__).parent / "results"
WORK = Path(__file__).parents[1] / "out" / "known_conditionals"
_SEED, _FEATURES = 0, ("a", "b", "c")
_STATES = np.array(["low", "middle", "high"])


class Case(NamedTuple):
    """Known conditional densities of targets given three features, of which the third is noise.

    Attributes:
        targets: names of the targets.
        said: the conditional, in words.
        draw: ``draw(x, rng)``, features ``(n, 3)`` to a dictionary of targets ``(n,)``.
        log_prob: ``log_prob(x, targets)``, the log-density ``(n,)``.
    """

    targets: tuple[str, ...]
    said: str
    draw: Callable[[np.ndarray, np.random.Generator], dict[str, np.ndarray]]
    log_prob: Callable[[np.ndarray, dict[str, np.ndarray]], np.ndarray]


def _heteroscedastic(x: np.ndarray) -> stats.rv_continuous:
    return stats.norm(np.sin(2 * x[:, 0]), 0.1 + 0.3 * np.exp(0.7 * x[:, 1]))


def _skewed(x: np.ndarray) -> stats.rv_continuous:
    return stats.gamma(1.5 + np.exp(0.5 * x[:, 0]), scale=np.exp(0.7 * x[:, 1]))


def _modes(x: np.ndarray) -> tuple[np.ndarray, stats.rv_continuous, stats.rv_continuous]:
    """Return the share of the upper mode, and both modes."""
    apart = 1 + 0.5 * np.tanh(x[:, 0])
    return 1 / (1 + np.exp(-x[:, 1])), stats.norm(apart, 0.3), stats.norm(-apart, 0.4)


def _draw_bimodal(x: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    share, upper, lower = _modes(x)
    is_upper = rng.random(len(x)) < share
    y = np.where(is_upper, upper.rvs(random_state=rng), lower.rvs(random_state=rng))
    return {"y": y}


def _log_bimodal(x: np.ndarray, targets: dict[str, np.ndarray]) -> np.ndarray:
    share, upper, lower = _modes(x)
    y = targets["y"]
    return np.log(share * upper.pdf(y) + (1 - share) * lower.pdf(y))


def _state_probabilities(x: np.ndarray) -> np.ndarray:
    scores = np.stack([-x[:, 0], 0.5 * x[:, 1], x[:, 0]], 1)
    weights = np.exp(scores)
    return weights / weights.sum(1, keepdims=True)


def _given_state(x: np.ndarray, code: np.ndarray) -> stats.rv_continuous:
    mean = np.array([-1.0, 0.0, 2.0])[code] + np.array([0.5, -1.0, 0.0])[code] * x[:, 1]
    return stats.norm(mean, np.array([0.3, 0.6, 1.0])[code])


def _draw_mixed(x: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    total = _state_probabilities(x).cumsum(1)
    code = (rng.random((len(x), 1)) > total).sum(1).clip(max=2)
    return {"state": _STATES[code], "y": _given_state(x, code).rvs(random_state=rng)}


def _log_mixed(x: np.ndarray, targets: dict[str, np.ndarray]) -> np.ndarray:
    code = np.argmax(targets["state"][:, None] == _STATES, 1)
    chosen = _state_probabilities(x)[np.arange(len(x)), code]
    return np.log(chosen) + _given_state(x, code).logpdf(targets["y"])


def _of(law: Callable[[np.ndarray], stats.rv_continuous], said: str) -> Case:
    return Case(
        ("y",),
        said,
        lambda x, rng: {"y": law(x).rvs(random_state=rng)},
        lambda x, targets: law(x).logpdf(targets["y"]),
    )


CASES = {
    "heteroscedastic": _of(_heteroscedastic, "normal, mean sin 2a, deviation 0.1 + 0.3 exp(0.7 b)"),
    "skewed": _of(_skewed, "gamma, shape 1.5 + exp(a / 2), scale exp(0.7 b)"),
    "bimodal": Case(
        ("y",), "two normals at ±(1 + tanh(a) / 2), share by logit b", _draw_bimodal, _log_bimodal
    ),
    "mixed types": Case(
        ("state", "y"), "three states by a and b, and a normal for each", _draw_mixed, _log_mixed
    ),
}


def measure(name: str, rows: int, **options: object) -> dict:
    """Fit to draws of a case, and compare log-densities of new draws with the truth."""
    case, rng = CASES[name], np.random.default_rng(_SEED)
    tables = []
    for _ in range(2):
        x = rng.normal(size=(rows, len(_FEATURES)))
        targets = case.draw(x, rng)
        tables.append((x, targets, pd.DataFrame(x, columns=list(_FEATURES)).assign(**targets)))
    begin = time.process_time()
    model = ConditionalFlowDensity(target=list(case.targets), random_state=_SEED, **options)
    model.fit(tables[0][2])
    seconds = time.process_time() - begin
    x, targets, table = tables[1]
    gap = model.score_samples(table) - case.log_prob(x, targets)
    return {
        "case": name,
        "rows": rows,
        "gap": float(gap.mean()),
        "standard error": float(gap.std() / np.sqrt(rows)),
        "truth": float(case.log_prob(x, targets).mean()),
        "fit processor seconds": round(seconds, 1),
        "machine": machine(),
        "seed": _SEED,
        "date": date.today().isoformat(),
    }


def report(results: Sequence[dict]) -> str:
    """Return the report, a row per case."""
    lines = [
        "# Known conditional densities",
        "",
        "Mean of log q - log p of new rows ± standard error, in nats. q is the density of",
        "`ConditionalFlowDensity` with its defaults, p the truth. Made by",
        "`python benchmarks/known_conditionals.py`.",
        "",
        "| case | target given features a, b | rows | gap | log p | seconds of the fit | where |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in sorted(results, key=lambda r: list(CASES).index(r["case"])):
        lines.append(
            f"| {r['case']} | {CASES[r['case']].said} | {r['rows']:,} | {r['gap']:+.4f} ± "
            f"{r['standard error']:.4f} | {r['truth']:.3f} | {r['fit processor seconds']:.0f} "
            f"| {r['machine']['cpu']}, {r['date']} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--work", type=Path, default=WORK, help="folder of single results")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the report")
    options = parser.parse_args(arguments)
    for name in options.cases:
        path = options.work / f"{name.replace(' ', '-')}-{options.rows}.json"
        found = measured_once(path, partial(measure, name, options.rows))
        if found is not None:
            print(f"{name}: {found['gap']:+.4f}", file=sys.stderr, flush=True)
    write_report(options.work, options.output / "known_conditionals.json", report)


if __name__ == "__main__":
    main()
