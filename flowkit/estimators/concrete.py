"""Concrete distributions: continuous relaxations of discrete latents, with gradients."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from flowkit._checks import check_event, check_positive, check_shape
from flowkit._noise import source
from flowkit.errors import ShapeError


class Relaxed(NamedTuple):
    """Relaxed samples with their log-density.

    Attributes:
        value: values in the simplex, or in [0, 1].
        logit: logarithms of the values, or logits of binary values. Evaluate the density of a
            relaxed prior at ``logit``, because values round to 0 and 1.
        log_q: log-density of log-ratios of the values, or of logits; accurate for values close to a
            corner of the simplex.
    """

    value: Tensor
    logit: Tensor
    log_q: Tensor


def concrete(
    logits: Tensor,
    temperature: float,
    sample_shape: int | Sequence[int] = (),
    *,
    hard: bool = False,
    generator: torch.Generator | None = None,
) -> Relaxed:
    """Draw from the concrete distribution, also called Gumbel-softmax.

    ``value = softmax((logits + Gumbel noise) / temperature)``. A lower temperature gives values
    closer to one-hot, and noisier gradients. Samples are reparameterised, so `elbo` and `iwae`
    apply if the prior is relaxed, too. The log-density of the prior must be one of log-ratios:
    `concrete_log_prob` of ``logit``.

    Args:
        logits: ``(*batch, classes)``, of any scale.
        temperature: positive.
        sample_shape: shape of independent draws.
        hard: return one-hot values, with the gradient of the relaxed values (straight-through).
        generator: random number generator.

    Returns:
        Values and their logarithms ``(*sample_shape, *batch, classes)``, and log-densities
        ``(*sample_shape, *batch)``.

    Raises:
        ArgumentError: the temperature is not positive.

    Reference: Maddison, Mnih and Teh, *The concrete distribution*, 2017, equations 10 and 11; Jang,
    Gu and Poole, *Categorical reparameterization with Gumbel-softmax*, 2017.

    Example:
        >>> relaxed = concrete(torch.zeros(5, 3), 0.5, (2,))
        >>> relaxed.value.shape, relaxed.log_q.shape
        (torch.Size([2, 5, 3]), torch.Size([2, 5]))
    """
    check_event("logits", logits, ())
    if logits.dim() == 0:
        raise ShapeError("logits", "(*batch, classes)", ())
    check_positive("temperature", temperature)
    shape = (*check_shape("sample_shape", sample_shape), *logits.shape)
    gumbel = -torch.empty_like(logits).expand(shape).clone().exponential_(**source(generator)).log()
    log_value = ((logits + gumbel) / temperature).log_softmax(-1)
    value = log_value.exp()
    if hard:
        one_hot = F.one_hot(value.argmax(-1), logits.shape[-1]).to(value)
        value = one_hot + value - value.detach()
    return Relaxed(value, log_value, concrete_log_prob(log_value, logits, temperature))


def concrete_log_prob(log_value: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """Return the log-density of log-values ``(*batch, classes)`` under a concrete distribution.

    The density is that of the log-ratios ``log(v_k / v_K)``, where K is the last class: the
    exp-concrete distribution.

    Reference: Maddison, Mnih and Teh, 2017, equation 26.

    Example:
        >>> at = torch.full((2,), 0.5).log()
        >>> concrete_log_prob(at, torch.zeros(2), 1.0)  # a standard logistic at zero
        tensor(-1.3863)
    """
    n = logits.shape[-1]
    scores = logits.log_softmax(-1) - temperature * log_value
    constant = torch.lgamma(scores.new_tensor(n)) + (n - 1) * scores.new_tensor(temperature).log()
    return constant + scores.sum(-1) - n * scores.logsumexp(-1)


def binary_concrete(
    logits: Tensor,
    temperature: float,
    sample_shape: int | Sequence[int] = (),
    *,
    hard: bool = False,
    generator: torch.Generator | None = None,
) -> Relaxed:
    """Draw from the binary concrete distribution: relaxed bits, each independent of the others.

    ``value = sigmoid((logits + logistic noise) / temperature)``; see `concrete`. The log-density
    ``log_q`` is that of the logit of each bit.

    Args:
        logits: ``(*batch,)``.
        temperature: positive.
        sample_shape: shape of independent draws.
        hard: return bits, with the gradient of the relaxed values (straight-through).
        generator: random number generator.

    Returns:
        Values, logits and log-densities, each ``(*sample_shape, *batch)``. Sum the log-densities
        over the bits of a row.

    Raises:
        ArgumentError: the temperature is not positive.

    Reference: Maddison, Mnih and Teh, 2017, appendix B.

    Example:
        >>> relaxed = binary_concrete(torch.zeros(5, 3), 0.5, (2,))
        >>> relaxed.value.shape, relaxed.log_q.shape
        (torch.Size([2, 5, 3]), torch.Size([2, 5, 3]))
    """
    check_event("logits", logits, ())
    check_positive("temperature", temperature)
    shape = (*check_shape("sample_shape", sample_shape), *logits.shape)
    u = torch.empty_like(logits).expand(shape).clone().uniform_(**source(generator))
    noise = torch.logit(u.clamp(torch.finfo(u.dtype).tiny, 1 - torch.finfo(u.dtype).eps))
    logit = (logits + noise) / temperature
    value = torch.sigmoid(logit)
    if hard:
        value = (logit.detach() > 0).to(value) + value - value.detach()
    return Relaxed(value, logit, binary_concrete_log_prob(logit, logits, temperature))


def binary_concrete_log_prob(logit: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """Return the log-density of logits of values under a binary concrete distribution.

    Reference: Maddison, Mnih and Teh, 2017, equation 24.

    Example:
        >>> binary_concrete_log_prob(torch.zeros(1), torch.zeros(1), 1.0)  # a standard logistic
        tensor([-1.3863])
    """
    at = temperature * logit - logits
    log_temperature = at.new_tensor(temperature).log()
    return log_temperature + F.logsigmoid(at) + F.logsigmoid(-at)
