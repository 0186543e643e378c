"""Multilayer perceptrons."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from flowkit._checks import check_context, check_count, check_event, check_widths
from flowkit.nets.linear import Linear, activation_named, context_layers
from flowkit.nets.stages import Stage, stage


class MLP(nn.Module):
    """A multilayer perceptron; the context is an input of every hidden layer.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        hidden: widths of the hidden layers, at least one.
        context_features: width of the context, 0 for none.
        activation: "relu", "tanh", "elu", "silu" or "gelu".
        masks: one boolean mask ``(out, in)`` per linear layer, including the output, or None.

    Raises:
        ArgumentError: a width is not a positive integer, or the activation is unknown.

    Example:
        >>> import torch
        >>> net = MLP(3, 8, hidden=(32, 32), context_features=2)
        >>> net(torch.randn(5, 3), torch.randn(5, 2)).shape
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
        sizes = list(pairwise((in_features, *widths, out_features)))
        all_masks: Sequence[Tensor | None] = masks or [None] * len(sizes)
        layers = [Linear(i, o, mask=mask) for (i, o), mask in zip(sizes, all_masks, strict=True)]
        self.hidden = nn.ModuleList(layers[:-1])
        self.output = layers[-1]
        self.context = context_layers(context_features, widths)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map ``(*batch, in_features)`` to ``(*batch, out_features)``.

        ``context`` is ``(*batch, context_features)``, or broadcasts to it.
        """
        check_event("x", x, (self.in_features,))
        check_context(context, self.context_features)
        h = x
        for i, layer in enumerate(self.hidden):
            h = layer(h)
            if context is not None:
                h = h + self.context[i](context)
            # In place, to save memory: no other variable refers to h.
            h = torch.relu_(h) if self.activation is torch.relu else self.activation(h)
        out: Tensor = self.output(h)
        return out

    def stages(self) -> list[Stage]:
        """Return the hidden layers."""
        context = self.context or [None] * len(self.hidden)
        return [stage(h, c, self.activation) for h, c in zip(self.hidden, context, strict=True)]

    def zero_output_(self) -> None:
        """Set the output layer to zero, so that the initial output is zero for every input."""
        self.output.zero_()
