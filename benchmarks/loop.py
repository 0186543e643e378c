"""Overhead of the training loop, and speed-up of training several models at once.

    python benchmarks/loop.py

The bare step is forward, backward and fused Adam on prepared rows. The loop adds the order of rows,
clipping, the check for NaN and the history. Both alternate, step by step, as do training of models
at once and one after the other. Writes benchmarks/results/loop.md.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from flowkit.flows import Flow, maf, nsf
from flowkit.training import fit, fit_many

SEED = 0
RESULTS = Path(__file__).parent / "results" / "loop.md"
STEPS, WARM_UP = 400, 50


class Case(NamedTuple):
    """A flow and a batch size."""

    label: str
    make: Callable[[], Flow]
    batch: int


CASES = [
    Case("maf(1, layers=1, hidden=(16,))", lambda: maf(1, layers=1, hidden=(16,)), 64),
    Case("maf(2, layers=1, hidden=(32, 32))", lambda: maf(2, layers=1, hidden=(32, 32)), 256),
    Case("maf(2, layers=2, hidden=(64, 64))", lambda: maf(2, layers=2, hidden=(64, 64)), 512),
    Case("maf(6, layers=5, hidden=(100, 100))", lambda: maf(6, hidden=(100, 100)), 512),
    Case("nsf(6, layers=5, hidden=(128, 128))", lambda: nsf(6, hidden=(128, 128)), 512),
]
SIDE_BY_SIDE = Case(
    "8 x maf(6, layers=5, hidden=(32, 32))", lambda: maf(6, layers=5, hidden=(32, 32)), 256
)


def bare_step(flow: Flow, x: Tensor) -> Callable[[], None]:
    """Return a function that takes one step without a loop."""
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        (-flow.log_prob(x).mean()).backward()
        optimizer.step()

    return step


def overhead(case: Case) -> tuple[float, float]:
    """Return the median milliseconds of a bare step, and of a step of the loop."""
    torch.manual_seed(SEED)
    x = torch.randn(20 * case.batch, case.make().features)
    bare = bare_step(case.make(), x[: case.batch])
    times: dict[str, list[float]] = {"bare": [], "loop": []}
    last = time.process_time()

    def take_turns(_: object) -> None:
        nonlocal last
        times["loop"].append(time.process_time() - last)
        start = time.process_time()
        bare()
        last = time.process_time()
        times["bare"].append(last - start)

    options = {"steps": STEPS, "batch_size": case.batch, "seed": SEED, "device": "cpu"}
    fit(case.make(), x, callbacks=[take_turns], **options)
    bare_ms, loop_ms = (1e3 * statistics.median(t[WARM_UP:]) for t in times.values())
    return bare_ms, loop_ms


def side_by_side(case: Case, models: int = 8, steps: int = 40, rounds: int = 5) -> list[float]:
    """Return the median milliseconds per step of models, trained in sequence and at once."""
    torch.manual_seed(SEED)
    x = torch.randn(5_000, 6)
    options = {"steps": steps, "batch_size": case.batch, "device": "cpu"}

    def one_after_the_other() -> None:
        for seed in range(models):
            fit(case.make(), x, seed=seed, **options)

    def at_once() -> None:
        fit_many([case.make() for _ in range(models)], x, **options)

    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for run, taken in zip((one_after_the_other, at_once), times, strict=True):
            start = time.process_time()
            run()
            taken.append(1e3 * (time.process_time() - start) / steps)
    return [statistics.median(taken) for taken in times]


def main() -> None:
    torch.set_num_threads(1)
    lines = [
        "# The training loop",
        "",
        f"Seed {SEED}, torch {torch.__version__}, one thread, {platform.machine()} "
        f"{platform.system()}, {os.cpu_count()} cores that others use too, {date.today()}.",
        "Made by `benchmarks/loop.py`. Medians of processor time; the two of a row took turns.",
        "",
        "| flow | batch | bare step, ms | step of `fit`, ms | overhead |",
        "| --- | --- | --- | --- | --- |",
    ]
    for case in CASES:
        bare, loop = overhead(case)
        lines.append(
            f"| {case.label} | {case.batch} | {bare:.2f} | {loop:.2f} | {loop / bare - 1:+.1%} |"
        )
        print(lines[-1], flush=True)
    apart, together = side_by_side(SIDE_BY_SIDE)
    lines += [
        "",
        "| flows | batch | one after the other, ms per step | `fit_many`, ms per step | ratio |",
        "| --- | --- | --- | --- | --- |",
        f"| {SIDE_BY_SIDE.label} | {SIDE_BY_SIDE.batch} | {apart:.1f} | {together:.1f} "
        f"| {apart / together:.1f} |",
    ]
    print(lines[-1])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
