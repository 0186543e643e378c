"""Log-likelihood of latent-variable models, estimated by importance sampling."""

import math
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from flowkit._checks import check_count
from flowkit.errors import ShapeError


class HasLogWeights(Protocol):
    """A model that draws latents with importance weights."""

    def log_weights(
        self, x: Tensor, samples: int, generator: torch.Generator | None, **options: Any
    ) -> Tensor:
        """Return ``log p(x, z) - log q(z | x)`` of new samples, ``(samples, *batch)``."""


class LogLikelihood(NamedTuple):
    """An estimate of ``log p(x)``, a lower bound in expectation, with its reliability.

    Attributes:
        value: ``log (1/K) sum_k f_k`` in nats, ``(*batch,)``, float64.
        standard_error: standard error of each value, by the delta method; NaN for a single sample.
        effective_samples: ``(sum f)² / sum f²``, between 1 and K. If only a few, the value is too
            low, and the standard error is not reliable.
    """

    value: Tensor
    standard_error: Tensor
    effective_samples: Tensor


@torch.no_grad()
def log_likelihood(
    model: HasLogWeights,
    x: Tensor,
    *,
    samples: int = 5_000,
    chunk: int = 100,
    generator: torch.Generator | None = None,
    **options: Any,
) -> LogLikelihood:
    """Estimate ``log p(x)`` by importance sampling, ``chunk`` samples at a time.

    Only sums are stored, so memory does not grow with ``samples``.

    Args:
        model: has ``log_weights(x, samples, generator)``.
        x: ``(*batch, *event_shape)``.
        samples: number of samples K.
        chunk: number of samples computed at once.
        generator: random number generator.
        options: further arguments of ``log_weights``, such as the context of a conditional model.

    Raises:
        ArgumentError: no samples.
        DataError: a value is outside the support of the model's ``likelihood``; the row is named.
        ShapeError: the model returns weights of another shape.

    Reference: Burda, Grosse and Salakhutdinov, *Importance weighted autoencoders*, 2015, section 5,
    for K = 5,000.

    Example:
        >>> class Coin:  # z is heads or tails, and x = z
        ...     def log_weights(self, x, samples, generator):
        ...         return torch.zeros(samples, len(x)) - 0.6931
        >>> log_likelihood(Coin(), torch.ones(2), samples=10).value
        tensor([-0.6931, -0.6931], dtype=torch.float64)
    """
    check_count("samples", samples)
    check_count("chunk", chunk)
    observed = getattr(model, "likelihood", None)
    if observed is not None:
        observed.check(x)
    first: Tensor | None = None  # log of the sum of weights
    second: Tensor | None = None  # log of the sum of squared weights
    for start in range(0, samples, chunk):
        n = min(chunk, samples - start)
        log_f = model.log_weights(x, n, generator, **options).double()
        if log_f.dim() == 0 or len(log_f) != n:
            expected = f"log_weights of shape ({n}, *batch)"
            raise ShapeError("model", expected, tuple(log_f.shape))
        sums, squares = log_f.logsumexp(0), (2 * log_f).logsumexp(0)
        first = sums if first is None else torch.logaddexp(first, sums)
        second = squares if second is None else torch.logaddexp(second, squares)
    assert first is not None  # noqa: S101  for the type checker: there is at least one chunk
    assert second is not None  # noqa: S101
    effective = (2 * first - second).exp()
    # Var(f) / mean(f)² / K; the relative variance Var(f) / mean(f)² is K / effective - 1.
    variance = (samples / effective - 1).clamp(min=0) / max(samples - 1, 1)
    if samples == 1:
        variance = variance * math.nan
    return LogLikelihood(first - math.log(samples), variance.sqrt(), effective)
