"""Standardisation of flows: rows and contexts scaled by the moments of training rows."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from flowkit._checks import check_finite_entries
from flowkit._training_mode import evaluating
from flowkit.distributions.flow import Flow
from flowkit.distributions.foreign import Foreign
from flowkit.distributions.joint import JointBase
from flowkit.distributions.mixtures import MixtureOfFlows
from flowkit.distributions.placement import StandardizedEmbedding, has_data, place, unplace
from flowkit.distributions.standard import BoxUniform
from flowkit.distributions.torch import TorchBase
from flowkit.transforms import (
    BatchNorm,
    Chain,
    Circular,
    Columns,
    Coupling,
    Elementwise,
    Identity,
    Inverse,
    MaskedAutoregressive,
    Permutation,
    RationalQuadraticSpline,
    Standardize,
    Transform,
)
from flowkit.transforms.standardize import leading, mean_and_scale
from flowkit.transforms.support import Support

# Columns this near to mean 0 and standard deviation 1 are not scaled at all.
_NEAR_MEAN, _NEAR_STD = 0.1, (0.9, 1.1)
_SCORED_ROWS = 10_000  # most rows in the comparison of the density before and after
_ROUNDING = 1e-3  # nats

# Layers that keep each feature in its place.
_IN_PLACE = (BatchNorm, Coupling, Elementwise, Identity, MaskedAutoregressive, Standardize)


def standardize(
    model: nn.Module,
    x: Tensor,
    context: Tensor | None = None,
    *,
    weights: Tensor | None = None,
    force: bool = False,
) -> bool:
    """Put a `Standardize` of the rows, and one of the contexts, at the start of a flow.

    `flowkit.training.fit` calls this with the training rows. The map of the rows comes after maps
    of supports and before the first layer with parameters. The log-determinant includes this map.
    Nothing changes

    - for columns whose mean and standard deviation are within a tenth of 0 and 1,
    - for columns on a circle, or bounded by the base,
    - if there is a `Standardize` at the start already,
    - if the maps decrease the density of the rows, for example after training on unscaled rows.

    Args:
        model: a `Flow`, or a `MixtureOfFlows`, whose flows are standardised. Other models, and
            flows with transforms of other libraries, are not changed.
        x: training rows, ``(n, features)``; moments are computed in float64.
        context: ``(n, context_features)`` for a conditional flow. Contexts of a frozen embedding,
            and contexts other than vectors of floats, are not standardised.
        weights: weights of the rows, ``(n,)``; rows of weight 0 may contain any values.
        force: whether to place the maps even if they decrease the density.

    Returns:
        Whether any map was placed.

    Raises:
        DataError: an entry is NaN or infinite; the message names row and column.

    Example:
        >>> from flowkit.flows import maf
        >>> flow, x = maf(2), 1e6 + 1e4 * torch.randn(500, 2)
        >>> standardize(flow, x)
        True
        >>> flow.log_prob(x).mean().item() > -25
        True
    """
    flows = [*flows_of(model)]
    if not flows:
        return False
    for name, rows in (("data", x), ("context", context)):
        if rows is not None and rows.is_floating_point():
            check_finite_entries(name, rows, weights)
    maps = [(flow, *_maps(flow, x, context, weights)) for flow in flows]
    maps = [m for m in maps if m[1] is not None or m[2] is not None]
    before = 0.0 if force or not maps else _loss(model, x, context, weights)
    for flow, data, of_context in maps:
        place(flow, data, of_context)
    if not force and maps:
        after = _loss(model, x, context, weights)
        if not math.isfinite(after) or after > before + _ROUNDING:
            for flow, data, of_context in maps:
                unplace(flow, data=data is not None, context=of_context is not None)
            return False
    return bool(maps)


def flows_of(model: nn.Module) -> Iterator[Flow]:
    """Yield the flows of a model whose inputs are the rows themselves, for `standardize`."""
    if isinstance(model, MixtureOfFlows):
        for part in model.flows:
            yield from flows_of(part)
    elif isinstance(model, Flow) and not any(isinstance(m, Foreign) for m in model.modules()):
        yield model


def _maps(
    flow: Flow, x: Tensor, context: Tensor | None, weights: Tensor | None
) -> tuple[Standardize | None, Standardize | None]:
    """Return the missing maps of a flow: of its rows and of its context."""
    like = next(flow.parameters(), x)
    fixed, others = leading(flow.transform)
    data = None
    is_new = not _has_standardize(fixed)
    if is_new and x.is_floating_point() and x.shape[1:] == flow.event_shape[:1]:
        for layer in fixed:
            x, _ = layer(x.to(like.device))
        kept = _kept(others, flow.base, flow.features)
        data = _map(x, weights, kept, like)
    embedding = flow.embedding
    if (
        context is None
        or not context.is_floating_point()
        or context.dim() != 2
        or (embedding is None and context.shape[1] != flow.context_features)
        or isinstance(embedding, Standardize | StandardizedEmbedding)
        or has_data(flow)
        or _is_frozen(embedding)
    ):
        return data, None
    return data, _map(context, weights, set(), like)


def _map(rows: Tensor, weights: Tensor | None, kept: set[int], like: Tensor) -> Standardize | None:
    """Return the map of rows ``(n, D)``, or None if this map is the identity."""
    rows = rows.cpu() if rows.device.type == "mps" else rows  # mps has no float64
    mean, std = mean_and_scale(rows, None if weights is None else weights.to(rows.device))
    low, high = _NEAR_STD
    unchanged = (mean.abs() <= _NEAR_MEAN) & (std >= low) & (std <= high)
    unchanged[list(kept)] = True
    if unchanged.all():
        return None
    mean = torch.where(unchanged, 0.0, mean).to(like)
    std = torch.where(unchanged, 1.0, std).to(like)
    return Standardize(mean, torch.where((std > 0) & std.isfinite(), std, 1.0))


def _has_standardize(fixed: Sequence[Transform]) -> bool:
    """Return whether there is a `Standardize` among the maps at the start."""
    return any(isinstance(module, Standardize) for layer in fixed for module in layer.modules())


def _is_frozen(embedding: nn.Module | None) -> bool:
    """Return whether an embedding has parameters, none of which is trained."""
    parameters = [] if embedding is None else [*embedding.parameters()]
    return bool(parameters) and not any(p.requires_grad for p in parameters)


def some(
    model: nn.Module, x: Tensor, context: Tensor | None, weights: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return at most 10,000 rows, evenly spread, on the model's device and in its dtype."""
    like, every = next(model.parameters(), x), 1 + (len(x) - 1) // _SCORED_ROWS

    def of(rows: Tensor | None) -> Tensor | None:
        if rows is None or not rows.is_floating_point():
            return None if rows is None else rows[::every].to(like.device)
        return rows[::every].to(like)

    return cast(Tensor, of(x)), of(context), of(weights)


