"""Work of a conditional: rows with their weighted codes, in parts that fit into memory."""

from typing import NamedTuple

import numpy as np
import torch

from flowkit.schema import Schema
from flowkit.tabular.conditioning.closed import Given
from flowkit.tabular.conditioning.codes import WeightedCodes, numbers_of_codes, weighted_codes
from flowkit.tabular.conditioning.evidence import Evidence
from flowkit.tabular.discrete import DiscreteBlock
from flowkit.tabular.parts import context_of

# Combinations of open codes that are enumerated; of more, at most so many are drawn.
_MOST_CODES, _CODES_DRAWN = 4_096, 8_192
# Codes and draws of the rows that are treated at once.
_AT_ONCE = 200_000


class Work(NamedTuple):
    """Rows with their weighted codes.

    Attributes:
        weighted: the codes, P in all.
        given: what is given of the continuous columns of each, ``(P, d)``.
        present: which values are present, ``(P, d)``.
        hidden: which of them are open, ``(P, d)``.
    """

    weighted: WeightedCodes
    given: Given
    present: np.ndarray
    hidden: np.ndarray

    def of_rows(self, rows: np.ndarray) -> "Work":
        """Return some of the rows, by mask; they are numbered anew."""
        w, place = self.weighted, np.cumsum(rows) - 1
        kept = rows[w.row]
        some = WeightedCodes(
            place[w.row[kept]], w.codes[kept], w.log_weight[kept], w.enumerated[rows]
        )
        return Work(some, self.given.take(kept), self.present[kept], self.hidden[kept])


def parts_of(evidence: Evidence, draws: int) -> list[Evidence]:
    """Return the rows in parts of about as many codes and draws.

    Args:
        evidence: the rows.
        draws: number of draws of each row.
    """
    number = numbers_of_codes(evidence.fixed, evidence.states)
    number = np.where(number > _MOST_CODES, min(draws, _CODES_DRAWN), number) + draws
    part = (np.cumsum(number) // _AT_ONCE).astype(np.int64)
    starts = np.flatnonzero(np.diff(part, prepend=-1))
    ends = np.append(starts[1:], len(part))
    return [evidence.take(slice(a, b)) for a, b in zip(starts, ends, strict=True)]


def codes_of(
    discrete: DiscreteBlock | None,
    evidence: Evidence,
    draws: int,
    generator: torch.Generator,
    columns: int | None = None,
) -> WeightedCodes:
    """Return the weighted codes of rows, or those of the first columns.

    Args:
        discrete: the discrete block; None without one.
        evidence: the rows.
        draws: number of draws of each row, where there are too many codes.
        generator: of the draws.
        columns: number of columns; None for all.
    """
    return weighted_codes(
        discrete,
        evidence.codes[:, :columns],
        evidence.fixed[:, :columns],
        evidence.states[:columns],
        generator,
        most=_MOST_CODES,
        draws=min(draws, _CODES_DRAWN),
    )


def work_of(
    schema: Schema,
    discrete: DiscreteBlock | None,
    evidence: Evidence,
    draws: int,
    generator: torch.Generator,
) -> Work:
    """Return rows with their weighted codes."""
    weighted = codes_of(discrete, evidence, draws, generator)
    present = schema.values_present(weighted.codes)
    values = evidence.values[weighted.row]
    hidden = present & np.isnan(values)
    low, high = (np.where(hidden, end, np.nan) for end in (evidence.low, evidence.high))
    given = Given(values, low, high, context_of(discrete, weighted.codes))
    return Work(weighted, given, present, hidden)
