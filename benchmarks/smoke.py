"""Smoke test of speed: small fits, scores and samples, compared with stored ratios in two minutes.

A ratio is the processor time of a measure over that of a yardstick, which runs before and after it:
a fixed loop of torch products and small operators. So neither the clock of the machine nor other
work on it matters much. One thread is used, and the median over the rounds counts.

    python benchmarks/smoke.py [--store] [--only MEASURE ...]

Prints old and new ratios. Exits with status 1 if a ratio is greater than the stored one by more
than its tolerance. `--store` writes the ratios of this machine to benchmarks/results/smoke.json.
Ratios of another machine are used, with a note, if there are none of this one.
"""

import argparse
import json
import resource
import statistics
import sys
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

import numpy as np
import torch
from default.cases import Case, rows_of
from default.worktree import revision
from speed.machine import machine, slug

STORED = Path(__file__).parent / "results" / "smoke.json"
# A ratio may grow by this factor. Two runs of one build, beside three to six other busy processes
# on two cores, differed by 0.82 to 1.17.
TOLERANCE = 1.25
ROUNDS = 3


def yardstick() -> None:
    """Run products of matrices, with gradients, and small operators: as a training step does."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 64, generator=generator)
    weights = [torch.randn(64, 64, generator=generator, requires_grad=True) for _ in range(4)]
    for _ in range(400):
        y = x
        for weight in weights:
            y = torch.tanh(y @ weight / 8)
        small = torch.logsumexp(y, dim=1).clamp(max=3).mean() + (y * y).mean()
        torch.autograd.grad(small, weights)


def processor_seconds() -> float:
    """Return the processor time of this process and of children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _seconds(call: Callable[[], object]) -> float:
    start = processor_seconds()
    call()
    return processor_seconds() - start


def measures() -> dict[str, Callable[[], object]]:
    """Return what is measured by name; a fit comes before the scores and samples of its density."""
    from flowkit import FlowDensity

    tables = {
        "300 x 4": Case("", 300, 4, effort="fast"),
        "3,000 x 8": Case("", 3_000, 8, effort="fast"),
        "500 x 4 + 4 categories": Case("", 500, 4, 5, effort="fast"),
    }
    fitted, found = {}, {}

    def fit(name: str, train: object) -> None:
        fitted[name] = FlowDensity(effort="fast", random_state=0).fit(train)

    def many(call: Callable[[], object], times: int) -> None:
        for _ in range(times):
            call()

    for name, case in tables.items():
        train, test = rows_of(case, None)
        found[f"fit {name}"] = lambda n=name, x=train: fit(n, x)
        found[f"score {name}"] = lambda n=name, x=test: many(lambda: fitted[n].score_samples(x), 4)
        found[f"sample {name}"] = lambda n=name: many(lambda: fitted[n].sample(10_000), 10)
    wide = np.random.default_rng(0).normal(size=(100_000, 20))
    found["encode 100,000 x 20"] = lambda: _encode(wide)
    return found


def _encode(x: np.ndarray) -> None:
    """Infer the schema of a table and encode it, as a fit does first."""
    from flowkit.schema import Schema

    Schema.infer(x).encode(x)


def measured(
    calls: Mapping[str, Callable[[], object]],
    rounds: int = ROUNDS,
    clock: Callable[[Callable[[], object]], float] = _seconds,
    log: Callable[[str], None] = print,
) -> dict[str, float]:
    """Return the ratio of each call to the yardstick, in turns; the median over the rounds."""
    ratios: dict[str, list[float]] = {name: [] for name in calls}
    clock(yardstick)  # the first use of torch's kernels
    for _ in range(rounds):
        before = clock(yardstick)
        for name, call in calls.items():
            seconds = clock(call)
            after = clock(yardstick)
            ratios[name].append(2 * seconds / (before + after))
            before = after
    for name, found in ratios.items():
        log(f"{name}: {min(found):.3g} to {max(found):.3g}")
    return {name: statistics.median(found) for name, found in ratios.items()}


def compare(
    stored: Mapping[str, float], new: Mapping[str, float], tolerance: float = TOLERANCE
) -> tuple[list[str], list[str]]:
    """Return lines of old and new ratios, and the names of those that have become too slow.

    A measure without a stored ratio is shown, and is not too slow.
    """
    lines, slow = [], []
    for name, ratio in new.items():
        old = stored.get(name)
        if old is None:
            lines.append(f"{name:32} {'':>8} {ratio:8.3f}   new")
            continue
        verdict = "slower" if ratio > old * tolerance else ""
        verdict = "faster: store it" if ratio < old / tolerance else verdict
        slow += [name] * (verdict == "slower")
        lines.append(f"{name:32} {old:8.3f} {ratio:8.3f} {ratio / old:6.2f}x {verdict}".rstrip())
    return lines, slow


def chosen(stored: Mapping[str, dict], name: str) -> tuple[str, dict[str, float]] | None:
    """Return the machine and ratios to compare with: this one's, or the latest of another."""
    if name in stored:
        return name, stored[name]["ratios"]
    latest = max(stored, key=lambda other: stored[other]["date"], default=None)
    return None if latest is None else (latest, stored[latest]["ratios"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", action="store_true", help="write the ratios of this machine")
    parser.add_argument("--only", nargs="+", default=[], metavar="MEASURE", help="parts of names")
    options = parser.parse_args()
    torch.set_num_threads(1)
    calls = measures()
    if options.only:
        # Scores and samples need the fit of their table.
        tables = {n.split(" ", 1)[1] for n in calls if any(part in n for part in options.only)}
        calls = {n: call for n, call in calls.items() if n.split(" ", 1)[1] in tables}
    new = measured(calls)
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    against = chosen(stored, slug())
    slow: list[str] = []
    if against is not None:
        if against[0] != slug():
            print(f"Ratios of {slug()} are not stored. Those of {against[0]} are compared.")
        lines, slow = compare(against[1], new)
        print("\n".join(["", f"{'times the yardstick':32} {'old':>8} {'new':>8}", *lines]))
    if options.store:
        before = stored.get(slug(), {}).get("ratios", {}) if options.only else {}
        entry = {"date": str(date.today()), "revision": revision(STORED.parent)}
        entry |= {"machine": machine(), "ratios": before | new}
        STORED.write_text(json.dumps(stored | {slug(): entry}, indent=1) + "\n")
        print(f"Stored as {STORED.name}.")
    elif slow:
        print(f"Slower by more than {TOLERANCE:g}x: {', '.join(slow)}.")
        sys.exit(1)


if __name__ == "__main__":
    main()
