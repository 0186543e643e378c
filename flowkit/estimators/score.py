"""Score-function estimators: gradients without reparameterised samples, as of discrete latents."""

from typing import Literal

import torch
from torch import Tensor

from flowkit._checks import check_choice
from flowkit.errors import ShapeError
from flowkit.estimators.baselines import RunningMoments, leave_one_out, of_others
from flowkit.estimators.estimate import Estimate, log_mean_exp, log_weights


def reinforce(
    log_p: Tensor, log_q: Tensor, *, baseline: Tensor | float | Literal["leave_one_out"] = 0.0
) -> Estimate:
    """The ELBO, with the score-function gradient ``(1/K) sum_k (log f_k - b_k) grad log q_k``.

    Args:
        log_p: ``log p(x, h)``, ``(samples, *batch)``.
        log_q: ``log q(h | x)``, ``(samples, *batch)``; the samples carry no gradient.
        baseline: b_k, independent of sample k: a number, or a tensor that broadcasts with the
            batch, such as the ``mean`` of `RunningMoments`. With "leave_one_out", b_k is the mean
            ``log f`` of the other samples; at least two samples are needed.

    Raises:
        ShapeError: too few samples, or shapes that differ.

    Reference: Williams, *Simple statistical gradient-following algorithms*, 1992; Kool, van Hoof
    and Welling, *Buy 4 REINFORCE samples, get a baseline for free!*, 2019, for leave-one-out.

    Example:
        >>> logits = torch.zeros(4, requires_grad=True)
        >>> q = torch.distributions.Bernoulli(logits=logits)
        >>> h = q.sample((8,))
        >>> estimate = reinforce(h - 1, q.log_prob(h), baseline="leave_one_out")
        >>> estimate.surrogate.sum().backward()
    """
    fewest = 2 if isinstance(baseline, str) else 1
    log_f = log_weights(log_p, log_q, fewest=fewest).detach()
    if isinstance(baseline, str):
        check_choice("baseline", baseline, ("leave_one_out",))
        baseline = of_others(log_f, torch.cumsum, torch.add, 0.0) / (len(log_f) - 1)
    elif isinstance(baseline, Tensor) and baseline.dim():
        batch = log_f.shape[1:]
        try:
            fits = torch.broadcast_shapes(baseline.shape, batch) == batch
        except RuntimeError:
            fits = False
        if not fits:
            expected = f"a shape that broadcasts with the batch, {tuple(batch)}"
            raise ShapeError("baseline", expected, tuple(baseline.shape))
    surrogate = (log_p + (log_f - baseline) * log_q).mean(0)
    return Estimate(log_f.mean(0), surrogate)


def nvil(
    log_p: Tensor,
    log_q: Tensor,
    *,
    baseline: Tensor | None = None,
    moments: RunningMoments | None = None,
) -> Estimate:
    """NVIL: a learning signal with a learned baseline, divided by the running deviation.

    With ``L = log (1/K) sum_k f_k`` the signal is ``s = (L - C(x) - c) / max(1, sqrt(v))``. The
    gradient of the posterior is ``sum_k (s - w_k + 1/K) grad log q_k``, ``w = softmax(log f)``; for
    K = 1, ``s grad log q``. The gradient of the baseline network is ``s grad C(x)``, that of a
    least-squares fit. The posterior's gradient is unbiased up to the division by the deviation.

    Args:
        log_p: ``log p(x, h)``, ``(samples, *batch)``.
        log_q: ``log q(h | x)``, ``(samples, *batch)``; the samples carry no gradient.
        baseline: ``C(x)``, the output of a network for each row, ``(*batch,)``.
        moments: c and v, the mean and variance of ``L - C(x)`` over past batches. Update them with
            ``estimate.bound - baseline`` afterwards.

    Raises:
        ShapeError: no samples, or shapes that differ.

    Reference: Mnih and Gregor, *Neural variational inference and learning in belief networks*,
    2014, section 2.3 and algorithm 1; Mnih and Rezende, *Variational inference for Monte Carlo
    objectives*, 2016, section 2.4, for K > 1.

    Example:
        >>> logits = torch.zeros(4, requires_grad=True)
        >>> q = torch.distributions.Bernoulli(logits=logits)
        >>> h = q.sample((8,))
        >>> moments = RunningMoments()
        >>> estimate = nvil(h - 1, q.log_prob(h), baseline=torch.zeros(4), moments=moments)
        >>> moments.update(estimate.bound)
    """
    log_f = log_weights(log_p, log_q).detach()
    bound, w = log_mean_exp(log_f), log_f.softmax(0)
    signal = bound
    if baseline is not None:
        if baseline.shape != bound.shape:
            raise ShapeError("baseline", f"shape {tuple(bound.shape)}", tuple(baseline.shape))
        signal = signal - baseline.detach()
    if moments is not None:
        signal = (signal - moments.mean) / moments.variance.sqrt().clamp(min=1)
    surrogate = (w * log_p).sum(0) + ((signal - w + 1 / len(w)) * log_q).sum(0)
    if baseline is not None:
        surrogate = surrogate + signal * baseline
    return Estimate(bound, surrogate)


