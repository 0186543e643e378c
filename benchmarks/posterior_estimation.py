"""Posterior estimation from simulations: `flowkit.vae.fit_conditional` beside the sbi package.

    python benchmarks/posterior_estimation.py [--tasks TASK ...] [--methods NAME ...]
        [--simulations 10000] [--observations 3] [--work DIR]

Each method gets the same simulations of a task, and draws from its posterior at the observations
of the benchmark of simulation-based inference. The score is the accuracy of a classifier of draws
against reference draws, 2,000 each: 0.5 is perfect. A result is a file in the work folder
(out/posterior_estimation), and is not measured again. Each run writes the report of all files,
benchmarks/results/posterior_estimation.{json,md}. sbi is left out where it is not installed
(``pip install -e ".[bench]" sbi``). Data are below TABULAR_DATA_HOME. Seconds are those of one
thread (`OMP_NUM_THREADS=1`).
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from datetime import date
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from recipes.inference import TASKS, Task
from recipes.posteriors import accuracy, observed
from single_results import measured_once, write_report
from speed.machine import machine
from torch import Tensor

from flowkit.vae import fit_conditional

RESULTS = Path(__file__).parent / "results"
WORK = Path(__file__).parents[1] / "out" / "posterior_estimation"
_SEED, _DRAWS = 0, 2_000

Draw = Callable[[Tensor, int], Tensor]


def flowkit(task: Task, theta: Tensor, x: Tensor) -> Draw:
    """`fit_conditional` with its defaults, and the bounds of a uniform prior."""
    box = {} if task.box is None else {"low": -task.box, "high": task.box}
    posterior = fit_conditional(theta, x, seed=_SEED, **box)
    generator = torch.Generator().manual_seed(_SEED)
    return lambda seen, n: posterior.sample(seen, n, generator=generator)[0]


def single(task: Task, theta: Tensor, x: Tensor) -> Draw:
    """The same with one flow instead of an ensemble."""
    box = {} if task.box is None else {"low": -task.box, "high": task.box}
    posterior = fit_conditional(theta, x, members=1, seed=_SEED, **box)
    generator = torch.Generator().manual_seed(_SEED)
    return lambda seen, n: posterior.sample(seen, n, generator=generator)[0]


def sbi(task: Task, theta: Tensor, x: Tensor) -> Draw:
    """Neural posterior estimation of sbi with a spline flow, and its defaults."""
    from sbi.inference import NPE
    from sbi.utils import BoxUniform
    from torch.utils.tensorboard import SummaryWriter

    if task.box is None:
        deviation = theta.new_full((task.parameters,), task.variance**0.5)
        normal = torch.distributions.Normal(torch.zeros(task.parameters), deviation)
        prior = torch.distributions.Independent(normal, 1)
    else:
        ends = torch.full((task.parameters,), task.box)
        prior = BoxUniform(-ends, ends)
    torch.manual_seed(_SEED)
    # Its progress and its logs are not kept.
    with redirect_stdout(StringIO()), TemporaryDirectory() as logs:
        writer = SummaryWriter(logs)
        inference = NPE(
            prior, density_estimator="zuko_nsf", summary_writer=writer, show_progress_bars=False
        )
        inference.append_simulations(theta, x).train()
        posterior = inference.build_posterior()
        writer.close()
    return lambda seen, n: posterior.sample((n,), x=seen, show_progress_bars=False)


METHODS = {"flowkit": flowkit, "flowkit, one flow": single, "sbi NPE": sbi}


def measure(task: str, method: str, simulations: int, observations: int) -> dict:
    """Fit one method to the simulations of a task, and score its draws."""
    chosen = TASKS[task]()
    generator = torch.Generator().manual_seed(_SEED)
    theta = chosen.prior(simulations, generator)
    x = chosen.simulate(theta, generator)
    begin = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peer
        draw = METHODS[method](chosen, theta, x)
        seconds = time.process_time() - begin
        scores = []
        for observation in range(1, observations + 1):
            seen, reference = observed(task, observation)
            drawn = draw(seen.reshape(1, -1), _DRAWS)
            with redirect_stdout(sys.stderr):
                scores.append(accuracy(reference, drawn.detach()))
    return {
        "task": task,
        "method": method,
        "simulations": simulations,
        "c2st": scores,
        "fit processor seconds": round(seconds, 1),
        "versions": _versions(),
        "machine": machine(),
        "seed": _SEED,
        "date": date.today().isoformat(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in ("flowkit-density", "torch", "sbi", "zuko"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def report(results: Sequence[dict]) -> str:
    """Return the report, a table of tasks and methods."""
    lines = [
        "# Posterior estimation from simulations",
        "",
        "Accuracy of a classifier of posterior draws against reference draws (C2ST): 0.5 is",
        "perfect, 1 the worst. Mean over observations, and in brackets those of each; seconds of",
        "the fit are processor time of one thread. Made by",
        "`python benchmarks/posterior_estimation.py`.",
        "",
        "| task | simulations | method | C2ST | seconds | where |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    order = list(TASKS), list(METHODS)
    for r in sorted(results, key=lambda r: (order[0].index(r["task"]), r["method"])):
        each = ", ".join(f"{value:.3f}" for value in r["c2st"])
        lines.append(
            f"| {r['task']} | {r['simulations']:,} | {r['method']} | {np.mean(r['c2st']):.3f} "
            f"({each}) | {r['fit processor seconds']:.0f} | {r['machine']['cpu']}, {r['date']} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["flowkit", "sbi NPE"])
    parser.add_argument("--simulations", type=int, default=10_000)
    parser.add_argument("--observations", type=int, default=3, help="number of them, at most 10")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of single results")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the report")
    options = parser.parse_args(arguments)
    for task in options.tasks:
        for method in options.methods:
            if method == "sbi NPE" and find_spec("sbi") is None:
                print("sbi NPE: skipped, sbi is not installed", file=sys.stderr)
                continue
            slug = method.replace(" ", "-").replace(",", "")
            path = options.work / f"{task}-{slug}-{options.simulations}.json"
            sizes = options.simulations, options.observations
            found = measured_once(path, partial(measure, task, method, *sizes))
            if found is not None:
                print(f"{path.stem}: {np.mean(found['c2st']):.3f}", file=sys.stderr, flush=True)
    write_report(options.work, options.output / "posterior_estimation.json", report)


if __name__ == "__main__":
    main()
