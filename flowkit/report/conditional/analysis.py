"""Analysis of a conditional density: all numbers of its report, as one JSON document."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from flowkit.metrics import Uniformity, mean, uniformity
from flowkit.report.analysis import curve_entry, mean_entry, strict
from flowkit.report.conditional.categorical import CategoricalRows, codes_of
from flowkit.report.conditional.features import by_feature
from flowkit.report.conditional.numeric import BAND, NumericRows, target_numbers
from flowkit.report.conditional.rows import chosen_rows, in_parts, some_rows, target_of
from flowkit.report.conditional.worst_rows import worst_rows
from flowkit.schema.frames import length
from flowkit.tabular.conditional import ConditionalFlowDensity


@dataclass(frozen=True)
class ConditionalAnalysis:
    """The numbers of a report on a conditional density, and what its figures are drawn from.

    Attributes:
        document: all numbers, as a JSON document.
        rows: the evaluated rows; None for angles, which have no order.
        pit: the distribution of the probability integral transforms of a target with an order.
    """

    document: dict[str, Any]
    rows: NumericRows | CategoricalRows | None
    pit: Uniformity | None


def analyse_conditional(
    model: ConditionalFlowDensity,
    held_out: Any,
    training: Any = None,
    *,
    seed: int = 0,
    numbers: np.ndarray | None = None,
    notes: tuple[str, ...] = (),
) -> ConditionalAnalysis:
    """Compare a conditional density with rows; arguments as of `make_conditional_report`."""
    column, all_notes = target_of(model), list(notes)
    held_out, chosen = chosen_rows(column, held_out, seed, "held-out", all_notes)
    row_numbers = chosen if numbers is None else numbers[chosen]
    log_density = in_parts(model.score_samples, held_out)
    flowkit, reference = mean_entry(mean(log_density)), held_out
    if training is not None:
        reference, _ = chosen_rows(column, training, seed, "training", all_notes)
        flowkit["training_rows"] = mean_entry(mean(in_parts(model.score_samples, reference)))
    likelihood = {"flowkit": flowkit, "measure": model.measure_[column.name]}
    document: dict[str, Any] = {
        "report": 1,
        "kind": "conditional",
        "target": {
            "name": column.name,
            "kind": column.kind,
            "unit": "days" if column.kind == "datetime" else None,
        },
        "rows": {
            "held_out": len(log_density),
            "training": None if training is None else length(reference),
            "fitted": model.run_.get("rows"),
        },
        "notes": all_notes,
        "likelihood": likelihood,
    }
    rows: NumericRows | CategoricalRows | None = None
    pit, evaluated = None, held_out
    if column.kind == "categorical":
        rows = CategoricalRows.of(model, held_out)
        document |= rows.document(log_density, codes_of(model, reference))
    elif column.kind == "circular":
        document["mean_cosine"] = model.score(held_out)
    else:
        evaluated = some_rows(held_out, seed, all_notes)
        rows = NumericRows.of(model, evaluated, seed)
        pit = uniformity(rows.pit, None, level=BAND, seed=seed)
        document |= rows.document(target_numbers(model, reference)) | {"pit": curve_entry(pit)}
        if column.is_continuous and column.step is not None:
            step = column.step
            cells = in_parts(lambda t: model.log_mass(t, width=step), held_out)
            likelihood["per_cell"] = {"step": step} | mean_entry(mean(cells))
    document |= {
        "features": [] if rows is None else by_feature(model.features_, evaluated, rows),
        "worst": worst_rows(model, held_out, log_density, row_numbers, rows),
        "members": model.members_,
        "schema": {"columns": [c.to_dict() for c in (*model.features_.columns, column)]},
        "run": model.run_,
        "seed": seed,
    }
    return ConditionalAnalysis(strict(document), rows, pit)
