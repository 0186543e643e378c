"""Report and plot of `benchmarks/default.py`."""

import statistics
from pathlib import Path

from default.cases import BUILDS, GROWTH, MEASURES, NAMED, axis_value

_STYLES = {"today": "o-", "base": "s--", "mixture": "k:", "kde": "k-."}


def seconds(result: dict, contender: str, measure: str) -> float | None:
    """Return the median over the rounds, or None without results."""
    rounds = result["contenders"].get(contender, {}).get("seconds", {}).get(measure)
    return statistics.median(rounds) if rounds else None


def processor(result: dict, build: str) -> float | None:
    """Return the median of the processor seconds of a build's fits, or None without results."""
    rounds = result["contenders"].get(build, {}).get("processor")
    return statistics.median(rounds) if rounds else None


def ratio(result: dict, measure: str, over: str = "base") -> float | None:
    """Return how many times faster today's build is than another contender."""
    slow, fast = seconds(result, over, measure), seconds(result, "today", measure)
    return None if slow is None or fast is None else slow / fast


def report(results: dict, picture: str) -> str:
    """Return the results as Markdown."""
    done = results["cases"]
    named = [case.name for case in NAMED if case.name in done]
    growth = {axis: [c.name for c in cases if c.name in done] for axis, cases in GROWTH.items()}
    shown = {name for names in (named, *growth.values()) for name in names}
    sections = [
        _head(results, picture),
        _builds("Named tables", {name: done[name] for name in named}),
        _peers({name: done[name] for name in done if done[name]["case"]["peers"]}),
        *(
            _builds(f"Growth in {axis}", {name: done[name] for name in names})
            for axis, names in growth.items()
        ),
        _builds("Other tables", {name: done[name] for name in done if name not in shown}),
        _notes(done),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _head(results: dict, picture: str) -> list[str]:
    m = results["machine"]
    done = list(results["cases"].values())
    dates = sorted({r["date"] for r in done})
    versions = sorted({v for r in done for v in r["versions"]})
    most = max(r["load"] for r in done)
    builds = [(b, sorted({r["revisions"].get(b, "") for r in done} - {""})) for b in BUILDS]
    revisions = ", ".join(f"{build} {' and '.join(names)}" for build, names in builds if names)
    return [
        "# The default: fit, score and sample",
        "",
        f"{m['cpu']}, {m['cores']} cores, {m['threads']} threads, {m['capability']}, "
        f"{m['system']}, Python {m['python']}.",
        f"flowkit: {revisions}; {', '.join(['torch ' + m['torch'], *versions])}.",
        f"Seed 0. {' to '.join(sorted({dates[0], dates[-1]}))}. Made by `{results['command']}`.",
        "",
        "Each build and peer runs in a process of its own, in turns. Seconds are medians over the",
        "rounds, of a fit, of 10,000 scored rows (or the test rows of a table), and of 10,000",
        "drawn rows. *x* is how many times faster today's build is than the base. *processor* is",
        "the same for the seconds of all threads of a fit, on which other work on the machine has",
        f"less effect; the load of the machine before a case was at most {most:.1f}. Memory is the",
        "peak in the fit above that before it, which includes the table; of the first fit of a",
        "process. Scores are mean log-densities of held-out rows, in nats; *gain* is today's score",
        "less that of the base on the same rows, ± its standard error.",
        "",
        f"![growth]({picture})",
    ]


def _builds(title: str, cases: dict[str, dict]) -> list[str]:
    if not cases:
        return []
    header = ["table", "rows x columns", "effort"]
    header += [f"{m}, s: today / base, x" for m in MEASURES]
    header += ["processor, s: today / base, x", "memory, GB: today / base", "score", "gain"]
    lines = [f"## {title}", "", f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    for name, r in cases.items():
        cells = [name, f"{r['rows']:,} x {r['columns']}", r["case"]["effort"]]
        cells += [_pair(*(seconds(r, b, measure) for b in BUILDS)) for measure in MEASURES]
        cells.append(_pair(*(processor(r, b) for b in BUILDS)))
        memories = [r["contenders"].get(b, {}).get("memory") for b in BUILDS]
        cells.append(" / ".join(f"{x:.2f}" for x in memories if x is not None))
        score = r["contenders"].get("today", {}).get("score")
        cells.append("" if score is None else f"{score:.3f}")
        gain = r["difference"]
        cells.append(f"{gain['mean']:+.3f} ± {gain['standard error']:.3f}" if gain else "")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _pair(today: float | None, base: float | None) -> str:
    text = " / ".join(f"{s:.3g}" for s in (today, base) if s is not None)
    return text if today is None or base is None else f"{text}, {base / today:.2f}x"


def _peers(cases: dict[str, dict]) -> list[str]:
    names = dict.fromkeys(name for r in cases.values() for name in r["contenders"])
    peers = [name for name in names if name not in BUILDS]
    if not peers:
        return []
    header = ["table", *(f"{p}: {m}, s (x)" for p, m in _columns(cases, peers))]
    lines = [
        "## Peers",
        "",
        "In brackets: how many times as long as today's build. The mixture has 10 components; the",
        "kernel estimate keeps at most 10,000 rows; zuko's flow stops early.",
        "",
        f"| {' | '.join(header)} |",
        f"|{' --- |' * len(header)}",
    ]
    for name, r in cases.items():
        cells = []
        for peer, measure in _columns(cases, peers):
            s, x = seconds(r, peer, measure), ratio(r, measure, peer)
            cells.append("" if s is None or x is None else f"{s:.3g} ({x:.2g})")
        lines.append(f"| {' | '.join([name, *cells])} |")
    return lines


def _columns(cases: dict[str, dict], peers: list[str]) -> list[tuple[str, str]]:
    return [
        (peer, measure)
        for peer in peers
        for measure in MEASURES
        if any(seconds(r, peer, measure) is not None for r in cases.values())
    ]


def _notes(cases: dict[str, dict]) -> list[str]:
    notes = [f"- {name}: {note}" for name, r in cases.items() for note in r["notes"]]
    return ["## Notes", "", *notes] if notes else []


def plot(results: dict, path: Path) -> None:
    """Plot the seconds of each measure against rows, columns and categories."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    done = results["cases"]
    size = (3.4 * len(GROWTH), 2.5 * len(MEASURES))
    figure, axes = plt.subplots(
        len(MEASURES), len(GROWTH), figsize=size, squeeze=False, sharex="col"
    )
    for column, (axis, cases) in enumerate(GROWTH.items()):
        for row, measure in enumerate(MEASURES):
            panel = axes[row][column]
            for name, style in _STYLES.items():
                points = [
                    (axis_value(c, axis), s)
                    for c in cases
                    if c.name in done and (s := seconds(done[c.name], name, measure)) is not None
                ]
                if points:
                    panel.plot(*zip(*points, strict=True), style, label=name)
            panel.set(xscale="log", yscale="log")
            panel.grid(alpha=0.3)
            if column == 0:
                panel.set_ylabel(f"{measure}, s")
            if row == len(MEASURES) - 1:
                panel.set_xlabel(axis)
    if axes[0][0].lines:
        axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
