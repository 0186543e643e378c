"""Weighted codes: the discrete block given some of its codes, enumerated or drawn."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flowkit.tabular.conditioning.states import States, log_masses
from flowkit.tabular.discrete import DiscreteBlock

# Numbers of a matrix of rows and states.
_AT_ONCE = 2_000_000


class WeightedCodes(NamedTuple):
    """Codes with weights: sums over them are sums over the open codes, or unbiased estimates.

    Attributes:
        row: the row that each stands for, ascending, ``(P,)``.
        codes: ``(P, J)``.
        log_weight: ``(P,)``.
        enumerated: whether the sum is exact, ``(rows,)``.
    """

    row: np.ndarray
    codes: np.ndarray
    log_weight: np.ndarray
    enumerated: np.ndarray


def numbers_of_codes(fixed: np.ndarray, states: Sequence[States]) -> np.ndarray:
    """Return an upper bound of the number of combinations of open codes, ``(rows,)``."""
    counts = np.array([len(s.code) for s in states], dtype=np.float64)
    number: np.ndarray = np.where(fixed, 1.0, counts).prod(axis=1)
    return number


@torch.no_grad()
def weighted_codes(
    block: DiscreteBlock | None,
    codes: np.ndarray,
    fixed: np.ndarray,
    states: Sequence[States],
    generator: torch.Generator,
    *,
    most: int,
    draws: int,
) -> WeightedCodes:
    """Return the codes of rows of which some are fixed.

    Args:
        block: the discrete block; None without one.
        codes: ``(rows, J)``, or those of the first columns.
        fixed: which of them are fixed, ``(rows, J)``.
        states: of each column, the states that an open code may be in.
        generator: of the draws.
        most: largest number of combinations of open codes that are enumerated.
        draws: of more combinations, so many are drawn: one column after the other, with weights
            for the codes that are fixed.
    """
    n = len(codes)
    if block is None:
        return WeightedCodes(np.arange(n), codes, np.zeros(n), np.ones(n, dtype=bool))
    enumerated = numbers_of_codes(fixed, states) <= most
    row = np.repeat(np.arange(n), np.where(enumerated, 1, draws))
    weight = np.where(enumerated, 0.0, -np.log(draws))[row]
    found = np.where(fixed, codes, 0)[row]
    features = np.zeros((len(row), 0))
    for j, column in enumerate(block.columns[: codes.shape[1]]):
        present = column.present(found)
        known = present & fixed[row, j]
        if known.any():
            weight[known] += _log_prob(block, j, found[known, j], features[known])
        is_open = present & ~fixed[row, j]
        if states[j].whole and column.kind == "integer":
            free = is_open & ~enumerated[row]
            found[free, j] = _drawn(block, j, features[free], generator)
            is_open &= ~free
        if is_open.any():
            keep, state, gained = _opened(
                block, j, states[j], features, is_open, enumerated[row], generator
            )
            row, found, features = row[keep], found[keep], features[keep]
            weight = weight[keep] + gained
            chosen = state >= 0
            found[chosen, j] = states[j].code[state[chosen]]
            present = present[keep]
        own = block.laws[j].features(found[:, j])  # type: ignore[operator]
        own[~present] = 0.0
        features = np.concatenate([features, own], axis=1)
    return WeightedCodes(row, found, weight, enumerated)


def _log_prob(block: DiscreteBlock, j: int, codes: np.ndarray, features: np.ndarray) -> np.ndarray:
    column = torch.from_numpy(np.ascontiguousarray(codes))
    conditional = block.laws[j]

    def of(params: Tensor | None) -> Tensor:
        log_prob: Tensor = conditional.log_prob(column, params)  # type: ignore[operator]
        return log_prob

    score: np.ndarray = block.mixed(j, torch.from_numpy(features), of).numpy()
    return score


def _drawn(
    block: DiscreteBlock, j: int, features: np.ndarray, generator: torch.Generator
) -> np.ndarray:
    """Return draws of a column given the columns before; none is of an unseen number."""
    uniform = torch.rand(len(features), 4, dtype=torch.float64, generator=generator).numpy()
    return block.draw_column(j, features, uniform)


def _opened(
    block: DiscreteBlock,
    j: int,
    states: States,
    features: np.ndarray,
    is_open: np.ndarray,
    enumerated: np.ndarray,
    generator: torch.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which codes go on, in which state of the column (-1 for none), and their weights."""
    at = np.flatnonzero(is_open)
    keep = [np.flatnonzero(~is_open)]
    state, gained = [np.full(len(keep[0]), -1)], [np.zeros(len(keep[0]))]
    size = max(_AT_ONCE // max(len(states.code), 1), 1)
    for start in range(0, len(at), size):
        some = at[start : start + size]
        masses = log_masses(block, j, states, torch.from_numpy(features[some]))
        every = enumerated[some]
        index, which = np.nonzero((masses > -torch.inf).numpy() & every[:, None])
        keep.append(some[index])
        state.append(which)
        gained.append(masses.numpy()[index, which])
        drawn = np.flatnonzero(~every)
        if len(drawn):
            of_drawn = masses[drawn]
            # Where no state is possible, the weight is zero whichever is chosen.
            shares = of_drawn.clamp(min=-1e300).softmax(1)
            chosen = torch.multinomial(shares, 1, generator=generator)
            keep.append(some[drawn])
            state.append(chosen.squeeze(1).numpy())
            gained.append(of_drawn.logsumexp(1).numpy())
    kept = np.concatenate(keep)
    order = np.argsort(kept, kind="stable")
    return kept[order], np.concatenate(state)[order], np.concatenate(gained)[order]
