"""MADEs of one architecture, stacked: evaluated and trained as one batched network."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from flowkit._checks import check_context, check_event
from flowkit._training_mode import needs_plain_torch
from flowkit.errors import ArgumentError
from flowkit.nets.linear import Linear
from flowkit.nets.made import MADE
from flowkit.nets.matmul import fast_matmul
from flowkit.nets.resnet import ResNet


class StackedParts(NamedTuple):
    """Weights ``(E, out, in)`` and biases ``(E, out, 1)`` of a `StackedMADE` by their use.

    Attributes:
        hidden: weight and bias of the input layer, then of the two layers of each block.
        output: weight of the output layer.
        output_bias: its bias.
        contexts: of the context, for the input layer and each block; empty without context.
        direct: from the inputs and the context to the outputs; None without direct connections.
    """

    hidden: list[tuple[Tensor, Tensor]]
    output: Tensor
    output_bias: Tensor
    contexts: list[Tensor]
    direct: Tensor | None


class StackedMADE(nn.Module):
    """Residual MADEs of one architecture, one for each entry of a leading dimension.

    The time of narrow networks goes into the number of operations, not into arithmetic. Here E
    networks take the operations of one, each a batched matrix product. Rows come *last*, so that
    everything done feature by feature is contiguous. The backward pass is written out. Weights are
    masked once, at the start: the gradient of a masked weight is zero, so with an optimiser like
    Adam the weight stays zero.

    Args:
        mades: the networks, with residual blocks and ReLUs. They may differ in their weights and
            orders. Weights are copied; `unstack` copies them back.

    Raises:
        ArgumentError: networks without residual blocks or ReLUs, or of several architectures.

    Reference: Germain, Gregor, Murray and Larochelle, *MADE*, 2015, equations 8 to 13.

    Example:
        >>> stacked = StackedMADE([MADE(4, 2, (16, 16), residual=True) for _ in range(3)])
        >>> stacked(torch.zeros(3, 4, 10)).shape
        torch.Size([3, 4, 2, 10])
    """

    def __init__(self, mades: Sequence[MADE]) -> None:
        super().__init__()
        _check_alike(mades)
        first = mades[0]
        self.features = first.features
        self.outputs_per_feature = first.outputs_per_feature
        self.context_features = first.context_features
        self._layers = [tuple(_layers(made)) for made in mades]
        self._count = len(cast(ResNet, first.net).blocks)
        layers = list(zip(*self._layers, strict=True))
        self.weights = nn.ParameterList(
            torch.stack([one.masked_weight().detach() for one in layer]) for layer in layers
        )
        self.biases = nn.ParameterList(
            torch.stack([one.bias.detach() for one in layer]).unsqueeze(-1)
            for layer in layers
            if layer[0].bias is not None
        )
        self._masked = [layer[0].mask is not None for layer in layers]
        for i, layer in enumerate(layers):
            if self._masked[i]:
                mask = torch.stack([one.mask for one in layer])
                if bool((mask == mask[:1]).all()):
                    mask = mask[:1].clone()
                self.register_buffer(f"mask{i}", mask, persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map ``(E, features, rows)`` to ``(E, features, parameters, rows)``.

        ``context`` is ``(E, context_features, rows)``. It gets no gradient.
        """
        check_event("x", x[..., 0], (self.features,))
        check_context(None if context is None else context[..., 0], self.context_features)
        weights, biases, masks = list(self.weights), list(self.biases), self._masks()
        if needs_plain_torch():
            masked = [w if m is None else m * w for w, m in zip(weights, masks, strict=True)]
            out = _forward(x, context, masked, biases, self._count, None)
        else:
            out = _Network.apply(x, context, self._count, masks, *weights, *biases)  # type: ignore[no-untyped-call]
        result: Tensor = out.unflatten(1, (self.features, self.outputs_per_feature))
        return result

    @torch.no_grad()
    def unstack(self) -> None:
        """Copy the weights back into the networks."""
        for i, layers in enumerate(self._layers):
            for layer, weight in zip(layers, self.weights, strict=True):
                layer.weight.copy_(weight[i])
            with_bias = [layer for layer in layers if layer.bias is not None]
            for layer, bias in zip(with_bias, self.biases, strict=True):
                layer.bias.copy_(bias[i, :, 0])

    @torch.no_grad()
    def parts(self) -> StackedParts:
        """Return the weights by their use."""
        weights, biases = list(self.weights), list(self.biases)
        output = 2 * self._count + 1
        direct = output + 1 + (self._count + 1 if self.context_features else 0)
        return StackedParts(
            list(zip(weights[:output], biases[:output], strict=True)),
            weights[output],
            biases[output],
            [weight.detach() for weight in weights[output + 1 : direct]],
            torch.cat(weights[direct:], 2) if weights[direct:] else None,
        )

    def _masks(self) -> list[Tensor | None]:
        return [getattr(self, f"mask{i}") if m else None for i, m in enumerate(self._masked)]


