"""Declaration of a row."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """One row of the papers' tables.

    Attributes:
        row: name of the row.
        data: name of the data, an argument of the kind.
        model: name of the model, an argument of the kind.
        published: number of the paper, None if there is none.
        options: options of the model.
        training: options of `flowkit.training.fit`.
        kind: name in `recipes.kinds.KINDS` of the function that trains and scores the row.
        section: section of the report.
        conditional: whether the class is the context of the model.
        scale: linear scaling of the data, with log-determinant: "" for none; "columns" by mean and
            standard deviation of each column; "one" by the mean of each column and one deviation.
        differs: differences from the paper.
        splits: number of published splits, from the first on, whose scores are averaged.
        bold: whether the row is part of the committed results.
        source: source of the published number.
        unit: unit of score and published number.
        seed: seed of weights and noise.
    """

    row: str
    data: str
    model: str
    published: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "flow"
    section: str = "Densities"
    conditional: bool = False
    scale: str = ""
    differs: str = ""
    splits: int = 1
    bold: bool = False
    source: str = "MAF, table 1 and 2"
    unit: str = "nats"
    seed: int = 0
