"""Posteriors by name: a Gaussian conditional on the encoder's output, and a flow of its draws.

Each posterior is a conditional flow. A linear layer maps the context to means and log-scales of a
diagonal Gaussian base. Draws use the cheap direction of each transform, so autoregressive and
planar maps are wrapped in `Inverse`. Parameters of triangular, planar, radial and Sylvester maps
are amortised, that is, computed from the context.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

from flowkit._checks import check_choice, check_count
from flowkit.distributions import ConditionalNormal, Flow
from flowkit.flows import nsf
from flowkit.nets import MADE
from flowkit.transforms import (
    Chain,
    Gate,
    Inverse,
    MaskedAutoregressive,
    Planar,
    Radial,
    Sylvester,
    Transform,
    UnitTriangular,
)


def posterior(name: str, latents: int, *, context_features: int, **options: Any) -> nn.Module:
    """Return a posterior by name.

    Args:
        name: "normal" (diagonal), "full_normal", "planar", "radial", "sylvester", "iaf" or "nsf".
        latents: number of latents.
        context_features: width of the encoder's output.
        options: ``layers``; ``hidden`` of the networks of "iaf" and "nsf", ``bias`` of the gates of
            "iaf"; ``rank`` of "sylvester".

    Sampling with the log-density costs a matrix product per layer, and one more network pass per
    layer of "iaf" and "nsf". At other points, `log_prob` costs "iaf" and "nsf" about one and a half
    passes per layer. Planar and Sylvester maps then need a root for each hidden unit.

    Raises:
        ArgumentError: an unknown name.
        TypeError: an unknown option of the posterior.

    Example:
        >>> import torch
        >>> q = posterior("iaf", 4, context_features=8, layers=2, hidden=(16,))
        >>> z, log_q = q.sample_and_log_prob((3,), torch.zeros(5, 8))
        >>> z.shape, log_q.shape
        (torch.Size([3, 5, 4]), torch.Size([3, 5]))
    """
    check_count("latents", latents)
    make = _NAMED[check_choice("posterior", name, tuple(_NAMED))]
    made: nn.Module = make(latents, context_features, **options)
    return made


def _normal(latents: int, context_features: int) -> ConditionalNormal:
    return ConditionalNormal(latents, context_features=context_features, hidden=())


def _behind(latents: int, context_features: int, transforms: list[Transform]) -> Flow:
    """Return the flow whose draws are those of a Gaussian, transformed from first to last."""
    layers = [Inverse(t) for t in reversed(transforms)]
    return Flow(Chain(*layers), _normal(latents, context_features))


def _full_normal(latents: int, context_features: int) -> Flow:
    """A Gaussian of any covariance: an amortised triangular map of a diagonal Gaussian."""
    return _behind(
        latents, context_features, [UnitTriangular(latents, context_features=context_features)]
    )


def _planar(latents: int, context_features: int, *, layers: int = 4) -> Flow:
    maps = [Planar(latents, context_features=context_features) for _ in _range(layers)]
    return _behind(latents, context_features, [*maps])


def _radial(latents: int, context_features: int, *, layers: int = 4) -> Flow:
    maps = [Radial(latents, context_features=context_features) for _ in _range(layers)]
    return _behind(latents, context_features, [*maps])


def _sylvester(
    latents: int, context_features: int, *, layers: int = 4, rank: int | None = None
) -> Flow:
    rank = min(latents, 32) if rank is None else rank
    maps = [Sylvester(latents, rank, context_features=context_features) for _ in _range(layers)]
    return _behind(latents, context_features, [*maps])


def _iaf(
    latents: int,
    context_features: int,
    *,
    layers: int = 4,
    hidden: tuple[int, ...] = (320,),
    bias: float = 2.0,
) -> Flow:
    """Inverse autoregressive layers with gates; each layer reverses the order of the latents."""
    gate, order = Gate(bias), range(latents)
    maps: list[Transform] = []
    for layer in _range(layers):
        made = MADE(
            latents,
            gate.parameters,
            hidden,
            context_features=context_features,
            order=order if layer % 2 == 0 else order[::-1],
            activation="elu",
        )
        maps.append(MaskedAutoregressive(made, gate))
    return _behind(latents, context_features, maps)


def _nsf(
    latents: int, context_features: int, *, layers: int = 2, hidden: tuple[int, ...] = (128,)
) -> Flow:
    """Inverse autoregressive spline layers."""
    splines = nsf(latents, context_features=context_features, layers=layers, hidden=hidden)
    return Flow(Inverse(splines.transform), _normal(latents, context_features))


def _range(layers: int) -> range:
    return range(check_count("layers", layers))


_NAMED: dict[str, Callable[..., nn.Module]] = {
    "normal": _normal,
    "full_normal": _full_normal,
    "planar": _planar,
    "radial": _radial,
    "sylvester": _sylvester,
    "iaf": _iaf,
    "nsf": _nsf,
}
