"""`make_report`: hold a density against rows that it has not seen."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from flowkit._atomic import write_atomically
from flowkit.errors import DataError
from flowkit.report.analysis import Analysis, analyse
from flowkit.report.page import page
from flowkit.tabular import FlowDensity


class Report:
    """What was found; see `make_report`.

    Attributes:
        document: every number, ready for JSON; None stands for what is not finite.
    """

    def __init__(self, analysis: Analysis, title: str) -> None:
        self._analysis, self._title = analysis, title
        self.document: dict[str, Any] = analysis.document

    def to_html(self) -> str:
        """Return one self-contained page."""
        return page(self._analysis, self._title)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, and beside it the document as ``.json``; return the latter's path.

        Raises:
            DataError: they cannot be written.
        """
        target = Path(path)
        twin = target.with_suffix(".json")
        try:
            write_atomically(target, [self.to_html().encode()])
            text = json.dumps(self.document, indent=1, allow_nan=False)
            write_atomically(twin, [text.encode() + b"\n"])
        except OSError as error:
            raise DataError("out", "a place to write to", f"{target}: {error}") from error
        return twin


def make_report(
    density: FlowDensity,
    held_out: Any,
    training: Any = None,
    *,
    seed: int = 0,
    title: str = "Density report",
    numbers: np.ndarray | None = None,
    training_numbers: np.ndarray | None = None,
    notes: tuple[str, ...] = (),
) -> Report:
    """Hold a density against rows that it has not seen.

    Log-likelihood beside a Gaussian, a mixture and independent columns; calibration of each column
    and of the whole; data beside samples; a classifier between the two; memorisation; the least
    likely rows and the column to blame. Each number comes with its standard error, or with the
    interval in which it lies by chance. Needs matplotlib (extra ``report``) for the page.

    Args:
        density: fitted.
        held_out: a table of rows that it was not fitted to, at least two.
        training: the table that it was fitted to; without, there are no baselines, and nothing
            is said of memorisation.
        seed: of samples, ties and folds.
        title: of the page.
        numbers: of the rows of ``held_out``, ``(n,)``, by which they are called; counted from 0.
        training_numbers: of those of ``training``.
        notes: what else the page should say, first thing.

    Raises:
        DataError: a table does not fit the density's schema; column and row are named.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(90, 2))
        >>> density = FlowDensity(random_state=0).fit(rows[:60])
        >>> report = make_report(density, rows[60:], rows[:60])
        >>> sorted(report.document["likelihood"])
        ['Gaussian', 'Gaussian mixture', 'flowkit', 'independent columns']
    """
    analysis = analyse(
        density,
        held_out,
        training,
        seed=seed,
        numbers=numbers,
        training_numbers=training_numbers,
        notes=notes,
    )
    return Report(analysis, title)
