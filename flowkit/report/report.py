"""Report of a density on held-out rows, as HTML and JSON."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from flowkit._atomic import write_atomically
from flowkit.errors import DataError
from flowkit.report.analysis import analyse
from flowkit.report.conditional import analyse_conditional, conditional_page
from flowkit.report.page import page
from flowkit.tabular import FlowDensity
from flowkit.tabular.conditional import ConditionalFlowDensity


class Report:
    """Results of `make_report` or `make_conditional_report`.

    Attributes:
        document: all numbers, as a JSON document; None for numbers that are not finite.
    """

    def __init__(self, document: dict[str, Any], page_of: Callable[[], str]) -> None:
        self.document, self._page_of = document, page_of

    def to_html(self) -> str:
        """Return one self-contained HTML page."""
        return self._page_of()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the HTML page, and the document with suffix ``.json``; return the JSON path.

        Raises:
            DataError: a file cannot be written.
        """
        target = Path(path)
        twin = target.with_suffix(".json")
        try:
            write_atomically(target, [self.to_html().encode()])
            text = json.dumps(self.document, indent=1, allow_nan=False)
            write_atomically(twin, [text.encode() + b"\n"])
        except OSError as error:
            raise DataError("out", "a path that can be written", f"{target}: {error}") from error
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
    """Evaluate a density on held-out rows.

    The report contains log-likelihoods of the density and of baselines, calibration of columns and
    of the joint density, and comparisons of data and samples. Further sections are a classifier
    two-sample test, memorisation, and the rows of lowest density with the responsible columns.
    Numbers have standard errors or intervals by chance. The page needs matplotlib (extra
    ``report``).

    Args:
        density: a fitted density.
        held_out: a table of held-out rows, at least two.
        training: the table of the fit. Without this table, baselines and memorisation are omitted.
        seed: random seed of samples, ties and folds.
        title: title of the page.
        numbers: row numbers of ``held_out``, ``(n,)``; by default counted from 0.
        training_numbers: row numbers of ``training``.
        notes: sentences at the top of the page.

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
    return Report(analysis.document, lambda: page(analysis, title))


def make_conditional_report(
    model: ConditionalFlowDensity,
    held_out: Any,
    training: Any = None,
    *,
    seed: int = 0,
    title: str = "Report of a conditional density",
    numbers: np.ndarray | None = None,
    notes: tuple[str, ...] = (),
) -> Report:
    """Evaluate the density of a target given features on held-out rows.

    The report contains log-likelihoods, calibration in groups by each feature, and the rows of
    lowest density with a reason. Of numbers and dates it has CRPS, intervals and the probability
    integral transform, of categories log-loss and reliability. Of angles it has likelihoods and
    rows alone. The page needs matplotlib (extra ``report``).

    Args:
        model: fitted with ``target=...``, of one target.
        held_out: a table with features and target, at least two rows of it with a target. Rows
            without one are left out.
        training: the table of the fit. Without this table, the forecast without features is made
            of the held-out rows.
        seed: random seed of draws, jumps of distribution functions, and bands.
        title: title of the page.
        numbers: row numbers of ``held_out``, ``(n,)``; by default counted from 0.
        notes: sentences at the top of the page.

    Raises:
        ArgumentError: several targets, or a model that was fitted to features and target apart.
        DataError: a table does not fit the model; column and row are named.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(90, 2))
        >>> model = ConditionalFlowDensity(target="x1", random_state=0).fit(x[:60])
        >>> report = make_conditional_report(model, x[60:], x[:60])
        >>> [entry["level"] for entry in report.document["intervals"]]
        [0.5, 0.8, 0.9, 0.95]
    """
    analysis = analyse_conditional(
        model, held_out, training, seed=seed, numbers=numbers, notes=notes
    )
    return Report(analysis.document, lambda: conditional_page(analysis, title))
