"""Inverse of a masked autoregressive layer, and the gradient of the inverse.

A layer is a conditioner ``made`` and a map ``univariate``. The equations
``z_i = f(x_i; params_i(x before i))`` are triangular. Three functions solve them for x:

- `one_pass`, feature by feature: each hidden unit of the MADE is evaluated once;
- `by_sweeps` of the whole network until x is constant, for a conditioner that is no `MADE`;
- `by_passes`, one pass per feature: the plain way, and the reference for the other two.

The gradient of the first two comes from the implicit function theorem (`Solution`). It costs a few
passes forward and backward, and one triangular solve with the transposed Jacobian in one pass.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from flowkit.nets import MADE
from flowkit.nets.incremental import parameters_sweep, transposed_sweep
from flowkit.transforms.conditioning import INPUT_LIMIT, condition
from flowkit.transforms.univariate import Affine, Univariate

# Bytes that the hidden units of one tile of the batch may take: larger tiles leave the cache,
# smaller ones pay for the steps' overhead more often.
_TILE_BYTES = 32 * 2**20


def solve(
    made: nn.Module, univariate: Univariate, z: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor, int | None]:
    """Solve in the fastest way.

    Args:
        made: the conditioner.
        univariate: the map of each feature.
        z: ``(batch, features)``.
        context: ``(batch, context_features)``, if the conditioner takes context.

    Returns:
        x, the log-determinant of the inverse, and the number of sweeps (None without sweeps).
    """
    if not torch.is_grad_enabled():
        return _solve(made, univariate, z, context)
    parameters = list(made.parameters())
    if not all(isinstance(p, nn.Parameter) for p in parameters):
        # Swapped for tensors by `torch.func.functional_call`, and gone before the backward pass.
        return *by_passes(made, univariate, z, context), None
    solved: tuple[Tensor, Tensor, int | None]
    solved = Solution.apply(made, univariate, z, context, *parameters)  # type: ignore[no-untyped-call]
    return solved


def _solve(
    made: nn.Module, univariate: Univariate, z: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor, int | None]:
    if type(made) is MADE:
        return *one_pass(made, univariate, z, context), None
    return by_sweeps(made, univariate, z, context)


def by_passes(
    made: nn.Module, univariate: Univariate, z: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Solve by one pass of the network per feature; differentiable as it stands."""
    n_features = z.shape[-1]
    features = torch.arange(n_features, device=z.device)
    x = torch.zeros_like(z)
    # In an unknown order, what is right after pass k is whatever depends on k - 1 features.
    order = made.order if isinstance(made, MADE) else [None] * n_features
    for i in order:
        params = condition(made, x, context)
        solved, log_derivative = univariate.inverse(z, params)
        # Only feature i is right as yet, and what is wrong must not reach the next pass.
        x = solved if i is None else torch.where(features == i, solved, x)
    # The parameters of the last pass are right for every feature.
    return x, log_derivative.sum(-1)