class _Network(torch.autograd.Function):
    """A residual MADE of stacked weights; layers as `_layers` lists them."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        context: Tensor | None,
        blocks: int,
        masks: list[Tensor | None],
        *tensors: Tensor,
    ) -> Tensor:
        weights, biases = list(tensors[: len(masks)]), list(tensors[len(masks) :])
        saved: list[Tensor] = []
        with fast_matmul():
            out = _forward(x, context, weights, biases, blocks, saved)
        ctx.blocks, ctx.masks = blocks, masks
        ctx.save_for_backward(x, context, *weights, *saved)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with fast_matmul():
            return _backward(ctx, grad)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, context, *rest = ctx.saved_tensors
    masks, blocks = ctx.masks, ctx.blocks
    weights, (*activations, last) = rest[: len(masks)], rest[len(masks) :]
    of_weights: list[Tensor | None] = [None] * len(masks)
    of_biases: list[Tensor | None] = [None] * (2 + 2 * blocks)

    def layer(index: int, bias: int | None, of_output: Tensor, source: Tensor) -> Tensor:
        """Set the gradients of a layer; return that of its input."""
        of_weight = torch.bmm(of_output, source.mT)
        mask = masks[index]
        of_weights[index] = of_weight if mask is None else of_weight.mul_(mask)
        if bias is not None:
            of_biases[bias] = of_output.sum(-1, keepdim=True)
        return torch.bmm(weights[index].mT, of_output)

    output = 2 * blocks + 1
    h = layer(output, output, grad, last)
    of_x = torch.zeros_like(x)
    contexts = output + 1
    extra = contexts + (0 if context is None else blocks + 1)
    if extra < len(masks):  # direct connections
        of_x = layer(extra, None, grad, x)
        if context is not None:
            of_weights[extra + 1] = torch.bmm(grad, context.mT)
    for block in reversed(range(blocks)):
        before, between = activations[2 * block : 2 * block + 2]
        r = layer(2 * block + 2, 2 * block + 2, h, between)
        r = torch.ops.aten.threshold_backward(r, between, 0)
        if context is not None:
            of_weights[contexts + 1 + block] = torch.bmm(r, context.mT)
        r = layer(2 * block + 1, 2 * block + 1, r, before)
        h = h.add_(torch.ops.aten.threshold_backward(r, before, 0))
    if context is not None:
        of_weights[contexts] = torch.bmm(h, context.mT)
    of_x = of_x.add_(layer(0, 0, h, x))
    return of_x, None, None, None, *of_weights, *of_biases


def _forward(
    x: Tensor,
    context: Tensor | None,
    weights: list[Tensor],
    biases: list[Tensor],
    blocks: int,
    saved: list[Tensor] | None,
) -> Tensor:
    """Evaluate; collect the activations, and the input of the last layer, in ``saved``."""
    output = 2 * blocks + 1
    contexts = output + 1
    h = torch.baddbmm(biases[0], weights[0], x)
    if context is not None:
        h = h.baddbmm_(weights[contexts], context)
    activations = []
    for block in range(blocks):
        before = torch.relu(h)
        r = torch.baddbmm(biases[2 * block + 1], weights[2 * block + 1], before)
        if context is not None:
            r = r.baddbmm_(weights[contexts + 1 + block], context)
        between = torch.relu_(r)
        h = h.add_(biases[2 * block + 2]).baddbmm_(weights[2 * block + 2], between)
        activations += [before, between]
    out = torch.baddbmm(biases[output], weights[output], h)
    extra = contexts + (0 if context is None else blocks + 1)
    if extra < len(weights):
        out = out.baddbmm_(weights[extra], x)
        if context is not None:
            out = out.baddbmm_(weights[extra + 1], context)
    if saved is not None:
        saved += [*activations, h]
    return out


def _layers(made: MADE) -> list[Linear]:
    """Return input, two layers a block, output, then those of the context, then direct ones."""
    net: Any = made.net
    layers = [net.input]
    for block in net.blocks:
        layers += [block.first, block.second]
    layers += [net.output, *net.context]
    for block in net.blocks:
        layers += [*block.context]
    layers += [layer for layer in (made.direct, made.direct_context) if layer is not None]
    return layers


def _check_alike(mades: Sequence[MADE]) -> None:
    for made in mades:
        if not isinstance(made.net, ResNet) or made.net.activation is not torch.relu:
            raise ArgumentError("mades", "networks with residual blocks and ReLUs", repr(made))
    shapes = [[tuple(p.shape) for p in made.parameters()] for made in mades]
    if len(mades) == 0 or any(shape != shapes[0] for shape in shapes):
        raise ArgumentError("mades", "at least one, all of one architecture", shapes)
