"""Rows of lowest predictive density, with the reason in words."""

from typing import Any

import numpy as np

from flowkit.report.analysis import cell_text
from flowkit.report.conditional.categorical import CategoricalRows
from flowkit.report.conditional.numeric import NumericRows
from flowkit.schema import Schema
from flowkit.schema.frames import read, take
from flowkit.tabular.conditional import ConditionalFlowDensity

_WORST = 20
# A width in this share of the rows or fewer is called large.
_WIDE = 0.9


def worst_rows(
    model: ConditionalFlowDensity,
    table: Any,
    log_density: np.ndarray,
    numbers: np.ndarray,
    rows: NumericRows | CategoricalRows | None,
) -> list[dict[str, Any]]:
    """Return the rows of lowest log-density, the lowest first.

    Args:
        model: the model.
        table: the rows.
        log_density: of the rows, ``(n,)``.
        numbers: numbers of the rows in the whole table, ``(n,)``.
        rows: evaluated rows, to compare widths with; None for angles.
    """
    name = model.targets_.names[0]
    least = np.argsort(log_density, kind="stable")[:_WORST]
    table, log_density, numbers = take(table, least), log_density[least], numbers[least]
    unseen = _unseen(model.features_, table)
    own: NumericRows | CategoricalRows | None = None
    if isinstance(rows, NumericRows):
        own = NumericRows.of(model, table, 0)
    elif isinstance(rows, CategoricalRows):
        own = CategoricalRows.of(model, table)
    entries = []
    for i in range(len(least)):
        predicted, reason = "", "its density is low"
        if isinstance(own, NumericRows) and isinstance(rows, NumericRows):
            predicted, reason = _of_number(own, i, log_density[i], rows.width(0.95))
        elif isinstance(own, CategoricalRows):
            predicted, reason = _of_category(own, i)
        if unseen[i]:
            reason += f"; the fit has not seen its {' and '.join(unseen[i])}"
        entries.append(
            {
                "row": int(numbers[i]),
                "log_density": float(log_density[i]),
                "value": cell_text(table, name, i),
                "predicted": predicted,
                "reason": reason,
            }
        )
    return entries


def _of_number(
    rows: NumericRows, i: int, log_density: float, widths: np.ndarray
) -> tuple[str, str]:
    """Return what was predicted for a row, and why its density is low."""
    low, high = (end[i] for end in rows.ends(0.95))
    median, width, pit = rows.at(0.5)[i], high - low, rows.pit[i]
    predicted = f"{rows.shown(median)} ({rows.shown(low)} to {rows.shown(high)})"
    if log_density == -np.inf:
        return predicted, "beyond a bound, where the density is 0"
    side, end = ("above", high) if pit > 0.5 else ("below", low)
    beyond = abs(rows.y[i] - end)
    if (rows.y[i] - end) * (1 if pit > 0.5 else -1) > 0:
        times = beyond / width if width > 0 else np.inf
        size = f"by {times:.1f} times its width" if times >= 0.1 else "by little"
        return predicted, f"{side} the 95 % interval, {size}"
    if (widths < width).mean() >= _WIDE:
        return predicted, "inside the 95 % interval, which is among the widest tenth"
    return predicted, "inside the 95 % interval, at a value of low density"


def _of_category(rows: CategoricalRows, i: int) -> tuple[str, str]:
    """Return what was predicted for a row, and why its probability is low."""
    best, code = int(rows.predicted[i]), int(rows.code[i])
    predicted = f"{rows.names[best]} ({rows.confidence[i]:.3f})"
    if code == len(rows.names):
        return predicted, "the fit has not seen this category"
    own = rows.probabilities[i, code]
    if best == code:
        return predicted, f"predicted, but with a probability of {own:.3f} only"
    return predicted, f"{rows.names[best]} was predicted; its own probability was {own:.3g}"


def _unseen(features: Schema, table: Any) -> list[list[str]]:
    """Return the features of each row whose category the fit has not seen."""
    encoded = features.encode(table)
    found: list[list[str]] = [[] for _ in range(len(encoded.codes))]
    for j, discrete in enumerate(features.discrete):
        if discrete.kind == "categorical":
            value = read(table, discrete.name).values
            for i in np.flatnonzero(encoded.codes[:, j] == discrete.size):
                found[i].append(f"{discrete.name} {str(value[i])!r}")
    return found
