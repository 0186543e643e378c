"""Pathwise estimators: gradients through reparameterised samples of continuous latents."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Transform
from torch.distributions.transforms import _InverseTransform

from flowkit.errors import ArgumentError, ShapeError
from flowkit.estimators.estimate import Estimate, check_samples, log_mean_exp, log_weights


def elbo(log_p: Tensor, log_q: Tensor) -> Estimate:
    """The evidence lower bound, ``(1/K) sum_k log f_k`` with ``f = p(x, z) / q(z | x)``.

    Samples must be reparameterised, because the gradient goes through the samples. For discrete
    latents use `reinforce`.

    Args:
        log_p: ``log p(x, z)``, ``(samples, *batch)``.
        log_q: ``log q(z | x)``, ``(samples, *batch)``.

    Raises:
        ShapeError: no samples, or shapes that differ.

    Reference: Kingma and Welling, *Auto-encoding variational Bayes*, 2013, equation 7.

    Example:
        >>> elbo(torch.tensor([[-3.0], [-5.0]]), torch.tensor([[-1.0], [-1.0]])).bound
        tensor([-3.])
    """
    bound = log_weights(log_p, log_q).mean(0)
    return Estimate(bound.detach(), bound)


def iwae(log_p: Tensor, log_q: Tensor) -> Estimate:
    """The importance-weighted bound, ``log (1/K) sum_k f_k``, tighter with more samples.

    Samples must be reparameterised, because the gradient, ``sum_k w_k grad log f_k`` with
    ``w = softmax(log f)``, goes through the samples. For discrete latents use `vimco`. With more
    samples, the gradient of the posterior's parameters becomes noisier; `dreg` avoids that.

    Args:
        log_p: ``log p(x, z)``, ``(samples, *batch)``.
        log_q: ``log q(z | x)``, ``(samples, *batch)``.

    Raises:
        ShapeError: no samples, or shapes that differ.

    Reference: Burda, Grosse and Salakhutdinov, *Importance weighted autoencoders*, 2015,
    equations 8 and 13.

    Example:
        >>> iwae(torch.tensor([[-3.0], [-5.0]]), torch.tensor([[-1.0], [-1.0]])).bound
        tensor([-2.5662])
    """
    bound = log_mean_exp(log_weights(log_p, log_q))
    return Estimate(bound.detach(), bound)


def sticking_the_landing(
    log_p: Tensor, posterior: Any, z: Tensor, context: Tensor | None = None
) -> Estimate:
    """The ELBO, with a gradient that omits the score of the posterior.

    The score, ``grad log q`` at fixed samples, has mean zero, and only adds variance. This
    estimator evaluates ``log q`` with detached parameters, so the arguments are the posterior and
    its samples instead of ``log_q``. If the posterior is exact, the gradient has no variance.

    Args:
        log_p: ``log p(x, z)``, ``(samples, *batch)``, computed from ``z``.
        posterior: a module with ``log_prob(z, context)``, such as a `Flow`, or a
            `torch.distributions.Distribution`.
        z: reparameterised samples of the posterior, ``(samples, *batch, *event_shape)``.
        context: context of a conditional posterior that is a module.

    Raises:
        ShapeError: no samples, or shapes that do not match.
        ArgumentError: the posterior has no ``log_prob``, or contains a network in a transform.

    Reference: Roeder, Wu and Duvenaud, *Sticking the landing*, 2017, equation 8.

    Example:
        >>> q = torch.distributions.Normal(torch.zeros(3, requires_grad=True), 1.0)
        >>> z = q.rsample((10,))
        >>> estimate = sticking_the_landing(-0.5 * z.square() - 0.919, q, z)
        >>> estimate.surrogate.shape
        torch.Size([3])
    """
    bound = log_weights(log_p, _log_q_at_fixed_parameters(posterior, z, context)).mean(0)
    return Estimate(bound.detach(), bound)


def dreg(log_p: Tensor, posterior: Any, z: Tensor, context: Tensor | None = None) -> Estimate:
    """The importance-weighted bound, with a doubly reparameterised gradient (DReG).

    The gradient of the model's parameters is ``sum_k w_k grad log p_k``; that of the posterior's is
    ``sum_k w_k² (d log f_k / dz_k) (dz_k / dphi)``. The arguments are those of
    `sticking_the_landing`. The derivative of ``log_p`` by ``z`` costs one more backward pass. The
    ``log_p`` of a sample must depend on that sample only.

    Args:
        log_p: ``log p(x, z)``, ``(samples, *batch)``, computed from ``z``.
        posterior: a module with ``log_prob(z, context)``, such as a `Flow`, or a
            `torch.distributions.Distribution`.
        z: reparameterised samples of the posterior, ``(samples, *batch, *event_shape)``.
        context: context of a conditional posterior that is a module.

    Raises:
        ShapeError: no samples, or shapes that do not match.
        ArgumentError: the posterior has no ``log_prob``, or contains a network in a transform.

    Reference: Tucker, Lawson, Gu and Maddison, *Doubly reparameterized gradient estimators for
    Monte Carlo objectives*, 2018, equation 8.

    Example:
        >>> q = torch.distributions.Normal(torch.zeros(3, requires_grad=True), 1.0)
        >>> z = q.rsample((10,))
        >>> dreg(-0.5 * z.square() - 0.919, q, z).bound.shape
        torch.Size([3])
    """
    log_f = log_weights(log_p, _log_q_at_fixed_parameters(posterior, z, context))
    bound = log_mean_exp(log_f).detach()
    w = log_f.detach().softmax(0)
    surrogate = (w * log_p).sum(0)
    if not z.requires_grad or not torch.is_grad_enabled():
        return Estimate(bound, surrogate)
    (of_p,) = torch.autograd.grad(log_p.sum(), z, retain_graph=True)
    (of_f,) = torch.autograd.grad(log_f.sum(), z, retain_graph=True)
    w = w.reshape(*w.shape, *[1] * (z.dim() - w.dim()))
    # The gradient of the surrogate by z is w of_p; a linear term corrects it to w² of_f.
    correction = w.square() * of_f - w * of_p
    linear = (correction * (z - z.detach())).reshape(*log_p.shape, -1).sum(-1)
    return Estimate(bound, surrogate + linear.sum(0))


class _LogProb(nn.Module):
    """A module whose forward pass is ``log_prob``, for calls with other parameters."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Tensor) -> Tensor:
        log_prob: Tensor = self.module.log_prob(*args)
        return log_prob


