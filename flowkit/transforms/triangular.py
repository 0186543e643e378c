"""Solving a masked autoregressive layer for its input, and the gradient of the solution.

The layer's equations ``z_i = f(x_i; params_i(x before i))`` are triangular. Three ways to solve
them:

- `one_pass`, feature by feature, each hidden unit of the MADE evaluated once;
- `by_sweeps` of the whole network, for a conditioner that is no `MADE`, until nothing moves;
- `by_passes`, as many as there are features: the plain way, and the oracle of the other two.

The gradient of the first two comes from the implicit function theorem (`Solution`): a few passes
forward and backward, and one triangular solve with the transposed Jacobian, in one pass again.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from flowkit.nets import MADE
from flowkit.nets.incremental import parameters_sweep, transposed_sweep
from flowkit.transforms.conditioning import INPUT_LIMIT, condition
from flowkit.transforms.univariate import Affine

if TYPE_CHECKING:
    from flowkit.transforms.autoregressive import MaskedAutoregressive

Solver = Callable[["MaskedAutoregressive", Tensor, Tensor | None], tuple[Tensor, Tensor]]

# Bytes that the hidden units of one tile of the batch may take: larger tiles leave the cache,
# smaller ones pay for the steps' overhead more often.
_TILE_BYTES = 32 * 2**20


def solve(
    layer: "MaskedAutoregressive", z: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Solve the fastest way; ``z`` is ``(batch, features)``, ``context`` as many rows."""
    if not torch.is_grad_enabled():
        return _fastest(layer)(layer, z, context)
    parameters = list(layer.parameters())
    if not all(isinstance(p, nn.Parameter) for p in parameters):
        # Swapped for tensors by `torch.func.functional_call`, and gone before the backward pass.
        return by_passes(layer, z, context)
    x, logabsdet = Solution.apply(layer, z, context, *parameters)  # type: ignore[no-untyped-call]
    return x, logabsdet


def _fastest(layer: "MaskedAutoregressive") -> Solver:
    return one_pass if type(layer.made) is MADE else by_sweeps


