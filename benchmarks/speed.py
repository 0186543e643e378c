"""Speed of flowkit, zuko, nflows, normflows and flowjax, and a lower bound of the machine.

Libraries run the same models in separate processes, and are timed alternately. The faster of eager
and compiled counts. Times are also multiples of the floor: the unmasked multiply-adds at the best
float32 rate of the machine, and the memory traffic of Adam.

    python benchmarks/speed.py [--flowjax-python PYTHON] [--only CASE ...] [--fresh] [--quick]

Writes benchmarks/results/speed-MACHINE.{md,json,png}. Cases that are in the JSON file are skipped,
unless they are named with --only, or with --fresh.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from speed import cases
from speed.console import command, log
from speed.machine import machine, slug
from speed.plot import plot_growth
from speed.process import Process, has_flowjax
from speed.report import report
from speed.run import measure_case

RESULTS = Path(__file__).parent / "results"


def planned(quick: bool) -> list[cases.Case]:
    """Return all cases, the most important first."""
    growth = cases.QUICK_GROWTH if quick else cases.GROWTH
    models = cases.QUICK_CASES if quick else cases.CASES
    gpu = cases.GPU_CASES if torch.cuda.is_available() and not quick else ()
    return [*models, *gpu, *(case for axis in growth.values() for case in axis)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flowjax-python", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE", help="growth: all of them")
    parser.add_argument("--fresh", action="store_true", help="discard earlier results")
    parser.add_argument("--quick", action="store_true", help="tiny models, for a test run")
    parser.add_argument("--bf16", action="store_true", help="also flowkit with bfloat16 networks")
    parser.add_argument("--kernels", action="store_true", help="also flowkit with its C++ kernels")
    parser.add_argument("--processor-time", action="store_true", help="for a machine under load")
    parser.add_argument("--output", type=Path, help="folder for the results")
    options = parser.parse_args()
    folder = options.output or (Path(tempfile.mkdtemp()) if options.quick else RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"speed-{slug()}.json"

    plan = planned(options.quick)
    names = {c.name for c in plan}
    asked = {n for n in names if n in options.only or n.split("-")[0] in options.only}
    if options.only and not asked:
        parser.error(f"--only: expected some of {', '.join(sorted(names))}")
    results = {"cases": {}}
    if path.exists() and not options.fresh:
        results = json.loads(path.read_text())
    results["machine"] = machine()
    results["command"] = command("benchmarks/speed.py")
    if options.bf16:
        wide = ("train", "log_prob")
        plan = [_with("flowkit-bf16", c) if set(wide) <= set(c.measures) else c for c in plan]
    if options.processor_time:
        plan = [replace(c, clock="processor") for c in plan]
    if options.kernels:
        plan = [_with("flowkit-kernels", c) if c.device == "cpu" else c for c in plan]

    workers = {name: Process(name) for name in (*cases.LIBRARIES[:-1], *cases.WAYS)}
    if has_flowjax(options.flowjax_python):
        workers["flowjax"] = Process("flowjax", options.flowjax_python)
    try:
        for case in plan:
            if case.name in (asked if options.only else names - set(results["cases"])):
                start = time.perf_counter()
                results["cases"][case.name] = measure_case(case, workers, log)
                path.write_text(json.dumps(results, indent=1) + "\n")
                log(f"{case.name}: {time.perf_counter() - start:.0f} s in all")
    finally:
        for worker in workers.values():
            worker.close()
    path.write_text(json.dumps(results, indent=1) + "\n")
    growth = cases.QUICK_GROWTH if options.quick else cases.GROWTH
    plot_growth(results, growth, path.with_suffix(".png"))
    path.with_suffix(".md").write_text(report(results, growth, path.with_suffix(".png").name))
    print(path.with_suffix(".md"))


def _with(way: str, case: cases.Case) -> cases.Case:
    if case.name.startswith("growth"):
        return case
    return replace(case, libraries=(*case.libraries, way))


if __name__ == "__main__":
    main()
