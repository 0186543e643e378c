"""Conversion of flows of nflows."""

import copy
from functools import partial
from typing import Any

import torch
from torch import nn

from flowkit.distributions import DiagonalNormal, Flow, StandardNormal
from flowkit.distributions.standard import Base
from flowkit.interop.conditioners import EncodedNormal
from flowkit.interop.nflows_layers import autoregressive_layer, coupling_layer, elementwise_spline
from flowkit.interop.parts import affine, assemble, check_flow, class_name, refusal
from flowkit.transforms import Chain, Identity, Inverse, LULinear, Permutation, Transform

_name = partial(class_name, "nflows")


def from_nflows(flow: nn.Module) -> Flow:
    """Return an nflows flow as a flowkit flow of the same density.

    Log-densities, samples for the same noise, and gradients agree to rounding for inputs within
    ±1e4, the limit of inputs of flowkit's conditioners. Weights are copied, with hidden units
    sorted by degree. Dropout is removed. Batch norm becomes a learned scale and shift with the
    statistics of ``eval()``.

    Supported parts are

    - affine and rational-quadratic (linear tails) autoregressive and coupling layers, with a MADE
      or a ``ResidualNet``, with or without context, and their inverses (IAF);
    - permutations, ``LULinear``, batch and act norm, pointwise affine maps;
    - embedding nets;
    - standard, diagonal and conditional diagonal normal bases.

    For a flow trained by sbi, pass the ``net`` of the estimator.

    Args:
        flow: an instance of ``nflows.flows.Flow``, or of a subclass.

    Raises:
        ArgumentError: ``flow`` is not such a flow, or a part has no exact equivalent in flowkit;
            the message names the part and the reason.

    Example:
        >>> from nflows.flows import MaskedAutoregressiveFlow
        >>> theirs = MaskedAutoregressiveFlow(3, 16, num_layers=2, num_blocks_per_layer=2)
        >>> x = torch.randn(5, 3)
        >>> torch.allclose(from_nflows(theirs).log_prob(x), theirs.log_prob(x), atol=1e-5)
        True
    """
    check_flow("nflows", flow)
    theirs: Any = flow
    base = theirs._distribution
    shape = tuple(getattr(base, "_shape", ()))
    if len(shape) != 1:
        raise refusal("flow._distribution", base, "not a normal over vectors")
    transform = _transform(theirs._transform, "flow._transform", shape[0])
    ours = _base(base, shape[0], transform.context_features)
    return assemble(flow, transform, ours, theirs._embedding_net)


def _base(theirs: Any, features: int, context_features: int) -> Base:
    place = "flow._distribution"
    match _name(theirs):
        case "StandardNormal":
            return StandardNormal(features)
        case "DiagonalNormal":
            base = DiagonalNormal(features)
            base.loc = nn.Parameter(theirs.mean_.detach().reshape(-1).clone())
            base.log_scale = nn.Parameter(theirs.log_std_.detach().reshape(-1).clone())
            return base
        case "ConditionalDiagonalNormal":
            return _conditional_base(theirs, features, context_features, place)
    raise refusal(place, theirs, "not a standard or (conditional) diagonal normal")


def _conditional_base(theirs: Any, features: int, context_features: int, place: str) -> Base:
    encoder = theirs._context_encoder
    if not isinstance(encoder, nn.Module):
        probe = torch.zeros(1, 2 * features)
        if encoder(probe) is not probe:
            raise refusal(place, theirs, "the context encoder is not a module")
        encoder = nn.Identity()  # nflows' default
    if not context_features:  # no layer is conditional: the width of the encoder's first weight
        weight = next(encoder.parameters(), torch.empty(1, 2 * features))
        context_features = weight.shape[-1]
    encoder = copy.deepcopy(encoder)
    return EncodedNormal(features, context_features=context_features, encoder=encoder)


def _transform(theirs: Any, place: str, features: int) -> Transform:
    """Return our layer for theirs, at ``place`` in the flow."""
    match _name(theirs):
        case "CompositeTransform":
            parts = [
                _transform(part, f"{place}._transforms.{i}", features)
                for i, part in enumerate(theirs._transforms)
            ]
            return Chain(*parts) if parts else Identity(features)
        case "InverseTransform":
            return Inverse(_transform(theirs._transform, f"{place}._transform", features))
        case "IdentityTransform":
            return Identity(features)
        case "Permutation" | "RandomPermutation" | "ReversePermutation":
            return Permutation(theirs._permutation)
        case "PointwiseAffineTransform" | "AffineTransform":
            return affine(theirs._scale, theirs._shift, features)
        case "ActNorm":
            return affine(theirs.scale, theirs.shift, features, trained=True)
        case "BatchNorm":
            scale = theirs.weight / (theirs.running_var + theirs.eps).sqrt()
            shift = theirs.bias - scale * theirs.running_mean
            return affine(scale, shift, features, trained=True)
        case "LULinear":
            return _lu_linear(theirs, features)
        case "PiecewiseRationalQuadraticCDF":
            return elementwise_spline(theirs, features, place)
        case (
            "MaskedAffineAutoregressiveTransform"
            | "MaskedPiecewiseRationalQuadraticAutoregressiveTransform"
        ):
            return autoregressive_layer(theirs, features, place)
        case (
            "AffineCouplingTransform"
            | "AdditiveCouplingTransform"
            | "PiecewiseRationalQuadraticCouplingTransform"
        ):
            return coupling_layer(theirs, features, place)
    raise refusal(place, theirs, "there is no such layer in flowkit")


def _lu_linear(theirs: Any, features: int) -> Transform:
    layer = LULinear(features)
    lower, upper = (factor.detach() for factor in theirs._create_lower_upper())
    layer.lower = nn.Parameter(lower.tril(-1))
    layer.upper = nn.Parameter(upper.triu(1))
    layer.log_diagonal = nn.Parameter(upper.diagonal().log())
    layer.bias = nn.Parameter(theirs.bias.detach().clone())
    return layer
