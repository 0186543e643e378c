"""What an estimator returns, and what all of them are computed from: log-weights."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from flowkit.errors import DtypeError, ShapeError


class Estimate(NamedTuple):
    """A lower bound on ``log p(x)``, and what to differentiate to ascend it.

    Attributes:
        bound: the bound as these samples have it, in nats, ``(*batch,)``.
        surrogate: its gradient is the estimator, ``(*batch,)``; its value means nothing.
    """

    bound: Tensor
    surrogate: Tensor


def log_weights(log_p: Tensor, log_q: Tensor, *, fewest: int = 1) -> Tensor:
    """Return ``log f = log p(x, h) - log q(h | x)``, checked, ``(samples, *batch)``.

    Args:
        log_p: of the joint, ``(samples, *batch)``.
        log_q: of the posterior that drew the samples, likewise.
        fewest: samples that are needed.

    Raises:
        DtypeError: one is no floating-point tensor.
        ShapeError: the shapes differ, or there are too few samples.
    """
    for name, value in (("log_p", log_p), ("log_q", log_q)):
        if not isinstance(value, Tensor) or not value.is_floating_point():
            got = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise DtypeError(name, "a floating-point tensor", got)
    check_samples("log_p", log_p, fewest)
    if log_p.shape != log_q.shape:
        raise ShapeError("log_q", f"the shape of log_p, {tuple(log_p.shape)}", tuple(log_q.shape))
    return log_p - log_q


def check_samples(argument: str, value: Tensor, fewest: int = 1) -> None:
    """Raise unless the first dimension holds at least so many samples."""
    if value.dim() == 0 or len(value) < fewest:
        expected = f"a tensor (samples, *batch) of at least {fewest} samples"
        raise ShapeError(argument, expected, f"shape {tuple(value.shape)}")


def log_mean_exp(log_f: Tensor) -> Tensor:
    """Return ``log (1/K) sum_k f_k``, ``(K, *batch)`` to ``(*batch,)``.

    Example:
        >>> log_mean_exp(torch.tensor([0.0, -1000.0]))
        tensor(-0.6931)
    """
    return torch.logsumexp(log_f, dim=0) - math.log(len(log_f))