def vimco(
    log_p: Tensor,
    log_q: Tensor,
    *,
    baseline: Literal["geometric", "arithmetic"] | None = "geometric",
) -> Estimate:
    """VIMCO: the importance-weighted bound, with a baseline for each sample from the others.

    With ``L = log (1/K) sum_k f_k``, the gradient of the posterior is
    ``sum_j (L - L_-j - w_j) grad log q_j``. In ``L_-j``, ``f_j`` is replaced by a mean of the other
    samples' ``f``; ``w = softmax(log f)``. The gradient of the model is ``sum_j w_j grad log p_j``.
    Both gradients are unbiased, and no baseline network is needed.

    Args:
        log_p: ``log p(x, h)``, ``(samples, *batch)``.
        log_q: ``log q(h | x)``, ``(samples, *batch)``; the samples carry no gradient.
        baseline: the mean in ``L_-j``: "geometric", as in the paper, or "arithmetic"; None for no
            baseline, the naive estimator of the paper.

    Raises:
        ShapeError: a single sample (use `nvil`), or shapes that differ.

    Reference: Mnih and Rezende, *Variational inference for Monte Carlo objectives*, 2016,
    equations 7 to 10.

    Example:
        >>> logits = torch.zeros(4, requires_grad=True)
        >>> q = torch.distributions.Bernoulli(logits=logits)
        >>> h = q.sample((8,))
        >>> vimco(h - 1, q.log_prob(h)).surrogate.sum().backward()
    """
    log_f = log_weights(log_p, log_q, fewest=1 if baseline is None else 2).detach()
    bound, w = log_mean_exp(log_f), log_f.softmax(0)
    signal = bound
    if baseline is not None:
        signal = bound - leave_one_out(log_f, baseline)
    surrogate = (w * log_p).sum(0) + ((signal - w) * log_q).sum(0)
    return Estimate(bound, surrogate)


def reweighted_wake_sleep(
    log_p: Tensor, log_q: Tensor, *, dreamed_log_q: Tensor | None = None
) -> Estimate:
    """Reweighted wake-sleep: the posterior is fitted to importance-weighted samples.

    The gradient of the model is that of the importance-weighted bound, ``sum_k w_k grad log p_k``.
    The gradient of the posterior is ``sum_k w_k grad log q_k`` (wake), which lowers
    ``KL(p(h | x) || q(h | x))``. With ``dreamed_log_q``, ``grad log q`` of pairs drawn from the
    model is added (sleep). The gradient of the posterior is not that of the bound.

    Args:
        log_p: ``log p(x, h)``, ``(samples, *batch)``.
        log_q: ``log q(h | x)``, ``(samples, *batch)``; the samples carry no gradient.
        dreamed_log_q: ``log q(h | x)`` of pairs drawn from the model, ``(n, *batch)``.

    Raises:
        ShapeError: no samples, or shapes that differ.

    Reference: Bornschein and Bengio, *Reweighted wake-sleep*, 2014, equations 6 to 9.

    Example:
        >>> logits = torch.zeros(4, requires_grad=True)
        >>> q = torch.distributions.Bernoulli(logits=logits)
        >>> h = q.sample((8,))
        >>> reweighted_wake_sleep(h - 1, q.log_prob(h)).surrogate.sum().backward()
    """
    log_f = log_weights(log_p, log_q).detach()
    surrogate = (log_f.softmax(0) * (log_p + log_q)).sum(0)
    if dreamed_log_q is not None:
        if dreamed_log_q.dim() == 0 or dreamed_log_q.shape[1:] != log_q.shape[1:]:
            expected = f"a tensor (n, *{tuple(log_q.shape[1:])})"
            raise ShapeError("dreamed_log_q", expected, tuple(dreamed_log_q.shape))
        surrogate = surrogate + dreamed_log_q.mean(0)
    return Estimate(log_mean_exp(log_f), surrogate)
