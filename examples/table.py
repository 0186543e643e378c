"""Density of a table, by the command line alone.

Writes scikit-learn's breast-cancer table (569 rows, 30 positive columns) to a CSV file. Then
flowkit fits a density, scores the rows, draws samples, and writes a report.

    python examples/table.py [--quick] [--out DIR]
"""

import argparse
import csv
import shlex
import subprocess
import sys
from pathlib import Path

from sklearn.datasets import load_breast_cancer


def write_csv(path: Path, rows: int) -> None:
    """Write the first rows of the table."""
    data = load_breast_cancer()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(name.replace(" ", "_") for name in data.feature_names)
        writer.writerows(data.data[:rows].tolist())


def run(*arguments: str | Path) -> None:
    """Print and run a command of flowkit."""
    words = ["flowkit", *map(str, arguments)]
    print(f"\n$ {shlex.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", *words], check=True)  # noqa: S603


def main() -> None:
    """Run the commands, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rows, for a test run")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for all files")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table, model = options.out / "breast_cancer.csv", options.out / "breast_cancer.safetensors"
    write_csv(table, 90 if options.quick else 569)
    report = options.out / "report.html"
    run("fit", table, "--out", model, "--holdout", "0.2", "--force")
    run("score", model, table, "--out", options.out / "scored.csv", "--force")
    run("sample", model, "-n", "1000", "--out", options.out / "new.parquet", "--force")
    run("inspect", model)
    run("report", model, table, "--out", report, "--force")
    print(f"\nThe report: {report.resolve().as_uri()}")


if __name__ == "__main__":
    main()
