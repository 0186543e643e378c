"""What measuring a row brings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Measured:
    """The scores of a row.

    Attributes:
        scores: one per test row, or per repetition, ``(n,)``; their mean is the row's number.
        notes: what is kept beside them, ready for JSON: "minutes" of two cores, a curve, ...
        part: what part of the original the data are.
        detail: further numbers, in words, for the table.
        extra: further numbers for the row's own entry.
    """

    scores: Tensor
    notes: Mapping[str, Any] = field(default_factory=dict)
    part: str = ""
    detail: str = ""
    extra: Mapping[str, float] = field(default_factory=dict)
