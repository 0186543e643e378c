"""Picture of `benchmarks/conditional.py`: the score of flowkit less that of each method."""

from pathlib import Path
from typing import Any

import numpy as np

from regression.methods import METHODS, OURS
from regression.report import mean_and_error

# Larger differences are drawn at the edge, in nats.
_EDGE = 2.0


def differences(entries: list[dict[str, Any]]) -> list[tuple[str, str, float, float]]:
    """Return set, method, and flowkit's lead per cell: mean over common splits and its error."""
    ours = {e["set"]: dict(zip(e["splits"], e["log_cell"], strict=True)) for e in entries
            if e["method"] == OURS}  # fmt: skip
    found = []
    for entry in entries:
        pairs = zip(entry["splits"], entry["log_cell"], strict=True)
        own = ours.get(entry["set"], {})
        leads = [own[split] - score for split, score in pairs if split in own]
        if leads and entry["method"] != OURS:
            found.append((entry["set"], entry["method"], *mean_and_error(leads)))
    return found


def plot(results: dict[str, Any], path: Path) -> None:
    """Plot the differences in the score per cell, with standard errors, for all sets."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    leads = differences(results["entries"])
    names = list(dict.fromkeys(lead[0] for lead in leads))
    if not names:
        return
    figure, axes = plt.subplots(figsize=(8, 0.55 * len(names) + 1.6), layout="constrained")
    methods = [m for m in METHODS if any(lead[1] == m for lead in leads)]
    for i, method in enumerate(methods):
        rows = [lead for lead in leads if lead[1] == method]
        mean = np.clip([lead[2] for lead in rows], -_EDGE, _EDGE)
        error = np.nan_to_num([lead[3] for lead in rows], posinf=0.0)
        height = [names.index(lead[0]) + 0.6 * ((i + 0.5) / len(methods) - 0.5) for lead in rows]
        axes.errorbar(mean, height, xerr=error, fmt="o", label=method, color=f"C{i}", markersize=4)
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(-_EDGE - 0.1, _EDGE + 0.1)
    axes.set_xlabel(
        "nats per test row and cell: flowkit less the method (right: flowkit is better)"
    )
    figure.legend(loc="outside upper center", ncols=len(methods), fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)
