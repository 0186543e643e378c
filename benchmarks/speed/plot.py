"""Plots of time against model and batch size."""

from pathlib import Path

from speed.cases import MEASURES, axis_value
from speed.summary import best, floor_of

_LABELS = {
    "train": "ms per training step",
    "log_prob": "log_prob, μs per row",
    "sample": "sample, μs per row",
}


def plot_growth(results: dict, growth: dict, path: Path) -> None:
    """Plot time against features, width, layers and batch size, with one row per measure."""
    if not any(c.name in results["cases"] for cases in growth.values() for c in cases):
        return
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    size = (3.2 * len(growth), 2.6 * len(MEASURES))
    figure, axes = plt.subplots(
        len(MEASURES), len(growth), figsize=size, squeeze=False, sharex="col", sharey="row"
    )
    for column, (axis, cases) in enumerate(growth.items()):
        done = [c for c in cases if c.name in results["cases"]]
        for row, measure in enumerate(MEASURES):
            panel = axes[row][column]

            def unit(case, seconds, measure=measure):
                return 1e3 * seconds if measure == "train" else 1e6 * seconds / case.batch

            for library, style in (("flowkit", "o-"), ("zuko", "s-")):
                points = [
                    (axis_value(c, axis), unit(c, b.median))
                    for c in done
                    if (b := best(results["cases"][c.name], library, measure, c.batch))
                ]
                panel.plot(*zip(*points, strict=True), style, label=library) if points else None
            floors = [
                (axis_value(c, axis), unit(c, floor_of(results, c.name, measure, c.batch)))
                for c in done
            ]
            panel.plot(*zip(*floors, strict=True), "k:", label="floor") if floors else None
            panel.set(xscale="log", yscale="log")
            panel.set_xticks([axis_value(c, axis) for c in cases])
            panel.set_xticklabels([axis_value(c, axis) for c in cases])
            panel.minorticks_off()
            panel.grid(alpha=0.3)
            if column == 0:
                panel.set_ylabel(_LABELS[measure])
            if row == len(MEASURES) - 1:
                panel.set_xlabel(axis)
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