def one_pass(
    made: MADE, univariate: Univariate, z: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Solve by advancing the MADE feature by feature; ``z`` is ``(batch, features)``."""
    if type(univariate) is Affine and made.takes_sweep_kernel(z):
        params = made.affine_sweep(z, context, univariate.bound)
        solved, log_derivatives = univariate.inverse(z, params)
        return solved, log_derivatives.sum(-1)
    units = sum(map(len, made.stage_degrees)) + made.outputs_per_feature * made.features
    most = max(_TILE_BYTES // (units * z.element_size()), 64)
    tile = math.ceil(len(z) / max(math.ceil(len(z) / most), 1))  # of equal sizes
    z_tiles = z.split(max(tile, 1))
    contexts = [None] * len(z_tiles) if context is None else context.split(max(tile, 1))
    tiles = [_one_pass(made, univariate, *pair) for pair in zip(z_tiles, contexts, strict=True)]
    x, logabsdet = zip(*tiles, strict=True)
    return torch.cat(x), torch.cat(logabsdet)


def _one_pass(
    made: MADE, univariate: Univariate, z: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    order = torch.tensor(made.order, device=z.device)
    ordered_z = z.t()[order].unbind()
    seen = torch.zeros_like(z.t(), memory_format=torch.contiguous_format)  # (D, batch)
    seen_at = seen.unbind()
    solved: list[tuple[Tensor, ...]] = []
    sweep = parameters_sweep(made, seen, context)
    for k, feature in enumerate(made.order):
        params = sweep.advance(k)  # (P, batch)
        if isinstance(univariate, Affine):  # half the work now, the rest for all at once
            x = univariate.solve(ordered_z[k], params)
        else:
            one = univariate if univariate.features is None else univariate.select([feature])
            solved.append(one.step(ordered_z[k], params))
            x = solved[-1][0]
        torch.clamp(x, -INPUT_LIMIT, INPUT_LIMIT, out=seen_at[k])
    if solved:
        x, *results = (torch.stack(parts) for parts in zip(*solved, strict=True))  # (D, batch)
        x, log_derivative = x[order.argsort()].t(), univariate.step_log_derivative(*results).t()
    else:
        params = sweep.outputs.unflatten(0, (made.features, made.outputs_per_feature))
        x, log_derivative = univariate.inverse(z, params[order.argsort()].permute(2, 0, 1))
    return x.contiguous(), log_derivative.sum(-1)


def by_sweeps(
    made: nn.Module, univariate: Univariate, z: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor, int]:
    """Solve by Jacobi sweeps; return x, the log-determinant, and the number of sweeps.

    One sweep per feature is enough. The sweeps end earlier if x no longer changes.

    Reference: Song, Meng, Liao and Ermon, *Accelerating feedforward computation via parallel
    nonlinear equation solving*, 2021.
    """
    x = torch.zeros_like(z)
    most = z.shape[-1]
    for sweeps in range(1, most + 1):
        last = x
        x, log_derivative = univariate.inverse(z, condition(made, last, context))
        if sweeps == most or _settled(x, last):
            break
    return x, log_derivative.sum(-1), sweeps


def _settled(new: Tensor, old: Tensor) -> bool:
    """Return whether a sweep changed nothing but last digits."""
    digits = 8 * torch.finfo(new.dtype).eps * new.abs().clamp(min=1)
    return bool((((new - old).abs() <= digits) | (new == old) | new.isnan()).all())


def transposed_one_pass(
    made: MADE, univariate: Univariate, x: Tensor, context: Tensor | None, v: Tensor
) -> Tensor:
    """Return ``J(x)⁻ᵀ v``, J being the Jacobian of the layer's ``forward``; all (batch, D)."""
    clamped = x.clamp(-INPUT_LIMIT, INPUT_LIMIT)
    params = condition(made, x, context).detach().requires_grad_()
    with torch.enable_grad():
        z, log_derivative = univariate(x, params)
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
    made: nn.Module, univariate: Univariate, x: Tensor, context: Tensor | None, v: Tensor
) -> Tensor:
    """Return ``J(x)⁻ᵀ v`` by Jacobi sweeps of vector-Jacobian products."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        params = condition(made, leaf, context)
        # The diagonal of J is known; what is left is what goes through the conditioner.
        z, log_derivative = univariate(x, params)
        slope = log_derivative.detach().exp()
        u = v / slope
        for _ in range(x.shape[-1] if z.requires_grad else 0):
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
        made: nn.Module,
        univariate: Univariate,
        z: Tensor,
        context: Tensor | None,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor, int | None]:
        """Solve."""
        x, logabsdet, sweeps = _solve(made, univariate, z, context)
        ctx.made, ctx.univariate = made, univariate
        ctx.save_for_backward(z, context, x, *parameters)
        return x, logabsdet, sweeps

    @staticmethod
    def backward(ctx: Any, v: Tensor, w: Tensor, _: None) -> tuple[Tensor | None, ...]:
        """Solve with the transposed Jacobian.

        From ``f(x, θ) = z`` follows ``dx = J⁻¹ (dz - f_θ dθ)``. The log-determinant is
        ``-l(x, θ)``. So with derivatives v and w of a scalar with respect to both, and
        ``u = J⁻ᵀ (v - l_xᵀ w)``, those with respect to z and θ are ``u`` and
        ``-f_θᵀ u - l_θᵀ w``.
        """
        made, univariate = ctx.made, ctx.univariate
        z, context, x, *parameters = ctx.saved_tensors
        inputs = (z, context, *parameters)
        if torch.is_grad_enabled():  # a derivative of this one is wanted
            plain = by_passes(made, univariate, z, context)
            return None, None, *_gradients(plain, (v, w), inputs, create_graph=True)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            if context is not None and ctx.needs_input_grad[3]:
                context = context.detach().requires_grad_()
            z_again, log_derivative = univariate(leaf, condition(made, leaf, context))
            logabsdet = log_derivative.sum(-1)
            if logabsdet.requires_grad:
                (through,) = torch.autograd.grad(logabsdet, leaf, w, retain_graph=True)
                v = v - through
        transposed = transposed_one_pass if type(made) is MADE else transposed_by_sweeps
        u = transposed(made, univariate, x, context, v)
        return None, None, u, *_gradients((z_again, logabsdet), (-u, -w), (context, *parameters))


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
    wanted_gradients = torch.autograd.grad(
        [output for output, _ in pairs],
        wanted,
        [adjoint for _, adjoint in pairs],
        create_graph=create_graph,
        allow_unused=True,
    )
    gradients = iter(wanted_gradients)
    return [next(gradients) if t is not None and t.requires_grad else None for t in inputs]
