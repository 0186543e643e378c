"""Results of a row."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Measured:
    """The scores of a row.

    Attributes:
        scores: one per test row, or per repetition, ``(n,)``; the number of the row is the mean.
        notes: further results as a JSON document: "minutes" of two cores, a curve, ...
        part: the part of the original data.
        detail: further numbers as text of the table.
        extra: further numbers of the entry of the row.
    """

    scores: Tensor
    notes: Mapping[str, Any] = field(default_factory=dict)
    part: str = ""
    detail: str = ""
    extra: Mapping[str, float] = field(default_factory=dict)