def by_passes(
    layer: "MaskedAutoregressive", z: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Solve by one pass of the network per feature; differentiable as it stands."""
    features = torch.arange(layer.features, device=z.device)
    x = torch.zeros_like(z)
    # In an unknown order, what is right after pass k is whatever depends on k - 1 features.
    order = layer.made.order if isinstance(layer.made, MADE) else [None] * layer.features
    for i in order:
        params = condition(layer.made, x, context)
        solved, log_derivative = layer.univariate.inverse(z, params)
        # Only feature i is right as yet, and what is wrong must not reach the next pass.
        x = solved if i is None else torch.where(features == i, solved, x)
    # The parameters of the last pass are right for every feature.
    return x, log_derivative.sum(-1)


def one_pass(
    layer: "MaskedAutoregressive", z: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Solve by advancing the layer's MADE; ``z`` is ``(batch, features)``."""
    units = (
        sum(map(len, layer.made.stage_degrees)) + layer.made.outputs_per_feature * layer.features
    )
    most = max(_TILE_BYTES // (units * z.element_size()), 64)
    tile = math.ceil(len(z) / max(math.ceil(len(z) / most), 1))  # of equal sizes
    tiles = [
        _one_pass(layer, rows, None if context is None else context[i * tile : (i + 1) * tile])
        for i, rows in enumerate(z.split(max(tile, 1)))
    ]
    x, logabsdet = zip(*tiles, strict=True)
    return torch.cat(x), torch.cat(logabsdet)


def _one_pass(
    layer: "MaskedAutoregressive", z: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    made, univariate = layer.made, layer.univariate
    order = torch.tensor(made.order, device=z.device)
    ordered_z = z.t()[order].unbind()
    seen = torch.zeros_like(z.t(), memory_format=torch.contiguous_format)  # (D, batch)
    seen_at = seen.unbind()
    solved: list[tuple[Tensor, Tensor]] = []
    sweep = parameters_sweep(made, seen, context)
    for k, feature in enumerate(made.order):
        params = sweep.advance(k)  # (P, batch)
        if isinstance(univariate, Affine):  # half the work now, the rest for all at once
            x = univariate.solve(ordered_z[k], params)
        else:
            one = univariate if univariate.features is None else univariate.select([feature])
            solved.append(one.inverse(ordered_z[k].unsqueeze(-1), params.t().unsqueeze(-2)))
            x = solved[-1][0].squeeze(-1)
        torch.clamp(x, -INPUT_LIMIT, INPUT_LIMIT, out=seen_at[k])
    if solved:
        x, log_derivative = (torch.cat(parts, dim=-1) for parts in zip(*solved, strict=True))
        x = x[:, order.argsort()]
    else:
        params = sweep.outputs.unflatten(0, (made.features, made.outputs_per_feature))
        x, log_derivative = univariate.inverse(z, params[order.argsort()].permute(2, 0, 1))
    return x.contiguous(), log_derivative.sum(-1)


def by_sweeps(
    layer: "MaskedAutoregressive", z: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Solve by Jacobi sweeps; the layer is told how many it took, at most one per feature.

    Reference: Song, Meng, Liao and Ermon, *Accelerating feedforward computation via parallel
    nonlinear equation solving*, 2021.
    """
    x = torch.zeros_like(z)
    for sweep in range(1, layer.features + 1):
        last = x
        x, log_derivative = layer.univariate.inverse(z, condition(layer.made, last, context))
        layer._sweeps = sweep
        if _settled(x, last):
            break
    return x, log_derivative.sum(-1)


def _settled(new: Tensor, old: Tensor) -> bool:
    """Return whether a sweep changed nothing but last digits."""
    digits = 8 * torch.finfo(new.dtype).eps * new.abs().clamp(min=1)
    return bool((((new - old).abs() <= digits) | (new == old) | new.isnan()).all())


def transposed_one_pass(
    layer: "MaskedAutoregressive", x: Tensor, context: Tensor | None, v: Tensor
) -> Tensor:
    """Return ``J(x)⁻ᵀ v``, J being the Jacobian of the layer's ``forward``; all (batch, D)."""
    made = layer.made
    clamped = x.clamp(-INPUT_LIMIT, INPUT_LIMIT)
    params = condition(made, x, context).detach().requires_grad_()
    with torch.enable_grad():
        z, log_derivative = layer.univariate(x, params)
        (of_params,) = torch.autograd.grad(z.sum(), params)  # (batch, D, P)
    backwards = list(reversed(made.order))
    of_params = of_params.permute(1, 2, 0)[backwards]  # (D, P, batch)
    slope = log_derivative.detach().exp().t()[backwards]
    passed = ((x == clamped) | x.isnan()).t()[backwards]
    v = v.t()[backwards]
    adjoints = torch.zeros_like(of_params, memory_format=torch.contiguous_format)
    sweep = transposed_sweep(made, adjoints.flatten(0, 1), clamped, context)
    solution = torch.empty_like(v)
    for k in range(made.features):
        solution[k] = (v[k] - torch.where(passed[k], sweep.advance(k)[0], 0.0)) / slope[k]
        torch.mul(of_params[k], solution[k], out=adjoints[k])
    return solution[torch.tensor(backwards).argsort()].t()


def transposed_by_sweeps(
    layer: "MaskedAutoregressive", x: Tensor, context: Tensor | None, v: Tensor
) -> Tensor:
    """Return ``J(x)⁻ᵀ v`` by Jacobi sweeps of vector-Jacobian products."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        params = condition(layer.made, leaf, context)
        # The diagonal of J is known; what is left is what goes through the conditioner.
        z, log_derivative = layer.univariate(x, params)
        slope = log_derivative.detach().exp()
        u = v / slope
        for _ in range(layer.features if z.requires_grad else 0):
            (through,) = torch.autograd.grad(z, leaf, u, retain_graph=True)
            last, u = u, (v - through) / slope
            if _settled(u, last):
                break
    return u


class Solution(torch.autograd.Function):
    """The solution x and its log-determinant, as a function of z, context and parameters."""

    @staticmethod
    def forward(
        ctx: Any,
        layer: "MaskedAutoregressive",
        z: Tensor,
        context: Tensor | None,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Solve."""
        x, logabsdet = _fastest(layer)(layer, z, context)
        ctx.layer = layer
        ctx.save_for_backward(z, context, x, *parameters)
        return x, logabsdet

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Solve with the transposed Jacobian.

        From ``f(x, θ) = z`` follows ``dx = J⁻¹ (dz - f_θ dθ)``. The log-determinant is
        ``-l(x, θ)``. So with derivatives v and w of a scalar with respect to both, and
        ``u = J⁻ᵀ (v - l_xᵀ w)``, those with respect to z and θ are ``u`` and
        ``-f_θᵀ u - l_θᵀ w``.
        """
        layer: MaskedAutoregressive = ctx.layer
        z, context, x, *parameters = ctx.saved_tensors
        v, w = grads
        inputs = (z, context, *parameters)
        if torch.is_grad_enabled():  # a derivative of this one is wanted
            plain = by_passes(layer, z, context)
            return None, *_gradients(plain, grads, inputs, create_graph=True)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            if context is not None and ctx.needs_input_grad[2]:
                context = context.detach().requires_grad_()
            z_again, logabsdet = layer(leaf, context)
            if logabsdet.requires_grad:
                (through,) = torch.autograd.grad(logabsdet, leaf, w, retain_graph=True)
                v = v - through
        transposed = transposed_one_pass if type(layer.made) is MADE else transposed_by_sweeps
        u = transposed(layer, x, context, v)
        return None, u, *_gradients((z_again, logabsdet), (-u, -w), (context, *parameters))


def _gradients(
    outputs: Sequence[Tensor],
    adjoints: Sequence[Tensor],
    inputs: Sequence[Tensor | None],
    *,
    create_graph: bool = False,
) -> list[Tensor | None]:
    """Return the gradient with respect to each input, None for those that need none."""
    wanted = [t for t in inputs if t is not None and t.requires_grad]
    if not wanted:
        return [None] * len(inputs)
    pairs = [(o, a) for o, a in zip(outputs, adjoints, strict=True) if o.requires_grad]
    found = torch.autograd.grad(
        [output for output, _ in pairs],
        wanted,
        [adjoint for _, adjoint in pairs],
        create_graph=create_graph,
        allow_unused=True,
    )
    gradients = iter(found)
    return [next(gradients) if t is not None and t.requires_grad else None for t in inputs]
