"""Reversible moves: an exact test of draws against their density, in any dimension.

A move maps draws ``y`` to ``Sy`` so that ``S`` undoes itself and preserves volume. If ``y`` follows
``p``, then of the unordered pair ``{y, Sy}`` the one that was drawn is ``y`` with probability
``p(y) / (p(y) + p(Sy))``, the acceptance probability of Barker. Each pair is thus a coin of known
bias. For any ``g`` with ``g(Sy) = -g(y)``, the sum of ``P(Sy | pair) g(y)`` over
independent pairs has mean 0 and variance ``sum of P(y | pair) P(Sy | pair) g(y)^2``. Bernstein's
inequality bounds its tail, so the false-alarm rate holds for any number of draws.

Reference: Barker, *Monte Carlo calculations of the radial distribution functions for a
proton-electron plasma*, 1965.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Most pairs of features whose products are used; beyond, as many random pairs.
_PAIRS = 28

Score = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Space:
    """The space of rows.

    Args:
        groups: features that are exchanged together, one group per column.
        levels: number of values 0, 1, ... of each feature; None if the values are not finite sets.
        whole: which features are integers, ``(D,)``.
        periods: length of the circle of each circular feature, whose values are within half the
            length.
    """

    groups: Sequence[Sequence[int]]
    levels: int | None
    whole: Tensor
    periods: Mapping[int, float]


def move_tests(
    rows: Tensor, log_prob: Score, space: Space, generator: torch.Generator
) -> dict[str, list[float]]:
    """Return p-values by name of the move, for ``rows (n, m, D)`` drawn for m contexts.

    Args:
        rows: independent draws along the first dimension.
        log_prob: from ``(k, m, D)`` to ``(k, m)``.
        space: the space of rows, which determines the possible moves.
        generator: source of the moves' noise.
    """
    features, zero = _Features(rows, generator), torch.zeros(())
    p_values: dict[str, list[float]] = {}
    for name, (before, after) in _moves(rows, space, features.scale, generator):
        pairs = [*zip(after, before, strict=True)]
        difference = sum((log_prob(a) - log_prob(b) for a, b in pairs), start=zero)
        change = sum((features(a) - features(b) for a, b in pairs), start=zero)
        p_values[name] = _p_values(difference, change)
    return p_values


def _p_values(difference: Tensor, change: Tensor) -> list[float]:
    """Return the p-value of each statistic.

    Args:
        difference: ``log p(Sy) - log p(y)``, ``(k, m)``.
        change: antisymmetric statistics ``g(y)``, ``(k, m, s)``.
    """
    difference = difference.double().flatten()
    change = change.double().flatten(0, 1)
    change = torch.cat([torch.tanh(difference / 2).unsqueeze(-1), change], -1)
    # P(Sy | pair) and P(y | pair), (k m, 1)
    p_image, p_draw = difference.sigmoid().unsqueeze(-1), (-difference).sigmoid().unsqueeze(-1)
    deviation = (p_image * change).sum(0).abs()
    variance = (p_image * p_draw * change**2).sum(0)
    # A pair with one side of density 0 is not random.
    is_random = p_image * p_draw > 0
    largest = (torch.maximum(p_image, p_draw) * change.abs() * is_random).amax(0)
    exponent = 0.5 * deviation**2 / (variance + largest * deviation / 3).clamp(min=1e-300)
    p_values = (2 * torch.exp(-exponent)).clamp(max=1.0)
    return p_values[variance > 0].tolist()


class _Features:
    """Bounded functions of a row: each feature, its square, and products of features.

    Places and scales are medians and quartiles of the draws. The test needs only that both are the
    same for the two sides of a pair.
    """

    def __init__(self, rows: Tensor, generator: torch.Generator) -> None:
        flat = rows.flatten(0, 1).double()
        self.place = flat.nanmedian(0).values.nan_to_num(0.0)
        spread = (flat - self.place).abs().nanmedian(0).values.nan_to_num(0.0)
        spread = torch.where(spread > 0, spread, _deviation(flat - self.place))
        self.scale = 1.5 * torch.where(spread > 0, spread, 1.0)
        d = rows.shape[-1]
        pairs = torch.combinations(torch.arange(d))
        if len(pairs) > _PAIRS:
            pairs = pairs[torch.randperm(len(pairs), generator=generator)[:_PAIRS]]
        self.pairs = pairs

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the functions of rows ``(k, m, D)``, ``(k, m, s)``."""
        u = torch.tanh((rows.double() - self.place) / self.scale).nan_to_num(0.0)
        products = u[..., self.pairs[:, 0]] * u[..., self.pairs[:, 1]]
        return torch.cat([u, u * u, products], -1)


