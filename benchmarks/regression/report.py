"""Report of `benchmarks/conditional.py`: means over splits, as JSON and as Markdown tables."""

from typing import Any

import numpy as np

from regression.data import SETS
from regression.methods import METHODS
from regression.published import PUBLISHED, SOURCES
from regression.published import SETS as PUBLISHED_SETS

# Kept for each split; of the others the mean.
_KEPT = ("log_prob", "log_cell", "crps")
_MEANS = ("coverage", "width", "fit seconds", "predict seconds")
_CLOCKS = ("fit processor seconds", "predict processor seconds")


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one entry for each set and method, with the scores of each split."""
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda r: (r["rows"], r["set"], list(METHODS).index(r["method"]))):
        grouped.setdefault((row["set"], row["method"]), []).append(row)
    entries = []
    for (name, method), group in grouped.items():
        group.sort(key=lambda r: r["split"])
        entry = {"set": name, "method": method, "splits": [r["split"] for r in group]}
        entry |= {key: group[0][key] for key in ("rows", "test rows", "columns", "step")}
        entry |= {key: [float(f"{r[key]:.6g}") for r in group] for key in _KEPT}
        entry |= {key: float(np.mean([r[key] for r in group])) for key in (*_MEANS, *_CLOCKS)}
        entry["lowest"] = min(r["lowest"] for r in group)
        entry["dates"] = sorted({r["date"] for r in group})
        entries.append(entry)
    versions = {k: v for row in rows for k, v in row["versions"].items()}
    machines = [m for i, m in enumerate(r["machine"] for r in rows) if m not in [
        r["machine"] for r in rows[:i]
    ]]  # fmt: skip
    seeds = sorted({row["seed"] for row in rows})
    return {"machines": machines, "seeds": seeds, "versions": versions, "entries": entries}


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Return the mean over splits and its standard error, NaN for one split."""
    with np.errstate(invalid="ignore"):  # of minus infinity
        error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return float(np.mean(values)), float(error)


def report(results: dict[str, Any], picture: str) -> str:
    """Return the results as Markdown."""
    entries = results["entries"]
    dates = sorted({day for entry in entries for day in entry["dates"]})
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    lines = [
        "# Conditional densities of the UCI regression sets",
        "",
        *(
            f"{m['cpu']}, {m['cores']} cores, {m['threads']} threads, Python {m['python']}."
            for m in results["machines"]
        ),
        f"{' to '.join(sorted({dates[0], dates[-1]})) if dates else ''}. "
        f"Seed {', '.join(map(str, results['seeds']))}. {versions}.",
        "Made by `python benchmarks/conditional.py`.",
        "",
        "Means over the published splits ± their standard errors. Log-likelihoods are in nats per",
        "test row, of targets in their own units; higher is better. *Per cell*: the logarithm of",
        "the density's mean over the cell of the target's grid around the target, which compares",
        "methods fairly on rounded targets: a density of cells cannot exceed -log(step). CRPS:",
        "continuous ranked probability score, lower is better. *Lowest*: log-density of the least",
        "likely test row of all splits. Coverage and mean width are those of 90 % central",
        "intervals; of a target's cell coverage counts the share of probability within the",
        "interval, so that the right distribution has 0.9 on coarse grids, too. Seconds are those",
        "of the processor, means over splits: of the fit, and of the prediction of the test rows'",
        "distributions with their log-densities.",
        "",
        "Methods without a density of their own: *treeffuser* has draws, scored by a normal kernel",
        "estimate of 500 of them. *forest* and *lightgbm* have quantiles; between two the density",
        "is constant, beyond the outer ones it falls exponentially.",
        "",
        f"![Score of flowkit less that of each method]({picture})",
    ]
    for name in dict.fromkeys(entry["set"] for entry in entries):
        lines += _table(name, [entry for entry in entries if entry["set"] == name])
    lines += _comparison(entries)
    return "\n".join(lines) + "\n"


def _table(name: str, entries: list[dict[str, Any]]) -> list[str]:
    first = entries[0]
    best = {key: max(np.mean(e[key]) for e in entries) for key in ("log_prob", "log_cell")}
    best["crps"] = min(np.mean(e["crps"]) for e in entries)
    lines = [
        "",
        f"## {name}",
        "",
        f"{first['rows'] + first['test rows']:,} rows, {first['columns']} features; step of the "
        f"target {first['step']:g}, -log(step) = {-np.log(first['step']):.2f}.",
        "",
        "| method | splits | log-likelihood | per cell | CRPS | coverage | width | lowest | fit, s "
        "| predict, s |",
        f"|{' --- |' * 10}",
    ]
    for e in entries:
        cells = []
        for key in _KEPT:
            mean, error = mean_and_error(e[key])
            text = _number(mean, error, ".4g" if key == "crps" else ".3f")
            cells.append(f"**{text}**" if mean == best[key] else text)
        fit, score = (f"{e[clock]:.1f}" for clock in _CLOCKS)
        lines.append(
            f"| {e['method']} | {len(e['splits'])} | {' | '.join(cells)} | {e['coverage']:.3f} "
            f"| {e['width']:.4g} | {e['lowest']:.1f} | {fit} | {score} |"
        )
    return lines


def _number(mean: float, error: float, form: str) -> str:
    if not np.isfinite(error):
        return f"{mean:{form}}"
    return f"{mean:{form}} ± {error:{'.2g' if form.endswith('g') else form}}"


def _comparison(entries: list[dict[str, Any]]) -> list[str]:
    """Return the table of measured and published log-likelihoods."""
    names = [name for name in SETS if any(entry["set"] == name for entry in entries)]
    if not names:
        return []
    lines = [
        "",
        "## Published log-likelihoods",
        "",
        "In nats per row, of the method's own density; measured ones first. Protocol A: the same",
        "splits. B: random splits of the same sizes. C: other, or not said. An honest density of",
        "a rounded target is at most -log(step): 0 on wine, 6.91 on naval; figures above that come",
        "from spikes at the values of the grid.",
        "",
        f"| method | protocol | {' | '.join(names)} | source |",
        f"|{' --- |' * (len(names) + 3)}",
    ]
    for method in dict.fromkeys(entry["method"] for entry in entries):
        found = {e["set"]: e["log_prob"] for e in entries if e["method"] == method}
        cells = [_number(*mean_and_error(found[n]), ".2f") if n in found else "" for n in names]
        lines.append(f"| **{method}** | A | {' | '.join(cells)} | measured |")
    for method, protocol, source, figures in PUBLISHED:
        of_set = dict(zip(PUBLISHED_SETS, figures, strict=True))
        cells = ["" if of_set[n] is None else f"{of_set[n]:.2f}" for n in names]
        lines.append(f"| {method} | {protocol} | {' | '.join(cells)} | {source} |")
    return [*lines, "", *(f"- {key}: {text}." for key, text in SOURCES.items())]
