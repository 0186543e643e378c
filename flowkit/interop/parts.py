"""Parts of both converters: reading and copying weights, verification, and errors."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flowkit.distributions import Flow
from flowkit.distributions.standard import Base
from flowkit.errors import ArgumentError
from flowkit.nets import MADE
from flowkit.nets.linear import ACTIVATIONS
from flowkit.transforms import (
    ActNorm,
    Coupling,
    MaskedAutoregressive,
    Standardize,
    Transform,
    Univariate,
)

Dense = tuple[Tensor, Tensor]
"""The weight ``(out, in)``, masked, and the bias ``(out,)`` of a linear layer."""

# Errors of a wrong conversion are far larger, and rounding errors far smaller.
_TOLERANCE = 1e-2


def refusal(place: str, part: object, why: str) -> ArgumentError:
    """Return the error for a part of a flow that cannot be converted, with the reason."""
    name = getattr(part, "__name__", type(part).__name__)
    return ArgumentError("flow", f"cannot be converted exactly, due to {place} ({name}): {why}")


def class_name(library: str, part: object) -> str:
    """Return the name of a class, or of a part's class, if the library defines the class; else "".

    Classes of a copy of the library inside another package (``pyknos.nflows``) count. Subclasses
    defined elsewhere do not, as their behaviour is unknown.
    """
    kind = part if isinstance(part, type) else type(part)
    return kind.__name__ if library in kind.__module__.split(".") else ""


def check_flow(library: str, flow: object) -> None:
    """Raise unless the object is a flow of the library, or of a subclass of its flows."""
    if not any(class_name(library, kind) == "Flow" for kind in type(flow).__mro__):
        hint = " (perhaps pass its attribute net)" if hasattr(flow, "net") else ""
        raise ArgumentError("flow", f"a Flow of {library}", type(flow).__name__ + hint)


def dense(linear: Any) -> Dense:
    """Return the masked weight and the bias of a linear layer of theirs."""
    weight = linear.weight.detach()
    if getattr(linear, "mask", None) is not None:
        weight = weight * linear.mask
    bias = weight.new_zeros(len(weight)) if linear.bias is None else linear.bias.detach()
    return weight, bias


def fill(ours: Any, weight: Tensor, bias: Tensor | None = None) -> None:
    """Set the weights of a linear layer of ours, in their dtype and on their device."""
    ours.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        ours.bias = nn.Parameter(bias.detach().clone())


def by_degree(degrees: Tensor) -> Tensor:
    """Return the order that sorts hidden units by degree."""
    return degrees.argsort(stable=True)


def plain_made(
    features: int,
    layers: Sequence[Dense],
    degrees: Sequence[Tensor],
    *,
    order: Sequence[int] | None = None,
    activation: str,
    context_features: int = 0,
) -> MADE:
    """Return a MADE without residual blocks from layers whose units have these degrees.

    The units are sorted by degree, which does not change the function. Weights of the context are
    zero.
    """
    made = MADE(
        features,
        len(layers[-1][1]) // features,
        [len(d) for d in degrees],
        context_features=context_features,
        order=order,
        activation=activation,
        hidden_degrees=[d.sort().values.tolist() for d in degrees],
    )
    net: Any = made.net
    columns = torch.arange(features)
    for ours, (weight, bias), d in zip(net.hidden, layers[:-1], degrees, strict=True):
        rows = by_degree(d)
        fill(ours, weight[rows][:, columns], bias[rows])
        columns = rows
    fill(net.output, layers[-1][0][:, columns], layers[-1][1])
    for layer in net.context:
        fill(layer, torch.zeros_like(layer.weight).to(layers[0][0]))
    return made


def context_made(
    features: int, layers: Sequence[Dense], *, activation: str, context_features: int
) -> MADE:
    """Return a MADE whose outputs see the context alone: all hidden units are of degree 0."""
    (weight, bias), *rest = layers
    no_weight = weight.new_zeros(len(weight), features)
    made = plain_made(
        features,
        [(no_weight, bias), *rest],
        [torch.zeros(len(b), dtype=torch.long) for _, b in layers[:-1]],
        activation=activation,
        context_features=context_features,
    )
    net: Any = made.net
    fill(net.context[0], weight)
    return made


def autoregressive(made: MADE, univariate: Univariate) -> MaskedAutoregressive:
    """Return the layer with the MADE's weights unchanged."""
    with _weights_kept(made):
        return MaskedAutoregressive(made, univariate)


