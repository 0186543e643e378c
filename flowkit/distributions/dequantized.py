"""Dequantisation: probabilities of counts and grey levels from densities, bounded or estimated."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowkit._checks import check_context, check_count, check_shape, check_values
from flowkit._noise import uniform
from flowkit._training_mode import needs_plain_torch
from flowkit.distributions.base import Distribution, check_distribution_type
from flowkit.errors import DtypeError


def dequantize(x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Add uniform noise in [0, 1) to integers: data for a continuous density.

    Args:
        x: integers, of any dtype and shape; integer dtypes become the default float dtype.
        generator: source of the noise; torch's global generator by default.

    Values are checked in eager mode only. Under ``torch.compile`` and ``torch.func`` the result is
    NaN where ``x`` is not an integer. NaN remains NaN in either mode.

    Raises:
        DataError: a number is not an integer, or too large for its dtype; the message names row
            and column.

    Example:
        >>> x = dequantize(torch.tensor([3, 7]))
        >>> x.floor()
        tensor([3., 7.])
    """
    check_integers("x", x)
    dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
    return _noisy(x.to(dtype), generator)


def check_integers(argument: str, x: Tensor, dtype: torch.dtype | None = None) -> None:
    """Raise unless ``x`` has only integers (or NaN) that a dtype represents without gaps.

    No value is read under ``torch.compile`` and ``torch.func``.

    Args:
        argument: name of ``x``.
        x: any tensor.
        dtype: dtype to convert to; the default is that of ``x`` if floating-point, or else torch's.

    Raises:
        DataError: a number is not an integer, or too large; the message names row and column.
        DtypeError: ``x`` is not a tensor.
    """
    if not isinstance(x, Tensor):
        raise DtypeError(argument, "a torch.Tensor of integers", type(x).__name__)
    if needs_plain_torch():
        return
    if x.is_floating_point():
        whole = (x == x.floor()) | x.isnan()
        expected = "an integer (round the data, or give real numbers to the flow itself)"
        check_values(argument, x, whole, expected)
        dtype = dtype or x.dtype
    else:
        x = x.long()
        dtype = dtype or torch.get_default_dtype()
    limit = int(2 / torch.finfo(dtype).eps)
    expected = f"an integer below {limit} in size; {dtype} does not represent all larger ones"
    check_values(argument, x, ~(x.abs() >= limit), expected)


def _noisy(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return integers plus noise, and NaN for all other numbers."""
    y = x + uniform(x.shape, x, generator)
    # The sum may round up to the next integer.
    y = torch.where(y < x + 1, y, torch.nextafter(x + 1, x))
    return torch.where(x == x.floor(), y, math.nan)


class Dequantized(Distribution):
    """A distribution of integer vectors, from a flow for the same vectors plus uniform noise.

    ``P(x) = ∫ p(x + u) du`` over the unit cube. The logarithm of an average is at least the
    average of the logarithms. Therefore one draw of u gives a lower bound of ``log P(x)``; many
    draws, averaged before the logarithm, give an estimate.

    Args:
        flow: a flow (or base) over real vectors.

    Values are checked in eager mode only. Under ``torch.compile`` and ``torch.func`` a row with
    a number that is not an integer gives NaN.

    Raises:
        ArgumentError: ``flow`` is not a distribution.
        DataError: a number in ``x`` is not an integer; the message names row and column.

    Reference: Theis, van den Oord and Bethge, *A note on the evaluation of generative models*,
    2016, section 3.1.

    Example:
        >>> from flowkit.flows import maf
        >>> counts = Dequantized(maf(2))
        >>> counts.log_prob_bound(torch.tensor([[3, 1], [0, 2]])).shape
        torch.Size([2])
    """

    has_rsample = False

    def __init__(self, flow: Distribution) -> None:
        check_distribution_type("flow", flow)
        super().__init__(tuple(flow.event_shape), context_features=flow.context_features)
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
            context: context of the flow.
            samples: number of draws of noise to average over.
            generator: source of the noise.

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

    def check_rows(self, x: Tensor, context: Tensor | None = None) -> None:
        """Raise unless rows are integers; `flowkit.training.fit` calls this before a fit."""
        check_context(context, self.flow.context_features)
        check_integers("data", x, next(self.flow.parameters(), torch.empty(0)).dtype)

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
        check_integers("x", x, parameter.dtype)
        x = x.to(parameter.dtype)
        if context is not None:  # the dimension of draws precedes all batch dimensions
            event = self.flow.event_shape
            batch = x.shape[: x.dim() - len(event)]
            x = x.expand(*torch.broadcast_shapes(batch, context.shape[:-1]), *event)
        rows = _noisy(x.expand(samples, *x.shape), generator)
        terms: Tensor = self.flow.log_prob(rows, context)
        return terms
