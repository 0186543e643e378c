"""Fit, score and sample of the default: today's build, an earlier revision, and peers, in turns.

Tables of 1,000 to 1,000,000 rows, 2 to 300 columns and 2 to 1,000 categories, and those of a bank.
The earlier revision is a git worktree in a temporary folder, and has a process of its own.

    python benchmarks/default.py [--base REV] [--bank DIR] [--only CASE ...] [--fresh] [--quick]

Writes benchmarks/results/default-MACHINE.{md,json,png}. Cases that are in the JSON file are
skipped, unless they are named with --only (by name, or growth axis), or with --fresh.
"""

import argparse
import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import torch
from default import cases
from default.report import plot, report
from default.run import measure_case
from default.worktree import revision, worktree
from speed.console import command, log
from speed.machine import machine, slug
from speed.process import Process

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", metavar="REV", help="git revision to compare with")
    parser.add_argument("--bank", type=Path, help="folder of tables, NAME.npz with an array X")
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE", help="or a growth axis")
    parser.add_argument("--effort", help="other amount of work, for the cases of --only")
    parser.add_argument("--no-peers", action="store_true", help="builds of flowkit alone")
    parser.add_argument("--fresh", action="store_true", help="discard earlier results")
    parser.add_argument("--quick", action="store_true", help="tiny tables, for a test run")
    parser.add_argument("--output", type=Path, help="folder for the results")
    options = parser.parse_args()
    bank = options.bank.resolve() if options.bank else None
    folder = options.output or (Path(tempfile.mkdtemp()) if options.quick else RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"default-{slug()}.json"

    plan = cases.plan(bank, quick=options.quick)
    axes = {c.name for axis in options.only for c in cases.GROWTH.get(axis, ())}
    asked = {c.name for c in plan if c.name in options.only or c.name in axes}
    if options.only and not asked:
        names = ", ".join([*cases.GROWTH, *(c.name for c in plan)])
        parser.error(f"--only: expected some of {names}")
    if options.effort:
        if not asked:
            parser.error("--effort needs the cases of --only")
        plan = [cases.with_effort(c, options.effort) for c in plan if c.name in asked]
        asked = {c.name for c in plan}
    results: dict = {"cases": {}}
    if path.exists() and not options.fresh:
        results = json.loads(path.read_text())
    todo = asked or {c.name for c in plan} - set(results["cases"])

    results["machine"] = {**machine(), "torch": torch.__version__}
    revisions = {"today": revision(ROOT)}
    if options.base:
        revisions["base"] = revision(ROOT, options.base)
    results["command"] = command("benchmarks/default.py")
    with ExitStack() as stack:
        folders = {"today": ROOT}
        if options.base:
            folders["base"] = stack.enter_context(worktree(ROOT, options.base))
        for case in plan:
            if case.name in todo:
                start = time.perf_counter()
                result = _measured(case, folders, bank, options.no_peers)
                results["cases"][case.name] = {**result, "revisions": revisions}
                path.write_text(json.dumps(results, indent=1) + "\n")
                log(f"{case.name}: {time.perf_counter() - start:.0f} s in all")
    path.write_text(json.dumps(results, indent=1) + "\n")
    plot(results, path.with_suffix(".png"))
    path.with_suffix(".md").write_text(report(results, path.with_suffix(".png").name))
    print(path.with_suffix(".md"))


def _measured(
    case: cases.Case, folders: dict[str, Path], bank: Path | None, no_peers: bool
) -> dict:
    """Measure one case with new processes, so that the memory of one does not hide another's."""
    peers = () if no_peers else case.peers
    workers = {
        name: Process(name, module="default.worker", folder=folders.get(name))
        for name in (*folders, *peers)
    }
    try:
        return measure_case(case, workers, str(bank) if bank else None, log)
    finally:
        for worker in workers.values():
            worker.close()


if __name__ == "__main__":
    main()
