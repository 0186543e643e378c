"""Multilayer perceptrons."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from flowkit._checks import check_context, check_count, check_event, check_widths
from flowkit.nets import kernels
from flowkit.nets.linear import Linear, activation_named, context_layers, is_masked, operands
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
        if self.takes_kernels(x):
            return self._by_kernels(x, context)
        h = x
        for i, layer in enumerate(self.hidden):
            h = layer(h)
            if context is not None:
                h = h + self.context[i](context)
            # In place, to save memory: no other variable refers to h.
            h = torch.relu_(h) if self.activation is torch.relu else self.activation(h)
        out: Tensor = self.output(h)
        return out

    def takes_kernels(self, x: Tensor) -> bool:
        """Return whether the C++ kernels compute the network for such an input."""
        return (
            kernels.apply_to(x, self.output.weight)
            and self.activation is torch.relu
            and all(is_masked(layer) and not _has_hooks(layer) for layer in self._layers())
        )

    def operands(self) -> kernels.Operands:
        """Return the layers in the form of the kernels."""
        return operands(self._layers())

    def terms(self, context: Tensor | None, batch: Sequence[int]) -> list[Tensor]:
        """Return the terms of the context in hidden layers, ``(rows, width)`` each."""
        if context is None:
            return []
        terms = (layer(context) for layer in self.context)
        return [term.expand(*batch, -1).reshape(-1, term.shape[-1]) for term in terms]

    def _by_kernels(self, x: Tensor, context: Tensor | None) -> Tensor:
        batch = x.shape[:-1]
        if context is not None:
            batch = torch.broadcast_shapes(batch, context.shape[:-1])
        rows = x.expand(*batch, -1).reshape(-1, self.in_features)
        out = kernels.masked_mlp(rows, self.operands(), self.terms(context, batch))
        return out.view(*batch, self.out_features)

    def _layers(self) -> list[nn.Module]:
        return [*self.hidden, self.output]

    def stages(self) -> list[Stage]:
        """Return the hidden layers."""
        context = self.context or [None] * len(self.hidden)
        return [stage(h, c, self.activation) for h, c in zip(self.hidden, context, strict=True)]

    def zero_output_(self) -> None:
        """Set the output layer to zero, so that the initial output is zero for every input."""
        self.output.zero_()


def _has_hooks(module: nn.Module) -> bool:
    """Return whether something is called along with the module."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
    return any(map(bool, hooks))
