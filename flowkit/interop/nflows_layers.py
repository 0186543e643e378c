"""Conversion of the layers of nflows that have a network."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from flowkit.interop.conditioners import ActivatedLinear, GatedBlock
from flowkit.interop.parts import (
    Dense,
    activation_name,
    autoregressive,
    by_degree,
    class_name,
    context_made,
    coupling,
    dense,
    fill,
    plain_made,
    refusal,
    verified,
)
from flowkit.interop.univariates import FlooredSpline, SigmoidAffine, SoftplusAffine
from flowkit.nets import MADE, ResNet
from flowkit.nets.linear import ACTIVATIONS
from flowkit.transforms import (
    Chain,
    Columns,
    Coupling,
    Elementwise,
    Identity,
    Shift,
    Transform,
    Univariate,
)

_name = partial(class_name, "nflows")
_LINEAR = "a network without blocks is linear, and flowkit has no such network"

# ------------------------------------------------------------------ univariate maps


def _univariate(theirs: Any, place: str) -> Univariate:
    match _name(theirs):
        case "MaskedAffineAutoregressiveTransform":
            return SoftplusAffine(floor=theirs._epsilon)
        case "AffineCouplingTransform":
            return SigmoidAffine()
        case "AdditiveCouplingTransform":
            return Shift()
    return _spline(theirs, theirs.num_bins, place)


def _spline(theirs: Any, bins: int, place: str) -> FlooredSpline:
    if theirs.tails != "linear":
        reason = f"tails={theirs.tails!r}, but only linear tails are supported"
        raise refusal(place, theirs, reason)
    return FlooredSpline(
        bins=bins,
        bound=float(theirs.tail_bound),
        min_width=theirs.min_bin_width,
        min_height=theirs.min_bin_height,
        min_derivative=theirs.min_derivative,
    )


def elementwise_spline(theirs: Any, features: int, place: str) -> Transform:
    """Return our layer for a ``PiecewiseRationalQuadraticCDF``."""
    layer = Elementwise(features, _spline(theirs, theirs.unnormalized_widths.shape[-1], place))
    parts = (theirs.unnormalized_widths, theirs.unnormalized_heights)
    layer.params = nn.Parameter(torch.cat([*parts, theirs.unnormalized_derivatives], -1).detach())
    return layer


def _output(theirs: Any, net: Any, last: Any, univariate: Univariate) -> Dense:
    """Return the last layer of a conditioner, with outputs in the order of our univariate map."""
    weight, bias = dense(last)
    rows = torch.arange(len(bias))
    if _name(theirs) == "MaskedAffineAutoregressiveTransform":
        rows = rows.view(-1, 2).flip(-1)  # (scale, shift) pairs
    elif _name(theirs) == "AffineCouplingTransform":
        rows = rows.view(2, -1).T  # all the shifts, then all the scales
    rows = rows.reshape(-1)
    weight, bias = weight[rows], bias[rows]
    if isinstance(univariate, FlooredSpline) and hasattr(net, "hidden_features"):
        # Outputs for shares are divided by the square root of the width of such a network.
        scale = torch.ones_like(bias).view(-1, univariate.parameters)
        scale[:, : 2 * univariate.bins] /= net.hidden_features**0.5
        scale = scale.flatten()
        weight, bias = weight * scale[:, None], bias * scale
    return weight, bias


# ------------------------------------------------------------------ autoregressive layers


def autoregressive_layer(theirs: Any, features: int, place: str) -> Transform:
    """Return our layer for an affine or rational-quadratic autoregressive transform."""
    net = theirs.autoregressive_net
    inside = f"{place}.autoregressive_net"
    if _name(net) != "MADE":
        raise refusal(inside, net, "not a MADE of nflows")
    univariate = _univariate(theirs, place)
    last = _output(theirs, net, net.final_layer, univariate)
    activation = activation_name(f"{inside}.activation", net.activation, last[0])
    build = _residual_made if net.use_residual_blocks else _feedforward_made
    made = build(net, features, last, activation, inside)
    if made.context_features:
        _fill_first_context(made, net, ACTIVATIONS[activation])
    return verified(autoregressive(made, univariate), theirs, theirs, place)


def _context_features(net: Any) -> int:
    return net.context_layer.in_features if hasattr(net, "context_layer") else 0


def _feedforward_made(net: Any, features: int, last: Dense, activation: str, place: str) -> MADE:
    del place
    return plain_made(
        features,
        [dense(net.initial_layer), *map(_without_batch_norm, net.blocks), last],
        [net.initial_layer.degrees, *(block.degrees for block in net.blocks)],
        activation=activation,
        context_features=_context_features(net),
    )


def _without_batch_norm(block: Any) -> Dense:
    """Return the linear layer of a block, combined with the batch norm before it."""
    weight, bias = dense(block.linear)
    norm = block.batch_norm
    if norm is None:
        return weight, bias
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = norm.bias - scale * norm.running_mean
    return (weight * scale).detach(), (bias + weight @ shift).detach()


def _residual_made(net: Any, features: int, last: Dense, activation: str, place: str) -> MADE:
    if len(net.blocks) == 0:
        raise refusal(place, net, _LINEAR)
    degrees = net.initial_layer.degrees
    rows = by_degree(degrees)
    made = MADE(
        features,
        len(last[1]) // features,
        [len(degrees)] * len(net.blocks),
        context_features=_context_features(net),
        residual=True,
        activation=activation,
        hidden_degrees=[degrees.sort().values.tolist()] * len(net.blocks),
    )
    ours: Any = made.net
    weight, bias = dense(net.initial_layer)
    fill(ours.input, weight[rows], bias[rows])
    for i, (block, block_theirs) in enumerate(zip(ours.blocks, net.blocks, strict=True)):
        _refuse_batch_norm(block_theirs, f"{place}.blocks.{i}")
        layers = zip((block.first, block.second), block_theirs.linear_layers, strict=True)
        for layer, layer_theirs in layers:
            weight, bias = dense(layer_theirs)
            fill(layer, weight[rows][:, rows], bias[rows])
        if made.context_features:
            context = block_theirs.context_layer
            fill(block.context[0], context.weight[rows])
            fill(block.first, block.first.weight, block.first.bias + context.bias[rows])
    fill(ours.output, last[0][:, rows], last[1])
    return made


def _refuse_batch_norm(block: Any, place: str) -> None:
    if block.use_batch_norm:
        raise refusal(place, block, "batch norm inside a residual block")


def _fill_first_context(made: MADE, net: Any, activation: Callable[[Tensor], Tensor]) -> None:
    """Add an activated layer of the context to the first layer."""
    rows = by_degree(net.initial_layer.degrees)
    layer = ActivatedLinear(made.context_features, len(rows), activation)
    fill(layer, net.context_layer.weight[rows], net.context_layer.bias[rows])
    ours: Any = made.net
    ours.context[0] = layer


# ------------------------------------------------------------------ coupling layers


def coupling_layer(theirs: Any, features: int, place: str) -> Transform:
    """Return our layer for an affine, additive or rational-quadratic coupling transform."""
    net, inside = theirs.transform_net, f"{place}.transform_net"
    transformed, passed = theirs.transform_features.tolist(), theirs.identity_features.tolist()
    univariate = _univariate(theirs, place)
    layer: Transform
    if not passed and hasattr(net, "spline_predictor"):
        # sbi's coupling of a single feature, with parameters from the context alone.
        made = _context_made(theirs, net, univariate, inside, features)
        layer = autoregressive(made, univariate)
    elif not passed or not transformed:
        raise refusal(place, theirs, "all features are transformed, or none is")
    elif _name(net) != "ResidualNet":
        raise refusal(inside, net, "not a ResidualNet of nflows")
    else:
        layer = _residual_coupling(theirs, net, univariate, transformed, features, inside)
    if theirs.unconditional_transform is not None:
        # The other features are transformed too, after the coupling.
        marginal = elementwise_spline(
            theirs.unconditional_transform, len(passed), f"{place}.unconditional_transform"
        )
        rest = Identity(len(transformed))
        layer = Chain(layer, Columns({tuple(passed): marginal, tuple(transformed): rest}))
    return verified(layer, theirs, theirs, place)


def _residual_coupling(
    theirs: Any,
    net: Any,
    univariate: Univariate,
    transformed: list[int],
    features: int,
    place: str,
) -> Coupling:
    """Return a coupling with the network's function; a context gates the blocks."""
    last = _output(theirs, net, net.final_layer, univariate)
    if len(net.blocks) == 0:
        raise refusal(place, net, _LINEAR)
    activation = activation_name(f"{place}.blocks.0", net.blocks[0].activation, last[0])
    passed = features - len(transformed)
    width, context_features = net.hidden_features, net.context_features or 0
    ours = ResNet(
        passed,
        len(last[1]),
        [width] * len(net.blocks),
        context_features=context_features,
        activation=activation,
    )
    weight, bias = dense(net.initial_layer)  # the context follows the features
    fill(ours.input, weight[:, :passed], bias)
    if context_features:
        fill(ours.context[0], weight[:, passed:])
    for i, block_theirs in enumerate(net.blocks):
        _refuse_batch_norm(block_theirs, f"{place}.blocks.{i}")
        if context_features:
            ours.blocks[i] = GatedBlock(
                width, context_features=context_features, activation=ACTIVATIONS[activation]
            )
            fill(ours.blocks[i].gate, *dense(block_theirs.context_layer))
        fill(ours.blocks[i].first, *dense(block_theirs.linear_layers[0]))
        fill(ours.blocks[i].second, *dense(block_theirs.linear_layers[1]))
    fill(ours.output, *last)
    mask = [i in transformed for i in range(features)]
    return coupling(mask, ours, univariate)


def _context_made(theirs: Any, net: Any, univariate: Univariate, place: str, features: int) -> MADE:
    linears = [part for part in net.spline_predictor if isinstance(part, nn.Linear)]
    last = _output(theirs, net, linears[-1], univariate)
    return context_made(
        features,
        [*map(dense, linears[:-1]), last],
        activation=activation_name(f"{place}.spline_predictor.1", net.spline_predictor[1], last[0]),
        context_features=linears[0].in_features,
    )