@torch.no_grad()
def log_prob_of(model: nn.Module, x: Tensor, context: Tensor | None) -> Tensor:
    """Return the log-density of rows in ``eval`` mode, in float64."""
    with evaluating(model):
        contexts = () if context is None else (context,)
        values: Tensor = cast(Any, model).log_prob(x, *contexts)
    return values.double()


def _loss(model: nn.Module, x: Tensor, context: Tensor | None, weights: Tensor | None) -> float:
    """Return the mean negative log-density of some of the rows, in nats."""
    x, context, weights = some(model, x, context, weights)
    values = -log_prob_of(model, x, context)
    if weights is None:
        return values.mean().item()
    return (torch.where(weights > 0, weights * values, 0.0).sum() / weights.sum()).item()


def _kept(layers: Sequence[Transform], base: nn.Module, features: int) -> set[int]:
    """Return the columns that must keep their units: on a circle, in a support, or in a box."""
    kept: set[int | None] = set()
    at: list[int | None] = [*range(features)]
    for layer in layers:
        at = _follow(layer, at, kept)
    _bounded(base, at, kept)
    # If a combination of columns is bounded, every column counts as bounded.
    return set(range(features)) if None in kept else {c for c in kept if c is not None}


def _follow(
    layer: nn.Module, at: list[int | None], kept: set[int | None], *, inverse: bool = False
) -> list[int | None]:
    """Return the column at each place after a layer, or None where several are combined."""
    if isinstance(layer, Inverse):
        return _follow(layer.transform, at, kept, inverse=not inverse)
    if isinstance(layer, Chain):
        for member in [*layer.transforms][:: -1 if inverse else 1]:
            at = _follow(member, at, kept, inverse=inverse)
        return at
    if isinstance(layer, Columns):
        result = at.copy()
        for group, part in zip(layer.groups, layer.transforms, strict=True):
            after = _follow(part, [at[c] for c in group], kept, inverse=inverse)
            for place_, column in zip(group, after, strict=True):
                result[place_] = column
        return result
    if isinstance(layer, Permutation):
        order = layer.inverse_order if inverse else layer.order
        return [at[i] for i in order.tolist()]
    if isinstance(layer, Support | Circular):
        kept.update(at)
        return at
    if not isinstance(layer, _IN_PLACE):
        return [None] * len(at)
    univariate = getattr(layer, "univariate", None)
    if isinstance(univariate, RationalQuadraticSpline):
        places = layer.transformed.tolist() if isinstance(layer, Coupling) else range(len(at))
        tails = univariate.tails
        for i, j in enumerate(places):
            if (tails if isinstance(tails, str) else tails[i]) == "circular":
                kept.add(at[j])
    return at


def _bounded(base: nn.Module, at: list[int | None], kept: set[int | None]) -> None:
    """Add the columns with a bounded base."""
    if isinstance(base, BoxUniform):
        kept.update(at)
    elif isinstance(base, TorchBase):
        if not base.is_unbounded:
            kept.update(at)
    elif isinstance(base, JointBase):
        for group, part in zip(base.groups, base.bases, strict=True):
            _bounded(part, [at[c] for c in group], kept)
    elif isinstance(base, MixtureOfFlows):
        for part in base.flows:
            _bounded(part, at, kept)
    elif isinstance(base, Flow):
        _bounded(base.base, _follow(base.transform, at, kept), kept)
