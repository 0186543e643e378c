"""States of discrete columns: codes, and ranges of integers that stand for one code each."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from flowkit.tabular.discrete import DiscreteBlock
from flowkit.tabular.discrete.conditionals import IntegerConditional, StateConditional
from flowkit.tabular.discrete.ranges import log_range_mass, seen_within

_FARTHEST = 2**53
# Ranges between the ends of the smooth distribution, and how many of its scales these are out.
_RANGES, _REACH = 192, 10.0
_BEYOND = 0.5 * 1.6 ** np.arange(9)


@dataclass(frozen=True)
class States:
    """The states that an open column may be in.

    Args:
        code: the code that stands for each state, ``(B,)``.
        low: the least code of the state.
        high: the largest; the same but for ranges of integers.
        drawn: whether samples may be in the state: unseen categories and numbers are scored only.
        whole: whether these are all states that are drawn.
    """

    code: np.ndarray
    low: np.ndarray
    high: np.ndarray
    drawn: np.ndarray
    whole: bool = False

    def only_drawn(self) -> "States":
        """Return the states that are drawn."""
        at = self.drawn
        return States(self.code[at], self.low[at], self.high[at], at[at], self.whole)

    def holds(self, codes: np.ndarray) -> np.ndarray:
        """Return which codes are in one of the states."""
        if not len(self.low):
            return np.zeros(codes.shape, dtype=bool)
        at = np.searchsorted(self.low, codes, side="right") - 1
        inside: np.ndarray = (at >= 0) & (codes <= self.high[at.clip(min=0)])
        return inside


def all_states(
    block: DiscreteBlock, j: int, low: int | None = None, high: int | None = None
) -> States:
    """Return the states of a column; of integers those from ``low`` to ``high``.

    An integer of the table, or near the middle, is a state of its own. Farther out a state is a
    range of integers: it has the mass of the range, and the features of one integer in it.
    """
    conditional = cast(StateConditional | IntegerConditional, block.laws[j])
    if isinstance(conditional, StateConditional):
        code = np.arange(conditional.size + conditional.unseen)
        return States(code, code, code, code < conditional.size, True)
    starts = _starts(conditional, low, high)
    least, most = starts[:-1], starts[1:] - 1
    first, last = seen_within(conditional, least, most)
    drawn, step = first <= last, conditional.step
    middle = (first + last) // 2 // step * step
    code = np.where(drawn, np.maximum(middle, first), (least + most) // 2)
    return States(code, least, most, drawn, low is None and high is None)


def log_masses(block: DiscreteBlock, j: int, states: States, features: Tensor) -> Tensor:
    """Return the log-probability of each state given the columns before, ``(n, B)``."""
    conditional = block.laws[j]

    def of(params: Tensor | None) -> Tensor:
        if isinstance(conditional, IntegerConditional):
            return log_range_mass(conditional, states.low, states.high, params)
        assert isinstance(conditional, StateConditional)  # noqa: S101  for the type checker
        return conditional.log_probs(params)[:, states.code]

    return block.mixed(j, features, of).expand(len(features), -1)


def refined(
    block: DiscreteBlock, j: int, states: States, codes: np.ndarray, generator: torch.Generator
) -> np.ndarray:
    """Return codes ``(n,)`` with an integer that stands for a range replaced by one of the range.

    Within a range all multiples of the step are taken as equally probable.
    """
    conditional = block.laws[j]
    if not isinstance(conditional, IntegerConditional):
        return codes
    at = (np.searchsorted(states.low, codes, side="right") - 1).clip(min=0)
    first, last = seen_within(conditional, states.low[at], states.high[at])
    uniform = torch.rand(len(codes), dtype=torch.float64, generator=generator).numpy()
    number = np.floor(uniform * ((last - first) // conditional.step + 1)).astype(np.int64)
    return np.where(first < last, first + number * conditional.step, codes)


def _starts(conditional: IntegerConditional, low: int | None, high: int | None) -> np.ndarray:
    """Return the first integer of each range, and the one after the last."""
    center, scale = conditional.place.tolist()
    _, mean, log_scale = conditional.components.numpy()
    reach = _REACH * np.exp(log_scale)
    ends = float((mean - reach).min()), float((mean + reach).max())
    t = np.linspace(*ends, _RANGES + 1)
    t = np.concatenate([ends[0] - _BEYOND, t, ends[1] + _BEYOND]).clip(-37, 37)
    lines = (center + scale * np.sinh(t)).clip(-_FARTHEST, _FARTHEST)
    table = conditional.values.numpy()
    least = max(b for b in (low, conditional.lower, -_FARTHEST) if b is not None)
    most = min(b for b in (high, conditional.upper, _FARTHEST) if b is not None)
    seen = [b for b in (conditional._first,) if b is not None]
    seen += [b + 1 for b in (conditional._last,) if b is not None]
    starts = np.concatenate([np.ceil(lines).astype(np.int64), table, table + 1, seen])
    inside = starts[(starts > least) & (starts <= most)]
    return np.unique(np.concatenate([[least], inside, [most + 1]])).astype(np.int64)
