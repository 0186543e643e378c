"""Masses of ranges of integers under their conditional distribution."""

import numpy as np
import torch
from torch import Tensor

from flowkit.distributions.logistic import log_logistic_mass
from flowkit.schema.unseen import log_mass, tail
from flowkit.tabular.discrete.conditionals import IntegerConditional


def log_range_mass(
    conditional: IntegerConditional, low: np.ndarray, high: np.ndarray, params: Tensor | None
) -> Tensor:
    """Return the log-probabilities of ranges of integers, ends included, ``(n, B)``.

    Args:
        conditional: the distribution.
        low: least integers of the ranges, ``(B,)``.
        high: largest integers, ``(B,)``.
        params: outputs of the network, ``(n, P)``; None for ``n = 1`` without a network.
    """
    logits, components = conditional._adjusted(params)
    shares = logits.log_softmax(-1).reshape(-1, conditional.table + 1)
    values = conditional.values.numpy()[:, None]
    inside = torch.from_numpy(((values >= low) & (values <= high)).astype(np.float64))
    in_table = (shares[:, :-1].exp() @ inside).log()
    seen = torch.logaddexp(in_table, shares[:, -1:] + _smooth(conditional, low, high, components))
    if conditional._all_seen:
        return seen
    unseen = conditional.log_unseen + torch.from_numpy(_broad(conditional, low, high))
    return torch.logaddexp(seen + torch.log1p(-conditional.log_unseen.exp()), unseen)


def seen_within(
    conditional: IntegerConditional, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and largest integers of each range that are drawn, ``(B,)`` both.

    The first is above the second if there is none.
    """
    step = conditional.step
    first, last = -(-low // step) * step, high // step * step
    if conditional._first is not None:
        first = np.maximum(first, conditional._first)
    if conditional._last is not None:
        last = np.minimum(last, conditional._last)
    return first, last


def _smooth(
    conditional: IntegerConditional,
    low: np.ndarray,
    high: np.ndarray,
    components: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    weight, mean, log_scale = (part.reshape(-1, 1, part.shape[-1]) for part in components)
    first, last = seen_within(conditional, low, high)
    center, scale = conditional.place.tolist()
    half = 0.5 * conditional.step
    a, b = (
        ((torch.from_numpy(np.arcsinh((end - center) / scale))[:, None] - mean) / log_scale.exp())
        for end in (first - half, last + half)
    )
    at_lower, at_upper = (
        torch.from_numpy(np.full(len(low), False) if bound is None else end == bound)[:, None]
        for end, bound in ((first, conditional._first), (last, conditional._last))
    )
    inner = log_logistic_mass(a, b, (b - a).clamp(min=1e-300), at_lower, at_upper)
    inner = torch.where(at_lower & at_upper, 0.0, inner)
    total = (weight + inner).logsumexp(-1)
    return torch.where(torch.from_numpy(first > last), -torch.inf, total)


def _broad(conditional: IntegerConditional, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the log-probabilities of ranges among unseen integers, ``(B,)``."""
    center, scale = conditional.broad.tolist()
    a, b = (low - 0.5 - center) / scale, (high + 0.5 - center) / scale
    lower, upper = conditional.lower, conditional.upper
    if lower is not None:
        a = np.where(low <= lower, -np.inf, a)
    if upper is not None:
        b = np.where(high >= upper, np.inf, b)
    flip = a + b > 0
    near, far = np.where(flip, -b, a), np.where(flip, -a, b)
    with np.errstate(divide="ignore", invalid="ignore"):
        mass = np.log(np.maximum(_below(far) - _below(near), 0.0))
    single = low == high
    mass[single] = log_mass(low[single], center, scale, lower, upper)
    return np.asarray(mass)


def _below(u: np.ndarray) -> np.ndarray:
    below: np.ndarray = tail(-u.clip(-1e150, 1e150))
    return below
