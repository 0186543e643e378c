"""Calibration by feature: errors of the predictive distributions in groups of rows."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from scipy import stats

from flowkit.schema import Column, Schema
from flowkit.schema.frames import read
from flowkit.schema.series import Series

# Groups of equally many rows of a number, and values that are groups of their own.
_GROUPS, _MOST_VALUES = 5, 8
# Smaller groups have no sums that are nearly normal; they are left out.
_FEWEST_ROWS = 10

Group = tuple[str, np.ndarray]


class Rows(Protocol):
    """Evaluated rows, with errors that a right density would have by chance alone."""

    def checks(self) -> Mapping[str, tuple[np.ndarray, np.ndarray | float]]:
        """Return errors ``(n,)`` of mean 0, and their variances, by name."""

    def of_group(self, rows: np.ndarray) -> dict[str, float]:
        """Return what a report states of a group of rows, by mask."""


def by_feature(features: Schema, table: Any, rows: Rows) -> list[dict[str, Any]]:
    """Return the calibration of the rows in groups by each feature, the worst feature first.

    Numbers are grouped at their quantiles, categories by value. In each group, a sum of errors
    that is divided by its standard deviation is nearly normal if the density is right. The
    p-value of a feature is that of the sum of their squares, times the number of checks.

    Args:
        features: schema of the features.
        table: the rows.
        rows: the evaluated rows.
    """
    checks = rows.checks()
    found = []
    for column in features.columns:
        groups = _groups(column, read(table, column.name)) if column.is_modelled else []
        if not groups:
            continue
        p_values, z = {}, {}
        for name, (error, variance) in checks.items():
            spread = np.broadcast_to(variance, error.shape)
            z[name] = [_standardised(error[at], spread[at]) for _, at in groups]
            p_values[name] = float(stats.chi2.sf(np.sum(np.square(z[name])), len(groups)))
        found.append(
            {
                "feature": column.name,
                "p_value": min(1.0, len(checks) * min(p_values.values())),
                "p_values": p_values,
                "groups": [
                    {
                        "group": label,
                        "rows": int(at.sum()),
                        **rows.of_group(at),
                        "z": {name: z[name][g] for name in checks},
                    }
                    for g, (label, at) in enumerate(groups)
                ],
            }
        )
    return sorted(found, key=lambda entry: entry["p_value"])


def _standardised(error: np.ndarray, variance: np.ndarray) -> float:
    """Return the sum of errors divided by its standard deviation."""
    return float(error.sum() / np.sqrt(max(variance.sum(), 1e-12)))


def _groups(column: Column, series: Series) -> list[Group]:
    """Return the groups of rows by a feature: their labels and masks."""
    present, groups = ~series.missing, []
    values, counts = np.unique(series.values[present].astype(_sortable(series)), return_counts=True)
    if series.family == "text" or column.kind == "categorical" or len(values) <= _MOST_VALUES:
        for value in values[np.argsort(-counts, kind="stable")[:_MOST_VALUES]]:
            groups.append((_shown(column, value), present & (series.values == value)))
        taken = np.any([at for _, at in groups], axis=0) if groups else ~present
        groups.append(("others", present & ~taken))
    else:
        edges = np.unique(np.quantile(series.values[present], np.linspace(0, 1, _GROUPS + 1)))
        place = np.searchsorted(edges[1:-1], series.values, side="right")
        for g in range(len(edges) - 1):
            label = f"{_shown(column, edges[g])} to {_shown(column, edges[g + 1])}"
            groups.append((label, present & (place == g)))
    groups.append(("missing", ~present))
    return [(label, at) for label, at in groups if at.sum() >= _FEWEST_ROWS]


def _sortable(series: Series) -> type:
    if series.values.dtype == bool:
        return bool
    return str if series.values.dtype == object else np.float64


def _shown(column: Column, value: Any) -> str:
    """Return a value of a feature for people."""
    if column.kind == "datetime":
        return (
            str(np.datetime64(round(float(value)), "s")).replace("T", " ").removesuffix(" 00:00:00")
        )
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return str(value)