def _deviation(centred: Tensor) -> Tensor:
    return centred.nan_to_num(0.0).square().mean(0).sqrt()


Pairs = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]


def _moves(
    rows: Tensor, space: Space, scale: Tensor, generator: torch.Generator
) -> Iterator[tuple[str, Pairs]]:
    """Yield the name of each move, rows, and the images of the rows."""
    half = len(rows) // 2
    a, b = rows[:half], rows[half : 2 * half]
    if len(space.groups) > 1:
        for name, share in (("exchange of one column", 0.0), ("exchange of half the columns", 0.5)):
            chosen = _chosen_groups(a, space.groups, share, generator)
            swapped = torch.where(chosen, b, a), torch.where(chosen, a, b)
            yield name, ((a, b), swapped)
    if space.levels is not None:
        step = _noise(rows, generator).mul(space.levels - 1).floor() + 1
        image = torch.remainder(rows + step, space.levels)
        yield "another level", ((rows,), (_in_one(rows, image, generator),))
        return
    if space.whole.any():
        step = torch.where(_noise(rows, generator) < 0.5, -1.0, 1.0).to(rows.dtype)
        image = torch.where(space.whole, rows + step, rows)
        yield "a step of one", ((rows,), (_in_one(rows, image, generator),))
    third = len(rows) // 3
    x, y, z = rows[:third], rows[third : 2 * third], rows[2 * third : 3 * third]
    step = torch.where((y - z).isnan(), 0.0, y - z)
    image = _wrapped(x + step, space)
    yield "a step from one draw to another", ((x,), (image,))
    yield "the same in one feature", ((x,), (_in_one(x, image, generator),))
    if space.whole.all():
        return
    widths = torch.where(space.whole, 0.0, scale).to(rows.dtype)
    for size in (0.3, 1.5):
        image = _wrapped(rows + size * widths * _normal(rows, generator), space)
        yield f"noise of {size} in one feature", ((rows,), (_in_one(rows, image, generator),))
    image = _wrapped(rows + widths / rows.shape[-1] ** 0.5 * _normal(rows, generator), space)
    yield "noise in all features", ((rows,), (image,))


def _normal(rows: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(rows.shape, generator=generator, dtype=rows.dtype)


def _noise(rows: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(rows.shape, generator=generator, dtype=rows.dtype)


def _in_one(rows: Tensor, image: Tensor, generator: torch.Generator) -> Tensor:
    """Return rows in which one random feature is replaced by that of the image."""
    feature = torch.randint(rows.shape[-1], (*rows.shape[:-1], 1), generator=generator)
    return torch.where(torch.arange(rows.shape[-1]) == feature, image, rows)


def _chosen_groups(
    rows: Tensor, groups: Sequence[Sequence[int]], share: float, generator: torch.Generator
) -> Tensor:
    """Return which features are exchanged, ``(k, m, D)``: one group of each row, or a share."""
    shape = (*rows.shape[:-1], len(groups))
    draw = torch.rand(shape, generator=generator)
    by_group = draw < share if share else draw == draw.amax(-1, keepdim=True)
    group_of = torch.zeros(rows.shape[-1], dtype=torch.long)
    for i, group in enumerate(groups):
        group_of[list(group)] = i
    return by_group[..., group_of]


def _wrapped(rows: Tensor, space: Space) -> Tensor:
    if not space.periods:
        return rows
    period = torch.full((rows.shape[-1],), math.inf, dtype=rows.dtype)
    for feature, length in space.periods.items():
        period[feature] = length
    around = torch.remainder(rows + period / 2, period) - period / 2
    return torch.where(period.isfinite(), around, rows)
