"""Networks of nflows and zuko that `flowkit.nets` does not have."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from flowkit.distributions import ConditionalNormal
from flowkit.nets import MLP
from flowkit.nets.linear import Linear
from flowkit.nets.resnet import ResidualBlock
from flowkit.nets.stages import Stage

Activation = Callable[[Tensor], Tensor]


class ActivatedLinear(Linear):
    """``a(V c + b)``: the term of the context in the first layer of an nflows MADE.

    Args:
        in_features: width of the context.
        out_features: width of the first layer.
        activation: ``a``.
    """

    def __init__(self, in_features: int, out_features: int, activation: Activation) -> None:
        super().__init__(in_features, out_features)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(*batch, in_features)`` to ``(*batch, out_features)``."""
        return self.activation(super().forward(x))


class GatedBlock(ResidualBlock):
    """``h + (W2 a(W1 a(h) + b1) + b2) sigmoid(V c + d)``: the block of nflows' ``ResidualNet``.

    Args:
        width: width of the block.
        context_features: width of the context.
        activation: ``a``.
    """

    def __init__(self, width: int, *, context_features: int, activation: Activation) -> None:
        super().__init__(width, context_features=0, activation=activation, mask=None)
        self.gate = Linear(context_features, width)

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        """Map ``(*batch, width)`` to ``(*batch, width)``."""
        r = self.second(self.activation(self.first(self.activation(h))))
        out: Tensor = h + r * torch.sigmoid(self.gate(context))
        return out


class LinearBlocks(nn.Module):
    """zuko's residual network: linear layers and blocks ``h + W2 a(W1 h + b1) + b2`` between them.

    The input of a block is not activated. The context is an input of the first layer only.

    Args:
        net: network with the layers and the activation, one hidden layer per kind.
        kinds: kind of each hidden layer: "linear"; "activated" for the first layer of a block;
            "skip" for the second layer of a block.
    """

    def __init__(self, net: MLP, kinds: Sequence[str]) -> None:
        super().__init__()
        self.hidden, self.output, self.activation = net.hidden, net.output, net.activation
        self.context = net.context[:1]
        self.kinds = tuple(kinds)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map ``(*batch, in_features)`` to ``(*batch, out_features)``."""
        h, before = x, x
        for part in self.stages():
            pre = part.linear(h)
            if part.context is not None:
                pre = pre + part.context(context)
            if part.skip:
                pre = pre + before
            before = h
            h = cast(Activation, part.activation)(pre)
        out: Tensor = self.output(h)
        return out

    def stages(self) -> list[Stage]:
        """Return the hidden layers."""
        context = [*self.context, *[None] * len(self.kinds)]
        return [
            Stage(
                cast(Linear, layer),
                c,
                self.activation if kind == "activated" else _same,
                skip=kind == "skip",
            )
            for layer, c, kind in zip(self.hidden, context, self.kinds, strict=False)
        ]

    def zero_output_(self) -> None:
        """Set the output layer to zero, so that the initial output is zero for every input."""
        self.output.zero_()


class EncodedNormal(ConditionalNormal):
    """The conditional base of nflows: an encoder returns the means, then the log-scales.

    Args:
        features: number of features.
        context_features: width of the context.
        encoder: maps ``(*batch, context_features)`` to ``(*batch, 2 * features)``.
    """

    def __init__(self, features: int, *, context_features: int, encoder: nn.Module) -> None:
        super().__init__(features, context_features=context_features, hidden=())
        self.net = encoder

    def parts(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the means and log-scales of the encoder."""
        loc, log_scale = cast(nn.Module, self.net)(context).chunk(2, dim=-1)
        return loc, log_scale


def _same(h: Tensor) -> Tensor:
    return h