def _log_q_at_fixed_parameters(posterior: Any, z: Tensor, context: Tensor | None) -> Tensor:
    """Return ``log q(z)``, with gradients of ``z`` only."""
    check_samples("z", z)
    if isinstance(posterior, Distribution):
        expected = (*posterior.batch_shape, *posterior.event_shape)
        if z.shape[1:] != expected:
            raise ShapeError("z", f"samples (samples, *{tuple(expected)})", tuple(z.shape))
        twin = _detached(posterior)
        if twin.log_prob(z.detach()).requires_grad:
            required = "a distribution whose parameters, and those of its transforms, are tensors"
            raise ArgumentError("posterior", required, "a network in a transform")
        log_q: Tensor = twin.log_prob(z)
    elif isinstance(posterior, nn.Module) and hasattr(posterior, "log_prob"):
        wrapped = _LogProb(posterior)
        fixed = {name: p.detach() for name, p in wrapped.named_parameters()}
        inputs = (z,) if context is None else (z, context.detach())
        log_q = torch.func.functional_call(wrapped, fixed, inputs)
    else:
        required = "a module with log_prob, or a torch distribution"
        raise ArgumentError("posterior", required, type(posterior).__name__)
    return log_q


def _detached(distribution: Distribution) -> Distribution:
    """Return the same distribution with detached parameters."""
    twin: Distribution = _without_gradients(distribution)
    return twin


def _without_gradients(part: Any) -> Any:
    """Return a copy of a part of a distribution with all tensors detached."""
    if isinstance(part, Tensor):
        return part.detach()
    if isinstance(part, list | tuple):
        return type(part)(map(_without_gradients, part))
    if not isinstance(part, Distribution | Transform):
        return part
    twin = object.__new__(type(part))
    for name, value in vars(part).items():
        # A transform caches its inverse, which refers to the transform.
        is_cache = name == "_inv" and not isinstance(part, _InverseTransform)
        vars(twin)[name] = None if is_cache else _without_gradients(value)
    return twin
