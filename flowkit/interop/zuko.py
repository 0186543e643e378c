"""Conversion of flows of zuko."""

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from flowkit.distributions import DiagonalNormal, Flow, StandardNormal
from flowkit.distributions.standard import Base
from flowkit.interop.conditioners import LinearBlocks
from flowkit.interop.parts import (
    Dense,
    activation_name,
    affine,
    assemble,
    autoregressive,
    by_degree,
    check_flow,
    class_name,
    context_made,
    coupling,
    dense,
    fill,
    plain_made,
    refusal,
    verified,
)
from flowkit.interop.univariates import SoftclipAffine, SoftclipSpline
from flowkit.nets import MLP
from flowkit.transforms import (
    Chain,
    Elementwise,
    Inverse,
    Permutation,
    Shift,
    Transform,
    Univariate,
)

_name = partial(class_name, "zuko")


def from_zuko(flow: nn.Module, *, embedding: nn.Module | None = None) -> Flow:
    """Return a zuko flow as a flowkit flow of the same density.

    Log-densities, samples for the same noise, and gradients agree to rounding for inputs within
    ±1e4, the limit of inputs of flowkit's conditioners. Weights are copied, with hidden units
    sorted by degree.

    Supported are ``MAF``, ``NSF``, ``NICE``, and other flows of

    - affine, additive and rational-quadratic maps: autoregressive in any order or in groups
      (``passes``), coupling or elementwise, with or without residual blocks and context;
    - the inverses of such layers (IAF);
    - unconditional affine maps and permutations;
    - diagonal normal bases.

    Args:
        flow: an instance of ``zuko.lazy.Flow``, or of a subclass.
        embedding: a network for the context, which is not part of a flow of zuko. For sbi this is
            ``estimator.embedding_net`` beside ``estimator.net``. The network is copied.

    Raises:
        ArgumentError: ``flow`` is not such a flow, or a part has no exact equivalent in flowkit;
            the message names the part and the reason.

    Example:
        >>> import zuko
        >>> theirs = zuko.flows.NSF(3, context=2, transforms=2, hidden_features=(16,))
        >>> x, c = torch.randn(5, 3), torch.randn(5, 2)
        >>> torch.allclose(from_zuko(theirs).log_prob(x, c), theirs(c).log_prob(x), atol=1e-5)
        True
    """
    check_flow("zuko", flow)
    theirs: Any = flow
    base = _base(theirs.base, "flow.base")
    transform = _transform(theirs.transform, "flow.transform", base.event_shape.numel())
    return assemble(flow, transform, base, embedding)


def _base(theirs: Any, place: str) -> Base:
    known = _name(theirs) == "UnconditionalDistribution" and _name(theirs.f) == "DiagNormal"
    if not known:
        raise refusal(place, theirs, "not an unconditional DiagNormal")
    loc, scale = _arguments(theirs, ("loc", "scale"))
    if loc.dim() != 1:
        raise refusal(place, theirs, "not over vectors")
    learned = isinstance(loc, nn.Parameter)
    if not learned and bool((loc == 0).all() & (scale == 1).all()):
        return StandardNormal(len(loc))
    base = DiagonalNormal(len(loc))
    base.loc = nn.Parameter(loc.detach().clone(), requires_grad=learned)
    base.log_scale = nn.Parameter(scale.detach().log(), requires_grad=learned)
    return base


def _arguments(theirs: Any, names: Sequence[str]) -> list[Any]:
    """Return the arguments of an unconditional distribution or transform of these names."""
    arguments = dict(zip(names, theirs.args, strict=False)) | theirs.kwargs
    return [arguments[name] for name in names]