def coupling(mask: Sequence[bool], conditioner: nn.Module, univariate: Univariate) -> Coupling:
    """Return the layer with the conditioner's weights unchanged."""
    with _weights_kept(conditioner):
        return Coupling(mask, conditioner, univariate)


@contextmanager
def _weights_kept(module: nn.Module) -> Iterator[None]:
    """Restore the weights of a conditioner that a layer sets to zero when it is made."""
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    yield
    module.load_state_dict(weights)


def affine(scale: Any, shift: Any, features: int, *, trained: bool = False) -> Transform:
    """Return ``z = scale x + shift``, of numbers or tensors that broadcast over the features.

    The map is constant, or learned as an `ActNorm`.
    """
    scale, shift = (
        torch.as_tensor(value, dtype=torch.float64, device="cpu").detach().expand(features)
        for value in (scale, shift)
    )
    if not trained:
        return Standardize(-shift / scale, 1 / scale)
    layer = ActNorm(features)
    layer.params = nn.Parameter(torch.stack([shift, scale.log()], dim=-1))
    return layer


def activation_name(place: str, function: Any, like: Tensor) -> str:
    """Return the name in `flowkit.nets` of an activation, identified by its values.

    Raises:
        ArgumentError: `flowkit.nets` does not have the activation.
    """
    x = torch.linspace(-4, 4, 33, dtype=like.dtype, device=like.device)
    try:
        y = function(x)
    except RuntimeError as error:
        raise refusal(place, function, "not an activation of single numbers") from error
    for name, ours in ACTIVATIONS.items():
        if torch.allclose(ours(x), y, rtol=1e-6, atol=1e-6):
            return name
    raise refusal(place, function, f"the activation is none of {', '.join(ACTIVATIONS)}")


Layer = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]


def verified(ours: Transform, theirs: nn.Module, call: Layer, place: str) -> Transform:
    """Return our layer after a check that it agrees with theirs on random points.

    The check detects versions of a library in which a class of the same name computes another
    function. The mode of their layer and the global generator do not change.

    Raises:
        ArgumentError: the two layers disagree.
    """
    like = next(theirs.parameters())
    generator = torch.Generator().manual_seed(0)
    x, context = (
        torch.randn(64, width, generator=generator).to(like)
        for width in (ours.features, ours.context_features)
    )
    ours.to(like.device, like.dtype)
    modes = {module: module.training for module in theirs.modules()}
    theirs.eval()
    try:
        with torch.no_grad():
            expected = call(x, context if ours.context_features else None)
            got = ours(x, context if ours.context_features else None)
    finally:
        for module, mode in modes.items():
            module.training = mode
    for a, b in zip(got, expected, strict=True):
        if not torch.allclose(a, b, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
            raise refusal(place, theirs, "it differs from the known versions of its class")
    return ours


def assemble(
    theirs: nn.Module, transform: Transform, base: Base, embedding: nn.Module | None
) -> Flow:
    """Return the flow, in the dtype, on the device and in the mode of theirs."""
    # An identity, or an embedding of an unused context, is omitted.
    if type(embedding) is nn.Identity or not (transform.context_features or base.context_features):
        embedding = None
    flow = Flow(transform, base, embedding=copy.deepcopy(embedding))
    parameter = next(theirs.parameters(), torch.empty(0))
    return flow.to(parameter.device, parameter.dtype).train(theirs.training)
