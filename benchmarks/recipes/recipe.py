"""What a row is, as a declaration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """One row of the papers' tables.

    Attributes:
        row: its name.
        data: name of the data, as its kind knows them.
        model: name of the model, likewise.
        published: the paper's number, None where there is none.
        options: of the model.
        training: of `flowkit.training.fit`.
        kind: name in `recipes.kinds.KINDS`: how it is trained and scored.
        section: of the report.
        conditional: whether the model is told the class.
        scale: how data are scaled before the model sees them, a linear map whose log-determinant
            counts: "" not at all, "columns" each column by its own mean and deviation, "one" by
            its mean and a deviation that is the same for all.
        differs: what is otherwise than in the paper.
        splits: number of published splits, from the first on, that the row is the mean of.
        bold: whether it is run for the committed results.
        source: of the published number.
        unit: of score and published number.
        seed: of weights and noise.
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
