"""Density of Gaussian mixtures, with its gradient written out."""

import math
from typing import Any

import torch
from torch import Tensor

from flowkit._training_mode import needs_plain_torch

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def mixture_log_density(x: Tensor, params: Tensor, bound: float) -> Tensor:
    """Return the log-density of each entry under its own mixture, as `GaussianMixture` defines it.

    One pass computes the density and what its gradient needs: with responsibilities r, weights w
    and standardised distances u, the gradient is ``r - w`` for the logits, ``r u / s`` for the
    means and ``r (u² - 1)`` for the log-scales.

    Rows come last, so that all sums over components run along contiguous memory.

    Args:
        x: ``(*batch, rows)``.
        params: ``(*batch, 3, components, rows)``: logits, means, log-scales.
        bound: log-scales are softly within ``± bound``.

    Reference: Bishop, *Mixture density networks*, 1994, equations 33 to 39.
    """
    if needs_plain_torch() or not params.requires_grad:
        return _parts(x, params, bound)[0]
    density: Tensor = _Density.apply(x, params, bound)  # type: ignore[no-untyped-call]
    return density


class _Density(torch.autograd.Function):
    """`mixture_log_density`; the gradient is made in the forward pass, and kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, params: Tensor, bound: float) -> Tensor:
        log_density, share, weights, inverse, u, squashed = _parts(x, params, bound)
        of_params = torch.empty_like(params)
        of_logits, of_means, of_scales = of_params.unbind(-3)
        torch.sub(share, weights, out=of_logits)
        torch.mul(u, share, out=of_means)
        torch.mul(of_means, u, out=of_scales).sub_(share)
        of_scales.mul_(squashed.square_().neg_().add_(1))
        of_means.mul_(inverse)
        ctx.save_for_backward(of_means.sum(-2), of_params, x, params)
        ctx.bound = bound
        return log_density

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        of_x, of_params, x, params = ctx.saved_tensors
        if torch.is_grad_enabled():  # for second derivatives
            log_density = _parts(x, params, ctx.bound)[0]
            of_x, of_params = torch.autograd.grad(log_density, (x, params), grad, create_graph=True)
            return of_x, of_params, None
        return -grad * of_x, grad[..., None, None, :] * of_params, None


def _parts(x: Tensor, params: Tensor, bound: float) -> tuple[Tensor, ...]:
    """Return the log-density, responsibilities, weights, inverse scales, u, and tanh."""
    logits, means, raw = params.unbind(-3)
    components = means.shape[-2]
    squashed = torch.tanh(raw / bound)
    log_scales = bound * squashed
    inverse = (-log_scales).exp()
    distance = x.unsqueeze(-2) - means
    if components > 1:  # the places where zero parameters have the means
        places = torch.linspace(-1, 1, components, dtype=x.dtype, device=x.device)
        distance = distance - places.unsqueeze(-1)
    most = 0.25 * torch.finfo(x.dtype).max ** 0.5  # its square must be finite
    u = (distance * inverse).clamp(-most, most)
    weights, log_total = _softmax(logits)
    share, log_joint = _softmax(logits - log_scales - 0.5 * (u * u))
    return log_joint - log_total - _HALF_LOG_2PI, share, weights, inverse, u, squashed


def _softmax(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the softmax over components, the last dimension but one, and its logarithmic sum."""
    most = logits.amax(-2, keepdim=True).detach()
    share = (logits - most).exp()
    total = share.sum(-2, keepdim=True)
    return share / total, (most + total.log()).squeeze(-2)
