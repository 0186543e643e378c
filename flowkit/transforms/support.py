"""Maps from the support of a column to the whole line, and back.

A support is an open interval. A point outside it, or on its boundary, gets ``logabsdet = -inf``,
so that its density is exactly 0, never NaN; an interior constant stands in for it before any
logarithm is taken, so that its gradient is 0.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from flowkit._checks import check_count, check_positive
from flowkit.errors import ArgumentError, ShapeError
from flowkit.transforms.elementwise import ElementwiseTransform


class Support(ElementwiseTransform):
    """The same map from an open interval to the line for each feature.

    A subclass says what the interval is, and gives map and inverse with their log-derivatives
    inside it.
    """

    @abstractmethod
    def _inside(self, x: Tensor) -> Tensor:
        """Return which entries are inside the interval."""

    @abstractmethod
    def _interior(self, x: Tensor) -> Tensor:
        """Return some point inside the interval, to broadcast with ``x``."""

    @abstractmethod
    def _to_line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map the inside to the line; return value and log-derivative."""

    @abstractmethod
    def _from_line(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map the line into the interval; return value and log-derivative."""

    def map(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map the inside to the line; outside, the log-derivative is -inf."""
        inside = self._inside(x)
        nan = x.isnan()
        z, log_derivative = self._to_line(torch.where(inside | nan, x, self._interior(x)))
        return z, torch.where(inside | nan, log_derivative, -math.inf)

    def unmap(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map the line into the interval."""
        return self._from_line(z)


class Log(Support):
    """``z = log x``, for what is positive and may range over orders of magnitude.

    Args:
        features: number of features.

    Example:
        >>> z, logabsdet = Log(1)(torch.tensor([[1.0], [-1.0]]))
        >>> z[0].item(), logabsdet
        (0.0, tensor([0., -inf]))
    """

    def _inside(self, x: Tensor) -> Tensor:
        return (x > 0) & (x < math.inf)

    def _interior(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)

    def _to_line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = x.log()
        return z, -z

    def _from_line(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return _positive(z.exp()), z


class Softplus(Support):
    """``z = log(exp(x) - 1)``: like `Log` near zero, and the identity far from it.

    Args:
        features: number of features.

    Example:
        >>> z, _ = Softplus(1)(torch.tensor([[50.0]]))
        >>> z.item()
        50.0
    """

    def _inside(self, x: Tensor) -> Tensor:
        return (x > 0) & (x < math.inf)

    def _interior(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)

    def _to_line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_derivative = -torch.log(-torch.expm1(-x))  # 1 / (1 - exp(-x))
        return x - log_derivative, log_derivative

    def _from_line(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return _positive(torch.logaddexp(z, torch.zeros_like(z))), F.logsigmoid(z)


class Interval(Support):
    """From an interval with one or two ends to the line.

    With two ends it is the logit of the share of the interval; with one, the logarithm of the
    distance from it; with none, the identity.

    Args:
        features: number of features.
        low: the lower end, one number or one per feature; None or -inf where there is none.
        high: the upper end; None or inf where there is none.

    Raises:
        ArgumentError: an end that is NaN, or ends in the wrong order.
        ShapeError: ends for another number of features.

    Example:
        >>> z, _ = Interval(3, low=[0.0, 0.0, -math.inf], high=[1.0, None, 5.0])(
        ...     torch.tensor([[0.5, 1.0, 4.0]])
        ... )
        >>> z
        tensor([[0., 0., 0.]])
    """

    def __init__(
        self,
        features: int,
        low: float | Sequence[float | None] | None = None,
        high: float | Sequence[float | None] | None = None,
    ) -> None:
        super().__init__(check_count("features", features))
        lows, highs = (
            _ends("low", low, -math.inf, features),
            _ends("high", high, math.inf, features),
        )
        for lo, hi in zip(lows, highs, strict=True):
            if not lo < hi:
                raise ArgumentError("high", f"more than low, {lo}", hi)
        self.low, self.high = lows, highs  # exact in any dtype

    def _finite(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the ends, 0 where there is none, and where there is one."""
        low, high = like.new_tensor(self.low), like.new_tensor(self.high)
        has_low, has_high = low > -math.inf, high < math.inf
        return torch.where(has_low, low, 0.0), torch.where(has_high, high, 0.0), has_low, has_high

    def _inside(self, x: Tensor) -> Tensor:
        return (x > x.new_tensor(self.low)) & (x < x.new_tensor(self.high))

    def _interior(self, x: Tensor) -> Tensor:
        low, high, has_low, has_high = self._finite(x)
        one_ended = torch.where(has_low, low + 1, torch.where(has_high, high - 1, 0.0))
        return torch.where(has_low & has_high, 0.5 * (low + high), one_ended)

    def _to_line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low, high, has_low, has_high = self._finite(x)
        # log of the distance from each end; 0 where there is none
        below = torch.where(has_low, x - low, 1.0).log()
        above = torch.where(has_high, high - x, 1.0).log()
        z = torch.where(has_low | has_high, below - above, x)
        width = torch.where(has_low & has_high, high - low, 1.0).log()
        return z, width - below - above

    def _from_line(self, z: Tensor) -> tuple[Tensor, Tensor]:
        low, high, has_low, has_high = self._finite(z)
        both = has_low & has_high
        width = torch.where(both, high - low, 1.0)
        # From the nearer end, where the digits are.
        in_both = torch.where(
            z < 0, low + width * torch.sigmoid(z), high - width * torch.sigmoid(-z)
        )
        log_both = width.log() + F.logsigmoid(z) + F.logsigmoid(-z)
        up = torch.where(has_low & ~both, z, 0.0)
        down = torch.where(has_high & ~both, z, 0.0)
        x = torch.where(has_low, low + up.exp(), torch.where(has_high, high - (-down).exp(), z))
        # Rounding may reach an end, and is kept inside.
        x = torch.where(both, in_both, x)
        lowest = torch.nextafter(z.new_tensor(self.low), z.new_tensor(math.inf))
        highest = torch.nextafter(z.new_tensor(self.high), z.new_tensor(-math.inf))
        x = torch.minimum(torch.maximum(x, lowest), highest)
        return x, torch.where(both, log_both, up - down)


class Logit(Support):
    """``z = logit(α + (1 - 2 α) x)``: images scaled to [0, 1], kept off the ends by α.

    Args:
        features: number of features.
        alpha: α, from 0 to less than 1/2. With α above 0 the ends themselves are inside.

    Raises:
        ArgumentError: an α outside of that.

    Reference: Dinh, Sohl-Dickstein and Bengio, *Density estimation using Real NVP*, 2016,
    section 4.1; Papamakarios, Pavlakou and Murray, 2017, appendix D (α = 1e-6 for MNIST, 0.05 for
    CIFAR-10).

    Example:
        >>> Logit(2, alpha=0.05)(torch.tensor([[0.5, 0.5]]))[0]
        tensor([[0., 0.]])
    """

    def __init__(self, features: int, alpha: float = 0.0) -> None:
        super().__init__(check_count("features", features))
        if not 0 <= alpha < 0.5:
            raise ArgumentError("alpha", "a number from 0 to less than 0.5", alpha)
        self.alpha = float(alpha)

    def _inside(self, x: Tensor) -> Tensor:
        share = self._share(x)
        return (share > 0) & (share < 1)

    def _interior(self, x: Tensor) -> Tensor:
        return torch.full_like(x, 0.5)

    def _share(self, x: Tensor) -> Tensor:
        return self.alpha + (1 - 2 * self.alpha) * x

    def _to_line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # 1 - share from 1 - x, which is exact where x is near 1
        below, above = self._share(x).log(), self._share(1 - x).log()
        return below - above, math.log1p(-2 * self.alpha) - below - above

    def _from_line(self, z: Tensor) -> tuple[Tensor, Tensor]:
        scale = 1 - 2 * self.alpha
        low = (torch.sigmoid(z) - self.alpha) / scale
        high = 1 - (torch.sigmoid(-z) - self.alpha) / scale
        log_derivative = F.logsigmoid(z) + F.logsigmoid(-z) - math.log1p(-2 * self.alpha)
        return torch.where(z < 0, low, high), log_derivative


class Circular(ElementwiseTransform):
    """An angle of any unit, to the box ``[-bound, bound)`` of splines with circular tails.

    ``x`` and ``x + period`` are the same point and have the same density; the density is with
    respect to one period, and samples lie in ``[start, start + period)``. Use it with a base that
    is uniform on the box.

    Args:
        features: number of features.
        period: length of the circle.
        start: where the period that samples lie in starts.
        bound: half the width of the box.

    Raises:
        ArgumentError: a period or bound that is not positive.

    Example:
        >>> z, _ = Circular(1, period=360.0)(torch.tensor([[90.0], [450.0]]))
        >>> bool(z[0] == z[1])
        True
    """

    def __init__(
        self, features: int, period: float, *, start: float = 0.0, bound: float = math.pi
    ) -> None:
        super().__init__(check_count("features", features), constant_logabsdet=True)
        self.period = check_positive("period", period)
        self.start = float(start)
        self.bound = check_positive("bound", bound)

    def map(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Wrap ``x`` into one period, and scale that to the box."""
        turns = (x - self.start) / self.period
        z = (2 * (turns - turns.floor()) - 1) * self.bound
        return z, torch.full_like(x, self._log_scale())

    def unmap(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Scale the box to one period."""
        x = (z / self.bound + 1) * (0.5 * self.period) + self.start
        return x, torch.full_like(z, -self._log_scale())

    def _log_scale(self) -> float:
        return math.log(2 * self.bound / self.period)


def _positive(x: Tensor) -> Tensor:
    """Keep what rounding sent to zero, or to infinity, inside."""
    limits = torch.finfo(x.dtype)
    return x.clamp(limits.tiny, limits.max)


def _ends(
    argument: str, ends: float | Sequence[float | None] | None, none: float, features: int
) -> list[float]:
    """Return one end per feature, infinite where there is none."""
    listed = [ends] * features if ends is None or isinstance(ends, int | float) else list(ends)
    if len(listed) != features:
        raise ShapeError(argument, f"{features} ends, one per feature", len(listed))
    result = [none if end is None else float(end) for end in listed]
    if any(math.isnan(end) for end in result):
        raise ArgumentError(argument, "numbers", result)
    return result
