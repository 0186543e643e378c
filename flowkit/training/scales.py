"""Scales of rows that a fit cannot use.

A row may lie outside the box of a spline, outside the support of a base, or be too large.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from flowkit.distributions.placement import has_context, has_data
from flowkit.distributions.standardization import flows_of, log_prob_of, some
from flowkit.training.rows import Batch
from flowkit.transforms import Coupling, Inverse, RationalQuadraticSpline

# Limits of a warning: the share of rows outside of a box; or their cost under a normal base, whose
# density is far too low there, in nats in the mean over all rows.
_SHARE, _NATS = 1e-2, 0.1
_NAMED = 3  # features in one warning
_LARGE = 1e3  # scale from which on it may be the cause of a loss that is not finite


@torch.no_grad()
def warn_of_rows_outside(model: nn.Module, batch: Batch) -> None:
    """Warn of features with rows outside of the box of the first spline that transforms them.

    A spline is the identity there. So a normal base gives such rows far too small a density. With
    circular tails, no row should be outside.

    Args:
        model: a flow, or a mixture of flows; other models have no such warning.
        batch: rows to train on.
    """
    flows, chosen = [*flows_of(model)], Batch(*some(model, *batch))
    outside: dict[tuple[str, int], tuple[float, float]] = {}
    handles = []
    for number, flow in enumerate(flows):
        seen: set[int] = set()
        for name, layer in flow.transform.named_modules():
            spline, features = _spline(layer)
            if spline is not None:
                where = f"flow {number}, {name}" if len(flows) > 1 else name
                is_normal = getattr(flow.base, "law", None) == "normal"
                hook = _hook(where, spline, features, seen, outside, chosen.weights, is_normal)
                handles.append(layer.register_forward_pre_hook(hook))
    try:
        if handles:
            log_prob_of(model, *chosen[:2])
    finally:
        for handle in handles:
            handle.remove()
    if outside:
        parts = [
            f"feature {feature} of transform.{where} has {100 * share:.3g} % of the training rows "
            f"outside of ± {bound:g}"
            for (where, feature), (share, bound) in outside.items()
        ]
        more = f"; and {len(parts) - _NAMED} more" if len(parts) > _NAMED else ""
        warnings.warn(
            "splines transform only the values within their bounds: "
            f"{'; '.join(parts[:_NAMED])}{more}. Give a larger bound, standardize=True, or a base "
            "with heavy tails, such as StudentT; on a circle, put Circular in front",
            stacklevel=6,  # the caller of `fit`
        )


def scale_hint(model: nn.Module, batch: Batch) -> str:
    """Return a sentence on a large scale as the cause of a loss that is not finite, or "".

    Args:
        model: the model in training, or several stacked into one.
        batch: rows to train on; of each model, where there are several.
    """
    flows = [*flows_of(getattr(model, "template", model))]
    placed = [bool(flows) and all(map(has, flows)) for has in (has_data, has_context)]
    for name, rows, done in zip(("data", "context"), batch[:2], placed, strict=True):
        if rows is None or not rows.is_floating_point() or rows.dim() < 2 or done:
            continue
        largest = torch.where(rows.isfinite(), rows, 0.0).abs().flatten(0, -2).amax(0)
        if largest.max() > _LARGE:
            return (
                f"A likely cause is the scale of {name}: column {int(largest.argmax())} reaches "
                f"{largest.max().item():.3g}. Give standardize=True, if the model is a flow that "
                "is trained by its likelihood, or scale the columns first"
            )
    return ""


@torch.no_grad()
def support_hint(model: nn.Module, batch: Batch, indices: Tensor) -> str:
    """Return a sentence on rows of density zero as the cause of an infinite loss, or "".

    Args:
        model: the model in training; several stacked into one get "".
        batch: rows to train on.
        indices: their indices in the training data, ``(n,)``.
    """
    if not [*flows_of(model)] or indices.dim() > 1:
        return ""
    impossible = log_prob_of(model, *batch[:2]) == -math.inf
    if batch.weights is not None:
        impossible &= batch.weights > 0
    if not impossible.any():
        return ""
    first = int(indices[impossible].min())
    return (
        f"The density is zero at {int(impossible.sum())} of {len(indices)} training rows, the "
        f"first is row {first}: they lie outside the support of the base. Give a base, or bounds, "
        "that cover the data"
    )


def _spline(layer: nn.Module) -> tuple[RationalQuadraticSpline | None, list[int]]:
    """Return the spline of a layer, if it has one, and the features that the layer transforms."""
    inner = layer.transform if isinstance(layer, Inverse) else layer
    spline = getattr(inner, "univariate", None)
    if not isinstance(spline, RationalQuadraticSpline):
        return None, []
    if isinstance(inner, Coupling):
        return spline, inner.transformed.tolist()
    return spline, [*range(inner.features)]  # type: ignore[arg-type]


def _hook(
    where: str,
    spline: RationalQuadraticSpline,
    features: list[int],
    seen: set[int],
    outside: dict[tuple[str, int], tuple[float, float]],
    weights: Tensor | None,
    is_normal: bool,
) -> Callable[[nn.Module, Any], None]:
    """Return a hook that records the features of which too many rows are outside."""

    def hook(layer: nn.Module, arguments: Any) -> None:  # noqa: ARG001
        x = arguments[0]
        for i, feature in enumerate(features):
            if feature in seen:
                continue
            seen.add(feature)
            bound = spline.bound if isinstance(spline.bound, int | float) else spline.bound[i]
            size = x[..., feature].abs()
            used = torch.ones_like(size) if weights is None else (weights > 0).to(size)
            share = ((size > bound) * used).sum() / used.sum()
            cost = (0.5 * (size.square() - bound**2).clamp(min=0) * used).sum() / used.sum()
            if share > _SHARE or (is_normal and cost > _NATS):
                outside[where, feature] = share.item(), float(bound)

    return hook
