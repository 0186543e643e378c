"""MADE: a network whose outputs for a feature depend only on the preceding features."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from flowkit._checks import check_count, check_permutation, check_widths
from flowkit.errors import ArgumentError
from flowkit.nets import kernels
from flowkit.nets.linear import Linear
from flowkit.nets.mlp import MLP
from flowkit.nets.resnet import ResNet
from flowkit.nets.sweep import ends_of


class MADE(nn.Module):
    """A masked autoencoder for distribution estimation.

    The *degree* of a feature is its place in the order, 1 to ``features``. A hidden unit of degree
    ``d`` sees the features of degree at most ``d``; the outputs of a feature see the hidden units
    of smaller degree. Thus the outputs of a feature depend only on the preceding features.

    Two choices differ from the paper (``degree = index % (features - 1)``). First, hidden units
    are sorted by evenly spread degrees, so every mask is a staircase of contiguous blocks. Second,
    if a hidden layer is narrower than the number of degrees, the paper's masked direct connections
    from input to output carry the missing dependencies. The context reaches every hidden layer
    unmasked. Units of degree 0, in a conditional MADE only, carry the context to the first feature.

    Args:
        features: number of features D.
        parameters: number of outputs per feature P.
        hidden: widths of the hidden layers; with ``residual``, the equal widths of the blocks.
        context_features: width of the context, 0 for none.
        order: order of conditioning: ``order[0]`` depends on no feature, ``order[1]`` on
            ``order[0]``, ... Default: 0, 1, ..., D - 1.
        residual: whether to use residual blocks instead of plain layers.
        activation: "relu", "tanh", "elu", "silu" or "gelu".
        hidden_degrees: sorted degrees of each hidden layer's units, instead of an even spread, for
            networks of other libraries. There are then no direct connections.

    Raises:
        ArgumentError: a size is not positive, ``order`` is not a permutation, or degrees are
            unsorted, outside 0 to ``features``, or not as many as in ``hidden``.

    Reference: Germain, Gregor, Murray and Larochelle, *MADE*, 2015, equations 8 to 13.

    Example:
        >>> import torch
        >>> made = MADE(4, parameters=2, hidden=(32, 32), order=(3, 2, 1, 0))
        >>> made(torch.randn(10, 4)).shape
        torch.Size([10, 4, 2])
    """

    def __init__(
        self,
        features: int,
        parameters: int = 1,
        hidden: Sequence[int] = (64, 64),
        *,
        context_features: int = 0,
        order: Sequence[int] | None = None,
        residual: bool = False,
        activation: str = "relu",
        hidden_degrees: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.features = check_count("features", features)
        self.outputs_per_feature = check_count("parameters", parameters)
        self.context_features = check_count("context_features", context_features, minimum=0)
        self.order = check_permutation(
            "order", range(features) if order is None else order, features
        )
        widths = check_widths("hidden", hidden)

        degrees = torch.empty(features, dtype=torch.long)
        degrees[list(self.order)] = torch.arange(1, features + 1)
        output_degrees = degrees.repeat_interleave(parameters)
        lowest = 0 if context_features else 1
        if hidden_degrees is None:
            unit_degrees = [_spread(lowest, features - 1, width) for width in widths]
        else:
            unit_degrees = _check_degrees(hidden_degrees, widths, features, residual)

        layer_degrees = [degrees, *unit_degrees]
        masks = [_sees(a, b) for a, b in pairwise(layer_degrees)]
        if residual:  # all blocks have one width, so all layers share one mask
            masks = [masks[0], *(_sees(d, d) for d in unit_degrees)]
        masks.append(_sees(unit_degrees[-1], output_degrees, strictly=True))

        body = ResNet if residual else MLP
        self._ends: Tensor | None = None
        self._unit_degrees = tuple(tuple(d.tolist()) for d in unit_degrees)
        self.net = body(
            features,
            features * parameters,
            widths,
            context_features=context_features,
            activation=activation,
            masks=masks,
        )
        self.direct: Linear | None = None
        self.direct_context: Linear | None = None
        if hidden_degrees is None and min(widths) < features - lowest:
            mask = _sees(degrees, output_degrees, strictly=True)
            self.direct = Linear(features, features * parameters, bias=False, mask=mask)
            if context_features:
                self.direct_context = Linear(context_features, features * parameters, bias=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map ``(*batch, features)`` to ``(*batch, features, parameters)``.

        ``context`` is ``(*batch, context_features)``, or broadcasts to it.
        """
        out: Tensor = self.net(x, context)  # (*batch, D * P)
        if self.direct is not None:
            out = out + self.direct(x)
        if self.direct_context is not None:
            out = out + self.direct_context(context)
        # (*batch, D * P) -> (*batch, D, P)
        return torch.unflatten(out, -1, (self.features, self.outputs_per_feature))

    @property
    def stage_degrees(self) -> list[tuple[int, ...]]:
        """The sorted degrees of the units of each of the net's stages."""
        if isinstance(self.net, ResNet):
            return [self._unit_degrees[0]] * len(self.net.stages())
        return list(self._unit_degrees)

    def takes_sweep_kernel(self, x: Tensor) -> bool:
        """Return whether `affine_sweep` computes for such an input."""
        return (
            isinstance(self.net, MLP)
            and self.outputs_per_feature == 2
            and self.direct is None
            and self.direct_context is None
            and self.net.takes_kernels(x)
        )

    def affine_sweep(self, z: Tensor, context: Tensor | None, bound: float | None) -> Tensor:
        """Return parameters ``(batch, features, 2)`` of `Affine` maps, at the x that they map to z.

        To be called if `takes_sweep_kernel`. ``z`` is ``(batch, features)``; ``bound`` is that of
        the maps.
        """
        if self._ends is None:
            ends = [ends_of(degrees, self.features) for degrees in self._unit_degrees]
            self._ends = torch.tensor(ends, dtype=torch.int32)
        net = cast(MLP, self.net)
        return kernels.affine_sweep(
            z,
            net.operands(),
            net.terms(context, z.shape[:-1]),
            ends=self._ends,
            order=self.order,
            bound=bound,
        )

    def zero_output_(self) -> None:
        """Set the output layer to zero, so that the initial output is zero for every input."""
        self.net.zero_output_()
        for layer in (self.direct, self.direct_context):
            if layer is not None:
                layer.zero_()


