"""The papers' tables: published and measured, row by row.

    python benchmarks/papers.py [--rows SUBSTRING ...] [--budget-minutes 8] [--work DIR] [--list]

Every row is a declaration in `recipes/rows.py`. A row trains for the budget, keeps a checkpoint in
the work folder, and goes on from there when it is run again with a larger budget. A minute of the
budget is two minutes of processor time, that of one minute on two cores that do nothing else: so
rows may run side by side, each on one core (`OMP_NUM_THREADS=1`), and other work beside them takes
nothing from any. Data come from `TABULAR_DATA_HOME`. Writes benchmarks/results/papers.{json,md} and
one file with settings and curve for each row in benchmarks/results/papers/.
"""

import argparse
import json
import math
import os
import re
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch
from recipes.data import CLASSES, Data, load
from recipes.models import Noisy, gaussian_log_prob, model_of
from recipes.recipe import Recipe
from recipes.rows import ROWS
from speed.machine import machine

from flowkit.images import class_marginal
from flowkit.training import History, fit

RESULTS = Path(__file__).parent / "results"
WORK = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "flowkit-papers"
_STEPS = 1_000_000  # more than any budget
_CHUNK = 2_000
_CORES = 2  # that a minute of the budget is a minute of
_LEG = 10.0  # minutes between two checkpoints
_VALIDATE_EVERY = 1_000  # steps, where an epoch is longer


def run(recipe: Recipe, minutes: float, work: Path) -> dict[str, Any]:
    """Train and score one row; of several splits, each for its share of the minutes."""
    begin = _minutes()
    parts = []
    for split in range(recipe.splits):
        data = load(recipe.data, split)
        parts.append(_measure(recipe, data, minutes / recipe.splits, work, split))
    scores = [scores for scores, _ in parts]
    found = {key: [each[key] for _, each in parts] for key in parts[0][1]}
    spent = found.pop("minutes", [_minutes() - begin])
    if recipe.splits == 1:
        found = {key: value for key, (value,) in found.items()}
        values = scores[0]
    else:
        found["splits"] = [float(each.mean()) for each in scores]
        values = torch.tensor(found["splits"])
    row = {
        "row": recipe.row,
        "data": recipe.data,
        "published": recipe.published,
        "measured": float(values.mean()),
        "standard_error": float(values.std() / math.sqrt(len(values))),
        "unit": recipe.unit,
        "seconds": 60 * sum(spent),
        "machine": machine()["cpu"],
        "seed": 0,
        "note": "; ".join(dict.fromkeys(filter(None, [recipe.differs, data.part]))),
        "date": date.today().isoformat(),
    }
    if data.pixels is not None:
        bits = data.pixels.bits_per_dimension(scores[0], data.test)
        row["bits_per_dimension"] = float(bits.mean())
    settings = {"model": recipe.model, "scale": recipe.scale, **recipe.options, **recipe.training}
    return {"row": row, "settings": settings, "machine": machine(), **found}


