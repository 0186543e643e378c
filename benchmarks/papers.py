"""Tables of the papers: published and measured numbers.

    python benchmarks/papers.py [--rows SUBSTRING ...] [--budget-minutes 8] [--work DIR] [--list]

Each row is a declaration in `recipes/rows.py`. Training of a row ends with the budget, and writes a
checkpoint to the work folder. A larger budget resumes from the checkpoint. A minute of the
budget is two minutes of processor time. Rows may therefore run at the same time, each on one core
(`OMP_NUM_THREADS=1`), and other processes do not shorten the budget. Data are below
`TABULAR_DATA_HOME`. Writes benchmarks/results/papers.{json,md}, and for each row a file with
settings and curve, and possibly a picture, in benchmarks/results/papers/.
"""

import argparse
import json
import math
import os
import re
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import torch
from recipes.kinds import KINDS
from recipes.legs import minutes_used
from recipes.recipe import Recipe
from recipes.rows import ROWS
from speed.machine import machine

RESULTS = Path(__file__).parent / "results"
WORK = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "flowkit-papers"


def run(recipe: Recipe, minutes: float, work: Path) -> dict[str, Any]:
    """Train and score one row; several splits share the minutes equally."""
    begin = minutes_used()
    parts = []
    for split in range(recipe.splits):
        path = work_of(recipe, work, split)
        parts.append(KINDS[recipe.kind](recipe, minutes / recipe.splits, path, split))
    found = {key: [part.notes[key] for part in parts] for key in parts[0].notes}
    spent = found.pop("minutes", [minutes_used() - begin])
    if recipe.splits == 1:
        found = {key: value for key, (value,) in found.items()}
        values = parts[0].scores
    else:
        found["splits"] = [float(part.scores.mean()) for part in parts]
        values = torch.tensor(found["splits"])
    notes = filter(None, [recipe.differs, parts[0].part, parts[0].detail])
    row = {
        "row": recipe.row,
        "data": recipe.data,
        "published": recipe.published,
        "measured": float(values.mean()),
        "standard_error": float(values.std() / math.sqrt(len(values))) if len(values) > 1 else None,
        "unit": recipe.unit,
        "seconds": 60 * sum(spent),
        "machine": machine()["cpu"],
        "seed": recipe.seed,
        "note": "; ".join(dict.fromkeys(notes)),
        "date": date.today().isoformat(),
        **parts[0].extra,
    }
    settings = {"kind": recipe.kind, "model": recipe.model, "scale": recipe.scale}
    settings |= {**recipe.options, **recipe.training}
    return {"row": row, "settings": settings, "machine": machine(), **found}


def work_of(recipe: Recipe, work: Path, split: int = 0) -> Path:
    """Return the path of the checkpoint of a row, without suffix."""
    return work / (_slug(recipe.row) + (f"-{split}" if recipe.splits > 1 else ""))


def _slug(row: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", row.lower()).strip("-")


def render(folder: Path) -> str:
    """Return the report of all rows, measured or not."""
    lines = [
        "# The papers' tables",
        "",
        "Means over test rows ± standard error, in the unit that is given; nats of log-likelihoods",
        "and bounds are the higher the better. Made by `python benchmarks/papers.py`. Minutes are",
        "those of two cores. Settings and curves are in `papers/`.",
    ]
    for section in dict.fromkeys(recipe.section for recipe in ROWS):
        lines += [
            "",
            f"## {section}",
            "",
            "| row | published | measured | difference | minutes | epochs | what differs | where |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *(_line(recipe, folder) for recipe in ROWS if recipe.section == section),
        ]
    return "\n".join(lines) + "\n"


def _line(recipe: Recipe, folder: Path) -> str:
    path = folder / "papers" / f"{_slug(recipe.row)}.json"
    published = "" if recipe.published is None else f"{recipe.published:.2f}"
    if not path.exists():
        return f"| {recipe.row} | {published} | not run | | | | {recipe.differs} | |"
    found = json.loads(path.read_text())
    row = found["row"]
    gap = "" if recipe.published is None else f"{row['measured'] - recipe.published:+.2f}"
    epochs = f"{found['epochs']:.0f}" if "epochs" in found else ""
    return (
        f"| {recipe.row} | {published} | {_said(row)} | {gap} | {row['seconds'] / 60:.1f} "
        f"| {epochs} | {row['note']} | {row['machine']}, {row['date']} |"
    )


def _said(row: dict[str, Any]) -> str:
    error = row["standard_error"]
    unit = "" if row.get("unit", "nats") == "nats" else f" {row['unit']}"
    return f"{row['measured']:.2f}" + ("" if error is None else f" ± {error:.2f}") + unit


def main() -> None:
    """Run the selected rows, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", default=[], help="parts of the names of rows")
    parser.add_argument("--budget-minutes", type=float, default=8.0, help="budget of each row")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of checkpoints")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--list", action="store_true", help="list all rows")
    options = parser.parse_args()
    asked = [part.lower() for part in options.rows]
    if options.list:
        for recipe in ROWS:
            print(f"{'*' if recipe.bold else ' '} {recipe.row}")
        return
    options.work.mkdir(parents=True, exist_ok=True)
    folder = options.output / "papers"
    folder.mkdir(parents=True, exist_ok=True)
    for recipe in ROWS:
        if not (_is_asked_for(recipe.row.lower(), asked) if asked else recipe.bold):
            continue
        found = run(recipe, options.budget_minutes, options.work)
        path = folder / f"{_slug(recipe.row)}.json"
        path.write_text(json.dumps(found, indent=1) + "\n")
        picture = work_of(recipe, options.work).with_suffix(".png")
        if picture.exists():
            shutil.copy(picture, path.with_suffix(".png"))
        row = found["row"]
        took = f"{row['seconds'] / 60:.1f} minutes"
        print(f"{recipe.row}: {_said(row)} (published {recipe.published}), {took}", flush=True)
        _write(options.output)
    _write(options.output)


def _is_asked_for(row: str, asked: list[str]) -> bool:
    """Return whether a row is selected by its name, or by a part that is not itself a name."""
    every = {recipe.row.lower() for recipe in ROWS}
    return any(row == part if part in every else part in row for part in asked)


def _write(output: Path) -> None:
    paths = [output / "papers" / f"{_slug(recipe.row)}.json" for recipe in ROWS]
    rows = [json.loads(path.read_text())["row"] for path in paths if path.exists()]
    (output / "papers.json").write_text(json.dumps(rows, indent=1) + "\n")
    (output / "papers.md").write_text(render(output))


if __name__ == "__main__":
    main()