def _spread(lowest: int, highest: int, width: int) -> Tensor:
    """Return ``width`` sorted degrees, spread evenly over ``lowest .. highest``."""
    count = max(highest - lowest + 1, 1)
    return lowest + (2 * torch.arange(width) + 1) * count // (2 * width)


def _check_degrees(
    degrees: Sequence[Sequence[int]], widths: Sequence[int], features: int, residual: bool
) -> list[Tensor]:
    """Return the degrees of each hidden layer, or raise if these are invalid."""
    good = (
        tuple(map(len, degrees)) == tuple(widths)
        and all(list(d) == sorted(d) for d in degrees)
        and all(0 <= degree <= features for d in degrees for degree in d)
        and (not residual or len({tuple(d) for d in degrees}) == 1)
    )
    if not good:
        raise ArgumentError(
            "hidden_degrees",
            f"sorted degrees from 0 to {features}, as many as {tuple(widths)} per layer, "
            "the same in every residual block",
            degrees,
        )
    return [torch.tensor(d) for d in degrees]


def _sees(from_degrees: Tensor, to_degrees: Tensor, *, strictly: bool = False) -> Tensor:
    """Return the mask ``(to, from)``: a unit sees degrees at most (strictly: below) its own."""
    if strictly:
        return to_degrees[:, None] > from_degrees
    return to_degrees[:, None] >= from_degrees
