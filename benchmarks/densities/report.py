"""Report of `benchmarks/tables.py`: Markdown tables and a plot."""

from pathlib import Path

OURS = "flowkit"


def by_table(results: dict) -> dict[str, dict[str, dict]]:
    """Return the rows by table and method, the smallest table first."""
    rows = sorted(results["rows"], key=lambda r: (r["rows"], r["table"]))
    tables: dict[str, dict[str, dict]] = {}
    for row in rows:
        tables.setdefault(row["table"], {})[row["method"]] = row
    return tables


def leads(results: dict, kinds: tuple[str, ...] = ()) -> dict[str, tuple[float, float, str]]:
    """Return flowkit's lead over the best baseline, the standard error, and that name, by table."""
    found = {}
    for name, methods in by_table(results).items():
        others = {m: r for m, r in methods.items() if m != OURS and (not kinds or m in kinds)}
        if OURS in methods and others:
            best = max(others, key=lambda m: others[m]["score"])
            ours = methods[OURS]
            lead = ours["score"] - others[best]["score"]
            found[name] = (lead, ours["standard error"], best)
    return found


def report(results: dict, picture: str) -> str:
    """Return the results as Markdown."""
    tables, ahead = by_table(results), leads(results)
    methods = list(dict.fromkeys(r["method"] for r in results["rows"]))
    m = results["machine"]
    dates = sorted({r["date"] for r in results["rows"]})
    lines = [
        "# Densities of real tables",
        "",
        f"{m['cpu']}, {m['cores']} cores, {m['threads']} threads, Python {m['python']}. Seed 0.",
        f"{' to '.join(sorted({dates[0], dates[-1]}))}. Made by `python benchmarks/tables.py`.",
        "",
        "Mean log-likelihood of held-out rows in nats, in the table's own units; in brackets the",
        "seconds of the fit (~: on one core of the two, or beside other work). The best of a",
        "table is bold. *lead* is flowkit's distance from the best of the others, ± the standard",
        "error of flowkit's score.",
        "",
        f"![leads]({picture})",
        "",
        f"| table | rows x columns | {' | '.join(methods)} | flows alone | lead |",
        f"|{' --- |' * (len(methods) + 4)}",
    ]
    for name, rows in tables.items():
        first = next(iter(rows.values()))
        best = max(row["score"] for row in rows.values())
        cells = [_cell(rows.get(method), best) for method in methods]
        alone = rows.get(OURS, {}).get("flows alone")
        cells.append(f"{alone['score']:.2f}" if alone else "")
        lead = ahead.get(name)
        cells.append(f"{lead[0]:+.2f} ± {lead[1]:.2f} ({lead[2]})" if lead else "")
        size = f"{first['rows']:,} x {first['columns']}"
        lines.append(f"| {name} | {size} | {' | '.join(cells)} |")
    if ahead:
        lines += ["", *_summary(results)]
    return "\n".join(lines) + "\n"


def _cell(row: dict | None, best: float) -> str:
    if row is None:
        return ""
    score = f"{row['score']:.2f}"
    seconds = f"{'~' if row.get('shared') else ''}{row['seconds']:.0f}"
    return f"{f'**{score}**' if row['score'] == best else score} ({seconds})"


def _summary(results: dict) -> list[str]:
    values = sorted(lead for lead, _, _ in leads(results).values())
    errors = leads(results).values()
    lost = sum(lead < -max(0.05, error) for lead, error, _ in errors)
    middle = (
        values[len(values) // 2]
        if len(values) % 2
        else sum(values[len(values) // 2 - 1 : len(values) // 2 + 1]) / 2
    )
    mean = sum(min(max(v, -1.0), 1.0) for v in values) / len(values)
    lines = [
        f"flowkit is ahead of the best of the others on {sum(v > 0 for v in values)} of "
        f"{len(values)} tables, behind by more than 0.05 nats and a standard error on {lost}; "
        f"median lead {middle:+.2f}, mean lead clipped at ±1 {mean:+.2f}.",
    ]
    tables = by_table(results).values()
    pairs = [
        rows[OURS]["flows alone"]["score"] - max(rows[k]["score"] for k in _ZUKO if k in rows)
        for rows in tables
        if OURS in rows and "flows alone" in rows[OURS] and any(k in rows for k in _ZUKO)
    ]
    if pairs:
        lines.append(
            f"Its flows alone are ahead of the better of zuko's two on {sum(p > 0 for p in pairs)} "
            f"of {len(pairs)}."
        )
    return lines


_ZUKO = ("zuko-nsf", "zuko-maf")


def plot(results: dict, path: Path) -> None:
    """Plot the differences in score between each method and flowkit, for all tables."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tables = {n: rows for n, rows in by_table(results).items() if OURS in rows}
    if not tables:
        return
    figure, axes = plt.subplots(figsize=(8, 0.4 * len(tables) + 1.5), layout="constrained")
    methods = [m for m in dict.fromkeys(r["method"] for r in results["rows"]) if m != OURS]
    for i, method in enumerate(methods):
        points = [
            (max(rows[method]["score"] - rows[OURS]["score"], -3.0), y)
            for y, rows in enumerate(tables.values())
            if method in rows
        ]
        if points:
            axes.scatter(*zip(*points, strict=True), label=method, color=f"C{i}", s=28, zorder=3)
    errors = [rows[OURS]["standard error"] for rows in tables.values()]
    axes.barh(range(len(tables)), [2 * e for e in errors], left=[-e for e in errors], color="0.9")
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(tables)), list(tables))
    axes.invert_yaxis()
    axes.set_xlim(-3.1, None)
    axes.set_xlabel(
        "nats per held-out row from flowkit's score (grey: its standard error; left: worse)"
    )
    if methods:
        figure.legend(loc="outside upper center", ncols=len(methods), fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)
