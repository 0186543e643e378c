"""A MADE, and the transpose of its derivative, advanced one feature at a time.

Both use the order of the MADE: below, "feature k" is ``made.order[k]``, and tensors are
``(features, batch)`` in that order.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from flowkit.nets.linear import Linear
from flowkit.nets.made import MADE
from flowkit.nets.stages import Stage
from flowkit.nets.sweep import Inputs, Layer, Sweep, ends_of


class _Ordered(NamedTuple):
    """Weights of a MADE with features, and their outputs, in its order."""

    hidden: list[Tensor]  # (units, units before) of each stage
    output: Tensor  # (D * P, units)
    direct: Tensor | None  # (D * P, D)
    output_rows: Tensor  # where the output rows come from


def parameters_sweep(made: MADE, x: Tensor, context: Tensor | None) -> Sweep:
    """Return the MADE as a sweep, from features to their parameters.

    Args:
        made: the network.
        x: ``(D, batch)``, zeros, to be filled in by the caller, feature by feature.
        context: ``(batch, context_features)``, if the MADE asks for it.

    Returns:
        A sweep whose ``advance(k)`` gives the parameters ``(P, batch)`` of feature k, from the
        values of features 0 to k - 1; after the last step ``outputs`` holds the parameters of
        all features.
    """
    features, batch = x.shape
    weights = _ordered(made)
    stages = made.net.stages()
    inputs = Inputs(x, features)
    before: Layer = inputs
    layers: list[Layer] = []
    for i, stage in enumerate(stages):
        pre = _offset(stage.linear.bias, stage.context, context, batch)
        is_added_later = i + 2 < len(stages) and stages[i + 2].skip
        post = torch.zeros_like(pre) if is_added_later else pre
        layer = Layer(ends_of(made.stage_degrees[i], features), pre, post)
        layer.reads(before, weights.hidden[i])
        layer.finish = _activation(stage, layers[i - 2] if stage.skip else None)
        layers.append(layer)
        before = layer
    out = _offset(made.net.output.bias, made.direct_context, context, batch)[weights.output_rows]
    output = Layer.of_outputs(out, features)
    output.reads(before, weights.output)
    if weights.direct is not None:
        output.reads(inputs, weights.direct)
    return Sweep([*layers, output])


def transposed_sweep(made: MADE, adjoints: Tensor, x: Tensor, context: Tensor | None) -> Sweep:
    """Return the transpose of the MADE's derivative at ``x`` as a sweep, last feature first.

    The transpose of a staircase is a staircase, read from the other end.

    Args:
        made: the network.
        adjoints: ``(D * P, batch)``, derivatives of a scalar with respect to the parameters of the
            last feature, of the one before, ... Zeros, to be filled in by the caller.
        x: ``(batch, D)``, features in their natural order.
        context: ``(batch, context_features)``, if the MADE asks for it.

    Returns:
        A sweep whose ``advance(k)`` gives the derivative ``(1, batch)`` with respect to feature
        ``D - 1 - k``, from the adjoints of the k features after it.
    """
    features, p = made.features, made.outputs_per_feature
    weights = _ordered(made)
    backwards = torch.arange(features * p, device=x.device).view(features, p).flip(0).flatten()
    stages = made.net.stages()
    slopes = _slopes(stages, x, context)
    inputs = Inputs(adjoints, features)
    before: Layer = inputs
    weight = weights.output[backwards].t().flip(0)  # (units, D * P)
    layers: dict[int, Layer] = {}
    for i in reversed(range(len(stages))):
        pre = x.new_zeros(stages[i].linear.out_features, len(x))
        degrees = [features - d for d in reversed(made.stage_degrees[i])]
        layer = Layer(ends_of(degrees, features), pre, pre)
        layer.reads(before, weight)
        added = i + 2 < len(stages) and stages[i + 2].skip
        slope = slopes[i]
        slope_at = None if slope is None else layer.at_steps(slope)
        layer.finish = _slope(slope_at, layers[i + 2] if added else None)
        layers[i] = before = layer
        weight = weights.hidden[i].flip(0, 1).t()  # (units before, units)
    output = Layer.of_outputs(x.new_zeros(features, len(x)), features)
    output.reads(before, weight)
    if weights.direct is not None:
        output.reads(inputs, weights.direct[backwards].flip(1).t())
    return Sweep([*layers.values(), output])


def _ordered(made: MADE) -> _Ordered:
    hidden = [stage.linear.masked_weight() for stage in made.net.stages()]
    order = torch.tensor(made.order, device=hidden[0].device)
    p = made.outputs_per_feature
    rows = (order[:, None] * p + torch.arange(p, device=order.device)).flatten()
    hidden[0] = hidden[0][:, order]
    direct = None if made.direct is None else made.direct.masked_weight()[rows][:, order]
    return _Ordered(hidden, made.net.output.masked_weight()[rows], direct, rows)


def _offset(
    bias: Tensor, context_layer: Linear | None, context: Tensor | None, batch: int
) -> Tensor:
    """Return what a layer adds to its products, ``(units, batch)``."""
    if context_layer is None or context is None:
        offset = bias.new_empty(len(bias), batch)
        return offset.copy_(bias[:, None])  # a copy for a batch of one too: it is written to
    # Called, as a converted network's layer may do more than multiply.
    added: Tensor = context_layer(context)
    return bias[:, None] + added.t().contiguous()


# What finishes a layer is given the layer, and does not hold it: a reference cycle would keep the
# tensors of every sweep until Python's garbage collector finds it, many sweeps later.


def _activation(stage: Stage, added: Layer | None) -> Callable[[Layer, int], None]:
    activation = stage.activation

    def finish(layer: Layer, k: int) -> None:
        pre = layer.pre_at[k]
        if added is not None:
            pre += added.pre_at[k]
        if activation is torch.relu and layer.post is layer.pre:
            torch.relu_(pre)
        elif activation is not None:
            layer.post_at[k].copy_(activation(pre))

    return finish


def _slope(slope_at: Sequence[Tensor] | None, added: Layer | None) -> Callable[[Layer, int], None]:
    def finish(layer: Layer, k: int) -> None:
        pre = layer.pre_at[k]
        if slope_at is not None:
            pre *= slope_at[k]
        if added is not None:
            pre += added.pre_at[k]

    return finish


def _slopes(stages: list[Stage], x: Tensor, context: Tensor | None) -> list[Tensor | None]:
    """Return the derivative of each stage's activation, ``(units, batch)``, last unit first."""
    slopes: list[Tensor | None] = []
    pres: list[Tensor] = []
    post = x
    for i, stage in enumerate(stages):
        pre = stage.linear(post)
        if stage.context is not None:
            pre = pre + stage.context(context)
        if stage.skip:
            pre = pre + pres[i - 2]
        pres.append(pre)
        if stage.activation is None:
            post = pre
            slopes.append(None)
        else:
            with torch.enable_grad():
                leaf = pre.detach().requires_grad_()
                value = stage.activation(leaf)
                (slope,) = torch.autograd.grad(value.sum(), leaf)
            post = value.detach()
            slopes.append(slope.t().flip(0).contiguous())
    return slopes
