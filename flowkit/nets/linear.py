"""Linear layers with optional masks, and activations."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowkit._checks import check_choice
from flowkit.nets import kernels
from flowkit.nets.kernels import Operands
from flowkit.nets.staircase import Run, pays, runs_of, share_of, staircase_product

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "elu": F.elu,
    "silu": F.silu,
    "gelu": F.gelu,
}

# A masked product is computed by runs if the runs cover less than this share of the mask.
_SHARE = 0.8


def activation_named(name: str) -> Callable[[Tensor], Tensor]:
    """Return the activation called ``name``: relu, tanh, elu, silu or gelu."""
    return ACTIVATIONS[check_choice("activation", name, tuple(ACTIVATIONS))]


class Linear(nn.Linear):
    """A linear layer with an optional mask: ``y = (mask * W) x + b``.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        bias: whether to add ``b``.
        mask: booleans of shape ``(out_features, in_features)``; False cuts a connection.

    Each row of ``W`` is initially uniform within ``± 1 / sqrt(number of its open connections)``.
    Thus the scale of an output does not depend on the number of its inputs.
    """

    mask: Tensor | None
    bounds: Tensor | None

    def __init__(
        self, in_features: int, out_features: int, *, bias: bool = True, mask: Tensor | None = None
    ) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self._runs: list[Run] = []
        bounds = None
        if mask is not None:
            open_connections = mask.sum(dim=1, keepdim=True).clamp(min=1)
            with torch.no_grad():
                self.weight.mul_(mask * (in_features / open_connections).sqrt())
            runs = runs_of(mask)
            if share_of(runs, mask.shape) < _SHARE:
                self._runs = runs
            bounds = kernels.bounds_of(mask)
            mask = mask.to(self.weight.dtype)
        # Not in the state dict, as a mask follows from the configuration.
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("bounds", bounds, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(*batch, in_features)`` to ``(*batch, out_features)``."""
        if self.mask is None:
            return F.linear(x, self.weight, self.bias)
        if is_masked(self) and kernels.apply_to(x, self.weight):
            rows = kernels.masked_mlp(x.reshape(-1, self.in_features), operands([self]))
            return rows.view(*x.shape[:-1], self.out_features)
        if self._runs and pays(x, self.weight):
            y = staircase_product(
                x.reshape(-1, self.in_features), self.weight, self.bias, self.mask, self._runs
            )
            return y.view(*x.shape[:-1], self.out_features)
        return F.linear(x, self.masked_weight(), self.bias)

    def masked_weight(self) -> Tensor:
        """Return the weight, multiplied by the mask if there is one."""
        return self.weight if self.mask is None else self.mask * self.weight

    def zero_(self) -> None:
        """Set the weights and the bias to zero."""
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def is_masked(layer: nn.Module) -> bool:
    """Return whether a layer has a mask and a bias, and computes nothing but their product."""
    return type(layer) is Linear and layer.mask is not None and layer.bias is not None


def operands(layers: Sequence[nn.Module]) -> Operands:
    """Return the masked layers in the form of the kernels."""
    columns = zip(*((m.weight, m.bias, m.mask, m.bounds) for m in layers), strict=True)
    return Operands(*(cast("list[Tensor]", [*column]) for column in columns))


def context_layers(context_features: int, widths: tuple[int, ...]) -> nn.ModuleList:
    """Return one bias-free layer of the context per width; no layers without a context."""
    if context_features == 0:
        return nn.ModuleList()
    return nn.ModuleList(Linear(context_features, width, bias=False) for width in widths)
