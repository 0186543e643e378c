"""Report of the results: tables in Markdown."""

from speed.cases import LIBRARIES, MEASURES, axis_value, case_from_json
from speed.summary import Best, best, best_rate, floor_of, goals

_COMPILED = {"compiled": " *c*", "reduce-overhead": " *g*", "jit, buffers donated": " *d*"}
_UNITS = {"train": "training step, ms", "log_prob": "log_prob, rows/s", "sample": "sample, rows/s"}


def report(results: dict, growth: dict, picture: str) -> str:
    """Return the report in Markdown."""
    sections = [
        ["# Speed: flowkit beside zuko, nflows, normflows and flowjax", "", *_head(results)],
        _goals(results),
        *_models(results),
        _floors(results),
        _growth(results, growth, picture),
        _notes(results),
    ]
    return "\n\n".join("\n".join(s) for s in sections if s) + "\n"


def _head(results: dict) -> list[str]:
    m = results["machine"]
    versions: dict[str, str] = {}
    for r in results["cases"].values():
        for library in r["libraries"].values():
            versions |= library["versions"]
    dates = sorted({r["date"] for r in results["cases"].values()})
    seeds = sorted({r["case"]["seed"] for r in results["cases"].values()})
    return [
        f"{m['cpu']}, {m['cores']} cores, {m['threads']} threads, {m['capability']},",
        f"{m['system']},",
        f"Python {m['python']}, {', '.join(map(' '.join, versions.items()))}.",
        f"Seed {', '.join(map(str, seeds))}. {' to '.join(sorted({dates[0], dates[-1]}))}.",
        f"Made by `{results['command']}`.",
        "",
        "Each library runs in a process of its own. In each round each library is timed for a",
        "fraction of a second; the numbers are medians over the rounds, with quartiles, of its",
        "best way to run: eager or compiled (*c*; for sampling, its networks compiled), for",
        "flowjax JIT (*d*: buffers donated). Training is forward, backward and Adam (torch's",
        "fused kernel; flowkit's `fit` calls it directly, the others go through torch.optim),",
        "without clipping. After each number: how many times the floor (see below).",
        *_clock(results),
    ]


def _clock(results: dict) -> list[str]:
    """Return a note if times are of the processor."""
    if all(r["case"].get("clock", "wall") == "wall" for r in results["cases"].values()):
        return []
    return [
        "Times are those of the processor, all threads together, not of the clock on the wall:",
        "other programs shared the machine.",
    ]


