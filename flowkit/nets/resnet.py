"""Residual networks on vectors."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from flowkit._checks import check_context, check_count, check_event, check_widths
from flowkit.errors import ArgumentError
from flowkit.nets.linear import Linear, activation_named, context_layers
from flowkit.nets.stages import Stage, stage


class ResidualBlock(nn.Module):
    """``h + W2 a(W1 a(h) + b1 + V c) + b2``: two linear layers with a skip connection."""

    def __init__(
        self,
        width: int,
        *,
        context_features: int,
        activation: Callable[[Tensor], Tensor],
        mask: Tensor | None,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.first = Linear(width, width, mask=mask)
        self.second = Linear(width, width, mask=mask)
        self.context = context_layers(context_features, (width,))

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        """Map ``(*batch, width)`` to ``(*batch, width)``."""
        r = self.first(self.activation(h))
        if context is not None:
            r = r + self.context[0](context)
        out: Tensor = h + self.second(self.activation(r))
        return out


class ResNet(nn.Module):
    """A residual network: an input layer, one residual block per entry of ``hidden``, an output.

    The context is an input of every linear layer that precedes a nonlinearity.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        hidden: width of each block; all widths must be equal.
        context_features: width of the context, 0 for none.
        activation: "relu", "tanh", "elu", "silu" or "gelu".
        masks: boolean masks ``(out, in)`` of the input layer, of each block and of the output
            layer, or None.

    Raises:
        ArgumentError: widths differ or are not positive, or the activation is unknown.

    Reference: He, Zhang, Ren and Sun, *Identity mappings in deep residual networks*, 2016.

    Example:
        >>> import torch
        >>> ResNet(3, 8, hidden=(32, 32))(torch.randn(5, 3)).shape
        torch.Size([5, 8])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        hidden: Sequence[int] = (64, 64),
        *,
        context_features: int = 0,
        activation: str = "relu",
        masks: Sequence[Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.in_features = check_count("in_features", in_features)
        self.out_features = check_count("out_features", out_features)
        self.context_features = check_count("context_features", context_features, minimum=0)
        self.activation = activation_named(activation)
        widths = check_widths("hidden", hidden)
        width = widths[0]
        if len(set(widths)) > 1:
            raise ArgumentError("hidden", "equal widths, for a residual network", tuple(hidden))
        all_masks: Sequence[Tensor | None] = masks or [None] * (len(widths) + 2)
        mask_in, *block_masks, mask_out = all_masks
        self.input = Linear(in_features, width, mask=mask_in)
        self.context = context_layers(context_features, (width,))
        self.blocks = nn.ModuleList(
            ResidualBlock(
                width, context_features=context_features, activation=self.activation, mask=mask
            )
            for mask in block_masks
        )
        self.output = Linear(width, out_features, mask=mask_out)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map ``(*batch, in_features)`` to ``(*batch, out_features)``.

        ``context`` is ``(*batch, context_features)``, or broadcasts to it.
        """
        check_event("x", x, (self.in_features,))
        check_context(context, self.context_features)
        h = self.input(x)
        if context is not None:
            h = h + self.context[0](context)
        for block in self.blocks:
            h = block(h, context)
        out: Tensor = self.output(h)
        return out

    def stages(self) -> list[Stage]:
        """Return the hidden layers, two per block; the last layer has no activation."""
        stages = [stage(self.input, self.context, self.activation)]
        for block in self.blocks:
            stages.append(stage(block.first, block.context, self.activation))
            stages.append(stage(block.second, None, self.activation, skip=True))
        stages[-1] = stages[-1]._replace(activation=None)
        return stages

    def zero_output_(self) -> None:
        """Set the output layer to zero, so that the initial output is zero for every input."""
        self.output.zero_()
