"""Peak memory and seconds of reading, scoring and sampling of a large CSV file.

    python benchmarks/table_memory.py --megabytes 300 3000

The baseline is a scan by DuckDB. The model is fitted to the first 5,000 rows with effort "fast".
The number of samples is that of the rows. Each step runs in a separate process.
Results: benchmarks/results/table_memory.md.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

_ROWS = 100_000
_FITTED = 5_000
_STEPS = ("scan", "open", "stream", "copy", "schema", "fit", "score", "sample")


def write(path: Path, megabytes: float) -> None:
    """Write a CSV file of numbers, dates and texts, of about the given size."""
    rng, start = np.random.default_rng(0), 0
    with open(path, "w") as file:
        file.write("id,x,y,count,day,town\n")
        while file.tell() < megabytes * 1e6:
            x, counts = rng.normal(size=(_ROWS, 2)), rng.integers(0, 1000, _ROWS)
            days = np.datetime64("2015-01-01") + rng.integers(0, 3000, _ROWS)
            towns = rng.choice(["Ulm", "Bonn", "Kiel"], _ROWS)
            file.writelines(
                f"{start + i},{x[i, 0]:.6f},{x[i, 1]:.6f},{counts[i]},{days[i]},{towns[i]}\n"
                for i in range(_ROWS)
            )
            start += _ROWS


def measure(step: str, path: Path) -> None:
    """Print seconds and peak memory of one step, run in a separate process."""
    begin = time.perf_counter()
    if step == "scan":
        import duckdb

        duckdb.sql("SELECT max(COLUMNS(*)) FROM read_csv(?)", params=[str(path)]).fetchall()
    elif step in ("schema", "fit", "score", "sample"):
        _run(step, path)
    else:
        from flowkit.tables import TableFile, write_table

        with TableFile(path) as file:
            if step == "stream":
                for _ in file.batches():
                    pass
            elif step == "copy":
                write_table(path.with_suffix(".tsv"), file.batches())
    seconds, used = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF)
    cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    print(f"{step:8} {seconds:7.1f} s {cpu:7.1f} s of CPU {peak:7.0f} MB", flush=True)


def _run(step: str, path: Path) -> None:
    """Run one command of ``flowkit``."""
    from flowkit.cli import main as flowkit

    head, model = path.with_name("head.csv"), path.with_name("head.safetensors")
    if step == "fit":
        with open(path) as source, open(head, "w") as to:
            to.writelines(islice(source, _FITTED + 1))
        arguments = ["fit", head, "--out", model, "--effort", "fast", "--force"]
    elif step == "schema":
        arguments = ["schema", path]
    elif step == "score":
        arguments = ["score", model, path, "--out", path.with_name("scores.csv"), "--force"]
    else:
        with open(path) as source:
            rows = sum(1 for _ in source) - 1
        arguments = ["sample", model, "-n", rows, "--out", path.with_name("drawn.csv"), "--force"]
    sys.argv = ["flowkit", *map(str, arguments)]
    try:
        flowkit()
    except SystemExit as end:
        if end.code:
            raise


def main() -> None:
    """Measure each size and step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, nargs="+", default=[100, 300])
    parser.add_argument("--steps", nargs="+", choices=_STEPS, default=_STEPS)
    parser.add_argument("--step", choices=_STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        measure(options.step, options.path)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        for megabytes in options.megabytes:
            write(path, megabytes)
            print(f"{path.stat().st_size / 1e6:.0f} MB")
            for step in options.steps:
                command = [sys.executable, __file__, "--step", step, "--path", str(path)]
                subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
