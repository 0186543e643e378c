"""Figures of a report on a conditional density, as PNG files in memory."""

from typing import Any

import numpy as np
from scipy import stats

from flowkit.metrics import Uniformity
from flowkit.report.conditional.numeric import BAND, NumericRows
from flowkit.report.figures import DATA, draw_difference, new_figure, to_png

_BINS = (10, 20)
_POINTS = 200
_GREY = "0.88"


def pit(rows: NumericRows, ranks: Uniformity) -> bytes:
    """Draw the histogram of the PIT, and below its distribution minus the uniform one.

    The band of the histogram holds all bins at once with a probability of at least 95 %.
    """
    figure, (top, bottom) = new_figure(4.4, 4.2, 2)
    n = len(rows.pit)
    bins = _BINS[n >= 20 * _BINS[1]]
    low, high = stats.binom.interval(1 - (1 - BAND) / bins, n, 1 / bins)
    top.axhspan(low * bins / n, high * bins / n, color=_GREY, linewidth=0)
    top.axhline(1, color="0.6", linewidth=0.8)
    counts, edges = np.histogram(rows.pit, bins, (0.0, 1.0))
    top.stairs(counts * bins / n, edges, color=DATA, linewidth=1.4)
    top.set_xlim(0, 1)
    top.set_ylim(bottom=0)
    top.set_ylabel("density of the PIT", fontsize=7)
    top.tick_params(labelsize=7)
    draw_difference(bottom, ranks)
    bottom.set_xlabel("probability integral transform", fontsize=8)
    return to_png(figure)


def quantiles(entries: list[dict[str, Any]]) -> bytes:
    """Draw the shares of rows below predicted quantiles against their probabilities."""
    names = "probability of the predicted quantile", "share of rows below"
    return _shares(entries, "share_below", 0.0, names)


def target_quantiles(entry: dict[str, Any]) -> bytes:
    """Draw the quantiles of the observed target against those of draws of all rows."""
    figure, axes = new_figure(3.6, 3.2)
    predicted, observed = (np.asarray(entry[key]) for key in ("predicted", "observed"))
    axes.plot(predicted, observed, ".", markersize=3, color=DATA)
    low, high = float(min(predicted[0], observed[0])), float(max(predicted[-1], observed[-1]))
    _diagonal(axes, low, high, "quantile of the predicted distributions", "observed quantile")
    return to_png(figure)


def predictions(rows: NumericRows, seed: int) -> bytes:
    """Draw the target of some rows against the predicted median, with 90 % intervals."""
    figure, axes = new_figure(3.6, 3.2)
    n = len(rows.y)
    some = np.random.default_rng(seed).permutation(n)[:_POINTS]
    low, high = (end[some] for end in rows.ends(0.9))
    median = rows.at(0.5)[some]
    axes.vlines(median, low, high, color="0.8", linewidth=0.8)
    axes.plot(median, rows.y[some], ".", markersize=3, color=DATA)
    ends = np.quantile(np.concatenate([rows.y[some], low, high]), [0.01, 0.99])
    _diagonal(axes, float(ends[0]), float(ends[1]), "predicted median and 90 % interval", "target")
    return to_png(figure)


def reliability(entries: list[dict[str, Any]]) -> bytes:
    """Draw the share predicted right against the probability of the predicted category."""
    low = min(min(e["probability"], e["share"], *e["band"]) for e in entries)
    names = "probability of the predicted category", "share predicted right"
    return _shares(entries, "share", low, names)


def _shares(entries: list[dict[str, Any]], key: str, low: float, names: tuple[str, str]) -> bytes:
    """Draw shares of rows against probabilities, in their band, from ``low`` to 1."""
    figure, axes = new_figure(3.6, 3.2)
    p, share, band = (np.array([e[k] for e in entries]) for k in ("probability", key, "band"))
    axes.fill_between(p, band[:, 0], band[:, 1], color=_GREY, linewidth=0)
    axes.plot(p, share, "o-", markersize=3, color=DATA, linewidth=1.2)
    _diagonal(axes, low, 1.0, *names)
    return to_png(figure)


def _diagonal(axes: Any, low: float, high: float, below: str, beside: str) -> None:
    """Set equal limits of both axes, draw the diagonal, and name the axes."""
    margin = 0.03 * (high - low) or 0.5
    axes.plot([low, high], [low, high], color="0.6", linewidth=0.8)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlabel(below, fontsize=8)
    axes.set_ylabel(beside, fontsize=8)
    axes.tick_params(labelsize=7)
