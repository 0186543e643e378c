"""Figures of a report, as PNG files in memory."""

import io
from typing import Any

import numpy as np

from flowkit.errors import ArgumentError
from flowkit.metrics import Uniformity
from flowkit.report.analysis import Analysis

# Maximum number of columns, and of pairs of columns per criterion, with a figure.
MOST_COLUMNS = 40
_PAIRS = 6
DATA, SAMPLES = "#1f6feb", "#f0883e"
_POINTS = 1_500
_CATEGORIES = 12


def new_figure(width: float, height: float, rows: int = 1) -> tuple[Any, Any]:
    """Return a figure of a size in inches, and its axes.

    Raises:
        ArgumentError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ArgumentError(
            "report", "an installed matplotlib (pip install 'flowkit-density[report]')", "none"
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows)


def to_png(figure: Any) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()


def column(analysis: Analysis, name: str) -> bytes:
    """Draw one column: data and samples above, ranks of data among samples below."""
    figure, (top, bottom) = new_figure(3.6, 3.6, 2)
    data, samples = analysis.held_out.column(name), analysis.samples.column(name)
    kind = _kind(analysis, name)
    if kind == "categorical":
        _bars(top, data, samples)
    else:
        _histogram(top, data, samples, kind)
    top.set_title(name, fontsize=9)
    top.set_yticks([])
    top.tick_params(labelsize=7)
    draw_difference(bottom, analysis.columns[name])
    return to_png(figure)


def regions(analysis: Analysis) -> bytes:
    """Draw the ranks of the log-densities of rows among those of samples."""
    figure, axes = new_figure(4.4, 2.8)
    draw_difference(axes, analysis.regions)
    axes.set_xlabel("rank of log-density among samples (0: least likely)", fontsize=8)
    return to_png(figure)


def pair(analysis: Analysis, first: str, second: str) -> bytes:
    """Draw a scatter plot of two columns: data and as many samples."""
    figure, axes = new_figure(3.4, 3.0)
    points = min(_POINTS, len(analysis.held_out.number))
    for rows, colour in ((analysis.held_out, DATA), (analysis.samples, SAMPLES)):
        x, y = (_numbers(rows.column(name), _kind(analysis, name)) for name in (first, second))
        axes.plot(x[:points], y[:points], ".", markersize=2.5, color=colour, alpha=0.5)
    for name, axis, scale, limits in (
        (first, axes.xaxis, axes.set_xscale, axes.set_xlim),
        (second, axes.yaxis, axes.set_yscale, axes.set_ylim),
    ):
        kind = _kind(analysis, name)
        values = _numbers(analysis.held_out.column(name), kind)
        low, high, logarithmic = _range(values[~np.isnan(values)], kind)
        if logarithmic:
            scale("log")
        elif kind == "datetime":
            _dates(axis)
        limits(low, high)
    axes.set_xlabel(first, fontsize=8)
    axes.set_ylabel(second, fontsize=8)
    axes.tick_params(labelsize=7)
    return to_png(figure)


def distances(analysis: Analysis) -> bytes:
    """Draw the distribution of distances to the closest training row."""
    figure, axes = new_figure(4.4, 2.8)
    for values, colour, label in (
        (analysis.distances.held_out, DATA, "held-out rows"),
        (analysis.distances.samples, SAMPLES, "samples"),
    ):
        shares = (np.arange(len(values)) + 1) / len(values)
        axes.plot(np.sort(values), shares, color=colour, label=label)
    axes.set_xlabel("distance to the closest training row", fontsize=8)
    axes.set_ylabel("share of rows", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7, frameon=False)
    return to_png(figure)


def curves(scores: list[list[float]]) -> bytes:
    """Draw the validation scores of the flows during training."""
    figure, axes = new_figure(4.4, 2.8)
    for curve in scores:
        axes.plot(np.arange(1, len(curve) + 1), curve, linewidth=1)
    # The first scores are far below the rest, and do not determine the range of the axis.
    late = np.concatenate([np.asarray(c)[len(c) // 5 :] for c in scores])
    late = late[np.isfinite(late)]
    if len(late):
        margin = 0.1 * (late.max() - late.min()) + 1e-3
        axes.set_ylim(late.min() - margin, late.max() + margin)
    axes.set_xlabel("validation (at equal intervals of steps)", fontsize=8)
    axes.set_ylabel("nats, standardised columns", fontsize=8)
    axes.tick_params(labelsize=7)
    return to_png(figure)


def columns_to_draw(analysis: Analysis) -> list[str]:
    """Return the columns with a figure: all, or those with the smallest p-values."""
    by_fit = sorted(analysis.columns, key=lambda name: analysis.columns[name].p_value)
    chosen = set(by_fit[:MOST_COLUMNS])
    return [name for name in analysis.columns if name in chosen]


def pairs_to_draw(analysis: Analysis) -> list[tuple[str, str]]:
    """Return the most correlated pairs, and those whose correlation in samples differs most."""
    correlations = analysis.document["rank_correlations"]
    names = correlations["columns"]
    i, j = np.triu_indices(len(names), 1)
    if not len(i):
        return []
    data, samples = (np.asarray(correlations[part])[i, j] for part in ("held_out", "samples"))
    strongest = np.argsort(-np.abs(data), kind="stable")[:_PAIRS]
    most_different = np.argsort(-np.abs(data - samples), kind="stable")[:_PAIRS]
    both = dict.fromkeys([*strongest.tolist(), *most_different.tolist()])
    return [(names[i[p]], names[j[p]]) for p in both]


def draw_difference(axes: Any, ranks: Uniformity) -> None:
    """Draw the distribution of ranks minus the uniform one, with its band."""
    at = np.concatenate([[0.0], ranks.at, [1.0]])
    lower, difference, upper = (
        np.concatenate([[0.0], part, [0.0]])
        for part in (ranks.lower, ranks.difference, ranks.upper)
    )
    axes.fill_between(at, lower, upper, color="0.88", linewidth=0)
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.plot(at, difference, color=DATA if ranks.within else "#cf222e", linewidth=1.4)
    axes.set_xlim(0, 1)
    axes.set_ylabel("distribution of ranks\nminus uniform", fontsize=7)
    axes.tick_params(labelsize=7)


def _kind(analysis: Analysis, name: str) -> str:
    kinds = {c["name"]: c["kind"] for c in analysis.document["schema"]["columns"]}
    return str(kinds[name])


def _numbers(column: tuple[np.ndarray, np.ndarray], kind: str) -> np.ndarray:
    """Return the numbers to draw: NaN for missing values, days for times."""
    values, missing = column
    unit = 86_400.0 if kind == "datetime" else 1.0
    return np.where(missing, np.nan, values.astype(np.float64) / unit)


def _dates(axis: Any) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=2, maxticks=4)
    axis.set_major_locator(locator)
    axis.set_major_formatter(ConciseDateFormatter(locator))


def _range(values: np.ndarray, kind: str) -> tuple[float, float, bool]:
    """Return both limits of an axis, and whether the axis is logarithmic."""
    if not len(values):
        return 0.0, 1.0, False
    low, high = (float(v) for v in np.quantile(values, [0.005, 0.995]))
    if kind in ("real", "positive", "integer") and low > 0 and high > 50 * low:
        return low / 1.2, high * 1.2, True
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin, False


def _histogram(axes: Any, data: Any, samples: Any, kind: str) -> None:
    ours, theirs = _numbers(data, kind), _numbers(samples, kind)
    low, high, logarithmic = _range(ours[~np.isnan(ours)], kind)
    if kind == "integer" and high - low < 60:
        edges = np.arange(np.floor(low), np.ceil(high) + 1) - 0.5
        axes.set_xlim(edges[0], edges[-1])
    elif logarithmic:
        edges = np.geomspace(low, high, 41)
        axes.set_xscale("log")
    else:
        edges = np.linspace(low, high, 41)
    if kind == "datetime":
        _dates(axes.xaxis)
    for values, colour, fill in ((ours, DATA, True), (theirs, SAMPLES, False)):
        present = values[~np.isnan(values)]
        weights = np.full(len(present), 1 / max(len(values), 1))
        axes.hist(
            present,
            edges,
            weights=weights,
            color=colour,
            alpha=0.45 if fill else 1.0,
            histtype="stepfilled" if fill else "step",
        )


def _bars(axes: Any, data: Any, samples: Any) -> None:
    names, counts = np.unique(data[0][~data[1]].astype(str), return_counts=True)
    frequent = names[np.argsort(-counts, kind="stable")[:_CATEGORIES]]
    for k, ((values, missing), colour) in enumerate(((data, DATA), (samples, SAMPLES))):
        text = np.where(missing, "", values.astype(str))
        shares = [float((text == name).mean()) for name in frequent]
        axes.bar(np.arange(len(frequent)) + 0.4 * k - 0.2, shares, 0.4, color=colour, alpha=0.7)
    axes.set_xticks(range(len(frequent)), [str(name)[:10] for name in frequent], rotation=30)