def _measure(
    recipe: Recipe, data: Data, minutes: float, work: Path, split: int
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Return the log-likelihood of each test row, and what else there is to say."""
    if recipe.model == "gaussian":
        return _gaussian(recipe, data), {}
    if recipe.model == "flowdensity":
        return _table(recipe, data)
    name = _slug(recipe.row) + (f"-{split}" if recipe.splits > 1 else "")
    return _flow(recipe, data, minutes, work / name)


def _minutes() -> float:
    """Return the minutes that this process has used of two cores."""
    return time.process_time() / 60 / _CORES


def _gaussian(recipe: Recipe, data: Data) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    train = data.train
    if data.pixels is not None:
        train = data.pixels.encode(train, generator=generator)
    if not recipe.conditional:
        return gaussian_log_prob(train, data.test)
    classes = data.labels[0].argmax(1)
    each = [gaussian_log_prob(train[classes == c], data.test) for c in range(CLASSES)]
    return torch.logsumexp(torch.stack(each), dim=0) - math.log(CLASSES)


def _table(recipe: Recipe, data: Data) -> tuple[torch.Tensor, dict[str, Any]]:
    from flowkit import FlowDensity

    rows = torch.cat([data.train, data.val]).double().numpy()
    density = FlowDensity(random_state=0, **recipe.options).fit(rows)
    return torch.from_numpy(density.score_samples(data.test.double().numpy())), {
        "members": density.members_
    }


def _flow(
    recipe: Recipe, data: Data, minutes: float, path: Path
) -> tuple[torch.Tensor, dict[str, Any]]:
    clock = path.with_suffix(".minutes")
    past = float(clock.read_text()) if clock.exists() else 0.0
    while True:
        begin = _minutes()
        flow, history, epoch = _train(recipe, data, minutes - past, path)
        past += _minutes() - begin
        clock.write_text(str(past))
        if past >= minutes or history.stopped != "max_seconds":
            break
    with torch.no_grad():
        parts = [
            class_marginal(flow, part, CLASSES) if recipe.conditional else flow.log_prob(part)
            for part in data.test.split(_CHUNK)
        ]
    return torch.cat(parts).double(), {
        "minutes": past,
        "epochs": len(history.loss) / epoch,
        "best_step": history.best_step,
        "ended_by": history.stopped,
        "curve": [(step, -loss) for step, loss in history.validation],
    }


def trained(recipe: Recipe, data: Data, work: Path) -> Any:
    """Return the flow of a row as far as it has been trained."""
    return _train(recipe, data, 0.0, work / _slug(recipe.row))[0]


def _train(recipe: Recipe, data: Data, minutes: float, path: Path) -> tuple[Any, History, float]:
    """Train for one leg, from the checkpoint on; return flow, history and steps of an epoch.

    A leg ends by the clock on the wall: after ten minutes, or sooner where less is left.
    """
    torch.manual_seed(0)
    flow = model_of(recipe, data)
    model = flow if data.pixels is None else Noisy(flow, data.pixels)
    labels = data.labels if recipe.conditional else (None, None)
    epoch = len(data.train) / recipe.training["batch_size"]
    leg = min(minutes * _CORES / torch.get_num_threads(), _LEG)
    history = fit(
        model,
        data.train,
        context=labels[0],
        validation=(data.val,) if labels[1] is None else (data.val, labels[1]),
        steps=_STEPS,
        schedule="constant",
        average=0.999,
        validate_every=max(min(int(epoch), _VALIDATE_EVERY), 1),
        max_seconds=max(60 * leg, 0.001),
        checkpoint=path.with_suffix(".safetensors"),
        checkpoint_every=_STEPS,  # a leg ends with one
        progress=False,
        **recipe.training,
    )
    return flow, history, epoch


def _slug(row: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", row.lower()).strip("-")


def render(folder: Path) -> str:
    """Return the report of all rows, run and not."""
    lines = [
        "# The papers' tables",
        "",
        "Mean log-likelihood of test rows in nats, ± standard error, made by",
        "`python benchmarks/papers.py`; seed 0. Settings and curves are in `papers/`.",
        "",
        "| row | published | measured | difference | minutes | epochs | what differs | where |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for recipe in ROWS:
        path = folder / "papers" / f"{_slug(recipe.row)}.json"
        published = "" if recipe.published is None else f"{recipe.published:.2f}"
        if not path.exists():
            lines.append(f"| {recipe.row} | {published} | not run | | | | {recipe.differs} | |")
            continue
        found = json.loads(path.read_text())
        row = found["row"]
        gap = "" if recipe.published is None else f"{row['measured'] - recipe.published:+.2f}"
        epochs = f"{found['epochs']:.0f}" if "epochs" in found else ""
        lines.append(
            f"| {recipe.row} | {published} | {row['measured']:.2f} ± {row['standard_error']:.2f} "
            f"| {gap} | {row['seconds'] / 60:.1f} | {epochs} | {row['note']} "
            f"| {row['machine']}, {row['date']} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the rows that are asked for, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", default=[], help="parts of the names of rows")
    parser.add_argument("--budget-minutes", type=float, default=8.0, help="of each row")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of checkpoints")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--list", action="store_true", help="say what rows there are")
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
        row = found["row"]
        print(
            f"{recipe.row}: {row['measured']:.2f} ± {row['standard_error']:.2f} "
            f"(published {recipe.published}), {row['seconds'] / 60:.1f} minutes",
            flush=True,
        )
        _write(options.output)
    _write(options.output)


def _is_asked_for(row: str, asked: list[str]) -> bool:
    """Return whether a row is named, whole or, where no row is called so, in part."""
    every = {recipe.row.lower() for recipe in ROWS}
    return any(row == part if part in every else part in row for part in asked)


def _write(output: Path) -> None:
    paths = [output / "papers" / f"{_slug(recipe.row)}.json" for recipe in ROWS]
    rows = [json.loads(path.read_text())["row"] for path in paths if path.exists()]
    (output / "papers.json").write_text(json.dumps(rows, indent=1) + "\n")
    (output / "papers.md").write_text(render(output))


if __name__ == "__main__":
    main()
