"""Estimates, the results of estimators, and log-weights, their inputs."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from flowkit.errors import DtypeError, ShapeError


class Estimate(NamedTuple):
    """A lower bound on ``log p(x)``, and a surrogate with the estimated gradient.

    Attributes:
        bound: estimate of the bound in nats, ``(*batch,)``.
        surrogate: function whose gradient is the estimator, ``(*batch,)``; the value is
            meaningless.
    """

    bound: Tensor
    surrogate: Tensor


def log_weights(log_p: Tensor, log_q: Tensor, *, fewest: int = 1) -> Tensor:
    """Return ``log f = log p(x, h) - log q(h | x)``, checked, ``(samples, *batch)``.

    Args:
        log_p: log-density of the joint, ``(samples, *batch)``.
        log_q: log-density of the posterior that samples are from, ``(samples, *batch)``.
        fewest: minimum number of samples.

    Raises:
        DtypeError: an argument is not a floating-point tensor.
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
    """Raise unless the first dimension has at least ``fewest`` samples."""
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