def _number(x: float) -> str:
    """Return a number with about three digits, and units of thousands and millions."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if x >= 0.9995 * size:
            return f"{x / size:.3g}{unit}" if x < 999.5 * size else f"{x / size:.0f}{unit}"
    return f"{x:.3g}" if x < 999.5 else f"{x:.0f}"


def _spread(b: Best) -> str:
    if b.measure == "train":
        low, middle, high = (1e3 * s for s in (b.low, b.median, b.high))
    else:
        low, middle, high = (b.batch / s for s in (b.high, b.median, b.low))
    around = f" ({_number(low)} to {_number(high)})" if b.rounds > 1 else " (one call)"
    return f"{_number(middle)}{around}{_COMPILED.get(b.variant, '')}"


def _goals(results: dict) -> list[str]:
    rows = [
        f"| {g.measure} | {g.model} | {g.against} | {g.goal} | {g.value:.3g} "
        f"({g.low:.3g} to {g.high:.3g}) | {'yes' if g.met else 'no'} |"
        for g in goals(results)
    ]
    return rows and [
        "## Against the goals",
        "",
        "How many times faster per row, each library at its best way to run and batch size.",
        "",
        "| what | model | against | goal | measured | met |",
        "| --- | --- | --- | --- | --- | --- |",
        *rows,
    ]


def _models(results: dict) -> list[list[str]]:
    """Return a table for each model, with a row per library and a column per heat."""
    sections = []
    for name, result in results["cases"].items():
        if name.startswith("growth"):
            continue
        case = case_from_json(result["case"])
        heats = case.heats()
        titles = [_UNITS[m] if m == "train" else f"{_UNITS[m]}, batch {b}" for m, b in heats]
        bins = f", {case.bins} bins" if case.kind == "nsf" else ""
        lines = [
            f"## {name}: {case.kind.upper()}, {case.features} features, "
            f"{len(case.hidden)} x {case.hidden[0]}, {case.layers} layers{bins}"
            + f", on {results['machine']['gpu']}"
            * (case.device != "cpu"),
            "",
            f"Training batch {case.batch}.",
            "",
            f"| library | {' | '.join(titles)} | parameters | open connections |",
            "| --- " * (len(titles) + 3) + "|",
        ]
        for library in case.libraries:
            if library not in result["libraries"]:
                continue
            cells = []
            for measure, batch in heats:
                found = best(result, library, measure, batch)
                cell = _spread(found) if found else "-"
                if found and case.device == "cpu":
                    floor = floor_of(results, name, measure, batch)
                    cell += f", {_number(found.median / floor)}x"
                cells.append(cell)
            sizes = result["libraries"][library]
            cells += [f"{sizes['parameters']:,}", f"{sizes['connections']:,}"]
            lines.append(f"| {library} | {' | '.join(cells)} |")
        sections.append(lines)
    return sections


def _floors(results: dict) -> list[str]:
    """Return the rates of the machine, and the floor of each model."""
    route, _ = best_rate(results)
    routes: dict[str, float] = {}
    for result in results["cases"].values():
        for key, value in result.get("rates", {}).items():
            routes[key] = max(value, routes.get(key, 0.0))
    listed = ", ".join(f"{k} {2e-9 * v:.0f}" for k, v in sorted(routes.items()))
    lines = [
        "## The floor",
        "",
        f"Best float32 rates, in GFLOP/s: {listed}.",
        f"The floor takes the best, {route}: the multiply-adds of flowkit's open connections, once",
        "per row to score or draw, three times to train, and seven float32 accesses per parameter",
        "for Adam, at the bandwidth of that much memory. Activations, splines, log-determinants,",
        "which are no matrix products, count nothing.",
        "",
        "| model | training step, ms | of which Adam | log_prob and sample, rows/s | GB/s |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, result in results["cases"].items():
        case = case_from_json(result["case"])
        if name.startswith("growth") or case.device != "cpu":
            continue
        train = floor_of(results, name, "train", case.batch)
        adam = train - 3 * floor_of(results, name, "sample", case.batch)
        rows = case.batch / floor_of(results, name, "sample", case.batch)
        lines.append(
            f"| {name} | {1e3 * train:.3g} | {1e3 * adam:.2g} | {_number(rows)} "
            f"| {1e-9 * result['bandwidth']:.0f} |"
        )
    return lines if routes else []


def _growth(results: dict, growth: dict, picture: str) -> list[str]:
    rows = []
    for axis, cases in growth.items():
        for case in cases:
            result = results["cases"].get(case.name)
            if result is None:
                continue
            cells = []
            for measure in MEASURES:
                for library in case.libraries:
                    found = best(result, library, measure, case.batch)
                    cells.append(_spread(found) if found else "-")
            rows.append(f"| {axis} | {axis_value(case, axis)} | {' | '.join(cells)} |")
    if not rows:
        return []
    first = next(iter(growth.values()))[0]
    titles = [f"{_UNITS[m]}: {library}" for m in MEASURES for library in first.libraries]
    return [
        "## Growth",
        "",
        "MAF, eager: 32 features, 5 layers of 2 x 256, batch 512, of which one is varied.",
        "",
        f"![time against features, width, layers and batch]({picture})",
        "",
        f"| varied | to | {' | '.join(titles)} |",
        "| --- " * (len(titles) + 2) + "|",
        *rows,
    ]


_FAIRNESS = """\
- Same widths, layers, bins, bounds, batches, learning rate; inference mode for log_prob and sample.
  Weights are random, none zero. The degrees of hidden units are each library's own, so the open
  connections differ by a few per cent.
- zuko: `MAF` and `NSF` as they come. nflows: `MADE` without residual blocks.
- normflows: its autoregressive layers look from latent to data; under its `Reverse` they are a
  MAF. Its networks lack the ReLU after the first layer, and its permutation swaps halves instead
  of reversing: the same products, a little less work. Its `sample` computes log_prob too.
- flowjax: JIT, masks applied beforehand for log_prob and sample. The derivatives at the ends of
  its splines, which it would learn, are fixed at 1 as in the other libraries. Features are shuffled
  between layers instead of reversed.
- Compiled sampling compiles the networks, not the loop over features, whose unrolled graph grows
  with features times layers. flowkit samples as it comes.
- A way to run that loses by a quarter leaves after two rounds, and is not tried at the
  larger batch.
- Where sampling takes minutes (maf-784), log_prob at the same batch decides between eager and
  compiled."""


def _notes(results: dict) -> list[str]:
    lines = ["## What is fair and what is not", "", _FAIRNESS]
    ran = {name for r in results["cases"].values() for name in r["libraries"]}
    missing = [name for name in LIBRARIES if name not in ran]
    lines += [f"- {name} was not found and is missing." for name in missing]
    if results["machine"]["gpu"] is None:
        lines.append("- There was no GPU, so there are no times on one.")
    else:
        lines.append('- On the GPU, *g* is `torch.compile(mode="reduce-overhead")` (CUDA graphs).')
    notes = [f"- {name}: {n}" for name, r in results["cases"].items() for n in r["notes"]]
    return [*lines, *(["", "## What did not run", "", *notes] if notes else [])]