def _transform(theirs: Any, place: str, features: int) -> Transform:
    """Return our layer for theirs, at ``place`` in the flow."""
    match _name(theirs):
        case "LazyComposedTransform":
            parts = [
                _transform(part, f"{place}.transforms.{i}", features)
                for i, part in enumerate(theirs.transforms)
            ]
            return Chain(*parts)
        case "LazyInverse":
            return Inverse(_transform(theirs.transform, f"{place}.transform", features))
        case "UnconditionalTransform":
            return _unconditional(theirs, place, features)
        case "MaskedAutoregressiveTransform":
            layer = _autoregressive(theirs, place, features)
        case "GeneralCouplingTransform":
            layer = _coupling(theirs, place)
        case "ElementWiseTransform":
            layer = _elementwise(theirs, place, features)
        case _:
            raise refusal(place, theirs, "there is no such layer in flowkit")

    def call(x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z, logabsdet = theirs(context).call_and_ladj(x)
        return z, logabsdet

    return verified(layer, theirs, call, place)


def _unconditional(theirs: Any, place: str, features: int) -> Transform:
    if theirs.f is torch.distributions.AffineTransform:
        shift, scale = _arguments(theirs, ("loc", "scale"))
        if not bool((torch.as_tensor(scale) > 0).all()):
            raise refusal(place, theirs, "a scale that is not positive")
        return affine(scale, shift, features, trained=isinstance(scale, nn.Parameter))
    if _name(theirs.f) == "PermutationTransform":
        return Permutation(*_arguments(theirs, ("order",)))
    raise refusal(f"{place}.f", theirs.f, "not an affine map or a permutation")


def _univariate(theirs: Any, place: str) -> Univariate:
    """Return our univariate map for that of their layer."""
    function: Any = theirs.univariate
    keywords: dict[str, Any] = {}
    if isinstance(function, partial) and not function.args:
        function, keywords = function.func, function.keywords
    name = _name(function) if isinstance(function, type) else ""
    if name not in ("MonotonicAffineTransform", "MonotonicRQSTransform", "AdditiveTransform"):
        raise refusal(f"{place}.univariate", function, "not an affine or rational-quadratic map")
    signature = inspect.signature(function).parameters
    options = {key: option.default for key, option in signature.items()} | keywords
    match name:
        case "MonotonicAffineTransform":
            return SoftclipAffine(slope=options["slope"])
        case "AdditiveTransform":
            return Shift()
    bins = theirs.shapes[0][0]
    return SoftclipSpline(bins=bins, bound=float(options["bound"]), slope=options["slope"])


# ------------------------------------------------------------------ networks


def _dense_layers(net: Any, place: str) -> tuple[list[Dense], str]:
    """Return the linear layers of a plain network, and the activation between them."""
    layers, activations = [], {}
    for i, part in enumerate(net):
        if i % 2:
            activations[f"{place}.{i}"] = part
        elif _name(part) in ("Linear", "MaskedLinear"):
            layers.append(dense(part))
        else:
            raise refusal(f"{place}.{i}", part, "not a linear layer, which is required here")
    if not activations:
        reason = "a network without hidden layers is linear, and flowkit has no such network"
        raise refusal(place, net, reason)
    return layers, _only_activation(activations, layers[0][0])


def _only_activation(parts: Mapping[str, Any], like: Tensor) -> str:
    """Return the name of the activation, which must be the same at all these places."""
    names = {activation_name(place, part, like): (place, part) for place, part in parts.items()}
    if len(names) > 1:
        raise refusal(*names.popitem()[1], f"the others are {', '.join(names)}")
    return names.popitem()[0]


def _coupling(theirs: Any, place: str) -> Transform:
    univariate = _univariate(theirs, place)
    layers, activation = _dense_layers(theirs.hyper, f"{place}.hyper")
    passed = int(theirs.mask.sum())
    (weight, bias), *rest = layers  # the context follows the features
    net = MLP(
        passed,
        len(layers[-1][1]),
        [len(b) for _, b in layers[:-1]],
        context_features=weight.shape[1] - passed,
        activation=activation,
    )
    fill(net.hidden[0], weight[:, :passed], bias)
    for ours, (w, b) in zip([*net.hidden[1:], net.output], rest, strict=True):
        fill(ours, w, b)
    _fill_context(net, weight[:, passed:])
    return coupling([not m for m in theirs.mask.tolist()], net, univariate)


def _fill_context(net: Any, weight: Tensor) -> None:
    """Set the weights of the context in the first layer, and zero weights in all others."""
    for i, layer in enumerate(net.context):
        fill(layer, torch.zeros_like(layer.weight).to(weight) if i else weight)


def _elementwise(theirs: Any, place: str, features: int) -> Transform:
    univariate = _univariate(theirs, place)
    if not hasattr(theirs, "hyper"):
        layer = Elementwise(features, univariate)
        parts = [part.reshape(features, -1) for part in theirs.phi]
        layer.params = nn.Parameter(torch.cat(parts, dim=-1).detach())
        return layer
    layers, activation = _dense_layers(theirs.hyper, f"{place}.hyper")
    context_features = layers[0][0].shape[1]
    made = context_made(features, layers, activation=activation, context_features=context_features)
    return autoregressive(made, univariate)


# ------------------------------------------------------------------ autoregressive layers


def _autoregressive(theirs: Any, place: str, features: int) -> Transform:
    univariate = _univariate(theirs, place)
    net, inside = theirs.hyper, f"{place}.hyper"
    residual = any(_name(part) == "Residual" for part in net)
    if residual:
        layers, activation, kinds = _residual_layers(net, inside)
    else:
        layers, activation = _dense_layers(net, inside)
    order, degrees = _order_and_degrees(net, features, inside)
    (weight, bias), *rest = layers  # the context follows the features
    made = plain_made(
        features,
        [(weight[:, :features], bias), *rest],
        degrees,
        order=order,
        activation=activation,
        context_features=weight.shape[1] - features,
    )
    _fill_context(made.net, weight[by_degree(degrees[0]), features:])
    if residual:
        ours: Any = made
        ours.net = LinearBlocks(cast(MLP, made.net), kinds)
    return autoregressive(made, univariate)


def _residual_layers(net: Any, place: str) -> tuple[list[Dense], str, list[str]]:
    """Return the linear layers, also of blocks; the activation; the kind of each layer."""
    layers, kinds = [], []
    for i, part in enumerate(net):
        if _name(part) == "Residual":
            layers += [dense(part[0]), dense(part[2])]
            kinds += ["activated", "skip"]
        elif _name(part) == "MaskedLinear":
            layers.append(dense(part))
            kinds.append("linear")
        else:
            reason = "a layer of another kind between residual blocks"
            raise refusal(f"{place}.{i}", part, reason)
    blocks = {i: part for i, part in enumerate(net) if _name(part) == "Residual"}
    activations = {f"{place}.{i}.1": block[1] for i, block in blocks.items()}
    return layers, _only_activation(activations, layers[0][0]), kinds[:-1]


def _order_and_degrees(net: Any, features: int, place: str) -> tuple[list[int], list[Tensor]]:
    """Return the order of the features, and for each hidden unit the number of features it sees.

    The masks determine both, if the sets of features that units see are nested.
    Features of one group, as made by ``passes``, see the same set, and may have any order.
    """
    seen: list[Tensor] = []  # per layer: which features each unit sees, (width, D)
    for part in net:
        if _name(part) == "MaskedLinear":
            mask = part.mask.float()
            now = mask @ seen[-1] if seen else mask[:, :features]
            seen.append((now > 0).float())
        elif _name(part) == "Residual":
            inside = (part[0].mask.float() @ seen[-1] > 0).float()
            now = seen[-1] + part[2].mask.float() @ inside
            seen += [inside, (now > 0).float()]
    outputs = seen.pop().unflatten(0, (features, -1)).amax(1)  # (D, D)
    # In descending order of the number of features that see each feature.
    order = outputs.sum(0).argsort(descending=True, stable=True)
    for sets in (*seen, outputs):
        first = torch.arange(features, device=sets.device) < sets.sum(1, keepdim=True)
        if not torch.equal(sets[:, order] > 0, first):
            raise refusal(place, net, "the sets of features that the units see are not nested")
    return order.tolist(), [sets.sum(1).long() for sets in seen]
