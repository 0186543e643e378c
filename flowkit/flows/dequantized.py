"""Densities for counts and grey levels: dequantisation, its bound, and a better estimate."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowkit._checks import check_count, check_shape
from flowkit._noise import uniform
from flowkit.flows.bases import Base
from flowkit.flows.flow import Flow


def dequantize(x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Add uniform noise in [0, 1) to integers: data for a continuous density.

    Args:
        x: integers, of any dtype and shape; integer dtypes become the default float dtype.
        generator: where to draw from; torch's global one by default.

    Example:
        >>> x = dequantize(torch.tensor([3, 7]))
        >>> x.floor()
        tensor([3., 7.])
    """
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    y = x + uniform(x.shape, x, generator)
    # The sum may round up to the next integer.
    return torch.where(y < x + 1, y, torch.nextafter(x + 1, x))


class Dequantized(nn.Module):
    """A probability of integer vectors, by a flow for the same vectors plus uniform noise.

    ``P(x) = ∫ p(x + u) du`` over the unit cube. The logarithm of an average is at least the
    average of logarithms, so one pass bounds it from below; many, averaged before the logarithm,
    estimate it.

    Args:
        flow: a flow (or base) over real vectors.

    Reference: Theis, van den Oord and Bethge, *A note on the evaluation of generative models*,
    2016, section 3.1.

    Example:
        >>> from flowkit.flows import maf
        >>> counts = Dequantized(maf(2))
        >>> counts.log_prob_bound(torch.tensor([[3, 1], [0, 2]])).shape
        torch.Size([2])
    """

    def __init__(self, flow: Flow | Base) -> None:
        super().__init__()
        self.flow = flow

    def log_prob_bound(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        samples: int = 1,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return an unbiased estimate of a lower bound of ``log P(x)``, for training too.

        Args:
            x: integers, ``(*batch, *event_shape)``.
            context: as the flow asks.
            samples: number of draws of noise to average over.
            generator: where to draw from.

        Returns:
            ``(*batch,)``, in nats.
        """
        return self._terms(x, context, samples, generator).mean(0)

    def log_prob(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        samples: int = 100,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the importance-sampled estimate of ``log P(x)``; its bias falls as 1 / samples.

        Arguments and result as for `log_prob_bound`.
        """
        return self._terms(x, context, samples, generator).logsumexp(0) - math.log(samples)

    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw integers (as floats), ``(*sample_shape, *context_batch, *event_shape)``."""
        shape = check_shape("sample_shape", sample_shape)
        with torch.no_grad():
            draws: Tensor = self.flow.sample(shape, context, generator)
        return draws.floor()

    def _terms(
        self,
        x: Tensor,
        context: Tensor | None,
        samples: int,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Return ``log p(x + u)`` for each draw of u, ``(samples, *batch)``."""
        check_count("samples", samples)
        parameter = next(self.flow.parameters(), torch.empty(0))
        x = x.to(parameter.dtype)
        if context is not None:  # the draws come in front of every batch dimension there is
            event = self.flow.event_shape
            batch = x.shape[: x.dim() - len(event)]
            x = x.expand(*torch.broadcast_shapes(batch, context.shape[:-1]), *event)
        rows = dequantize(x.expand(samples, *x.shape), generator=generator)
        terms: Tensor = self.flow.log_prob(rows, context)
        return terms
