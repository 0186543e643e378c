"""What a latent-variable model really says of a row: its likelihood, by importance sampling."""

import math
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from flowkit._checks import check_count
from flowkit.errors import ShapeError


class HasLogWeights(Protocol):
    """A model that draws latents and weighs them."""

    def log_weights(
        self, x: Tensor, samples: int, generator: torch.Generator | None, **given: Any
    ) -> Tensor:
        """Return ``log p(x, z) - log q(z | x)`` of fresh samples, ``(samples, *batch)``."""


class LogLikelihood(NamedTuple):
    """An estimate of ``log p(x)``, from below, and how far it can be trusted.

    Attributes:
        value: ``log (1/K) sum_k f_k`` in nats, ``(*batch,)``, float64.
        standard_error: of each value, by the delta method; NaN of a single sample.
        effective_samples: ``(sum f)² / sum f²``, between 1 and K; of a handful the value is low,
            and its standard error says nothing.
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
    **given: Any,
) -> LogLikelihood:
    """Estimate ``log p(x)`` by importance sampling, ``chunk`` samples at a time.

    Only sums are kept, so the memory does not grow with ``samples``.

    Args:
        model: has ``log_weights(x, samples, generator)``.
        x: ``(*batch, *event_shape)``.
        samples: K.
        chunk: samples at once.
        generator: where to draw from.
        given: handed to ``log_weights``, such as the context of a conditional model.

    Raises:
        ArgumentError: no samples.
        DataError: a value is impossible under the model's ``likelihood``; the row is named.
        ShapeError: the model returns weights of another shape.

    Reference: Burda, Grosse and Salakhutdinov, *Importance weighted autoencoders*, 2015, section 5,
    for K = 5,000.

    Example:
        >>> class Coin:  # z says heads or tails, x always follows
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
    first: Tensor | None = None  # log of the sum of weights so far
    second: Tensor | None = None  # log of the sum of their squares
    for start in range(0, samples, chunk):
        n = min(chunk, samples - start)
        log_f = model.log_weights(x, n, generator, **given).double()
        if log_f.dim() == 0 or len(log_f) != n:
            expected = f"({n}, *batch) of log_weights"
            raise ShapeError("model", expected, tuple(log_f.shape))
        sums, squares = log_f.logsumexp(0), (2 * log_f).logsumexp(0)
        first = sums if first is None else torch.logaddexp(first, sums)
        second = squares if second is None else torch.logaddexp(second, squares)
    assert first is not None  # noqa: S101  for the type checker: there is at least one chunk
    assert second is not None  # noqa: S101
    effective = (2 * first - second).exp()
    # Var(f) / mean(f)² / K, of which K / effective - 1 is the relative variance.
    variance = (samples / effective - 1).clamp(min=0) / max(samples - 1, 1)
    if samples == 1:
        variance = variance * math.nan
    return LogLikelihood(first - math.log(samples), variance.sqrt(), effective)
