"""Maps from the support of a column to the whole line, and back.

A support is an open interval. For a point outside or on the boundary ``logabsdet`` is ``-inf``, and
so the density is exactly 0, never NaN. An interior constant replaces such points before any
logarithm, so that their gradient is 0.
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

    A subclass defines the interval, and the map and its inverse with log-derivatives.
    """

    @abstractmethod
    def _inside(self, x: Tensor) -> Tensor:
        """Return which entries are inside the interval."""

    @abstractmethod
    def _interior(self, x: Tensor) -> Tensor:
        """Return a point inside the interval that broadcasts with ``x``."""

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
    """``z = log x``, for positive quantities that range over orders of magnitude.

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
    """A map from an interval with at most two ends to the line.

    With two ends, the logit of the relative position; with one end, the logarithm of the distance
    from it; with no end, the identity.

    Args:
        features: number of features.
        low: lower end, one number or one per feature; None or -inf for no end.
        high: upper end, one number or one per feature; None or inf for no end.

    Raises:
        ArgumentError: an end is NaN, or a lower end is not below its upper end.
        ShapeError: the number of ends is not ``features``.

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
                raise ArgumentError("high", f"a number above low={lo}", hi)
        self.low, self.high = lows, highs  # exact in any dtype

    def _finite(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return lower and upper ends, with 0 for missing ones, and which ends exist."""
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
        # log of the distance from each end; 0 for a missing end
        below = torch.where(has_low, x - low, 1.0).log()
        above = torch.where(has_high, high - x, 1.0).log()
        z = torch.where(has_low | has_high, below - above, x)
        width = torch.where(has_low & has_high, high - low, 1.0).log()
        return z, width - below - above

    def _from_line(self, z: Tensor) -> tuple[Tensor, Tensor]:
        low, high, has_low, has_high = self._finite(z)
        both = has_low & has_high
        width = torch.where(both, high - low, 1.0)
        # From the nearer end, for precision.
        in_both = torch.where(
            z < 0, low + width * torch.sigmoid(z), high - width * torch.sigmoid(-z)
        )
        log_both = width.log() + F.logsigmoid(z) + F.logsigmoid(-z)
        up = torch.where(has_low & ~both, z, 0.0)
        down = torch.where(has_high & ~both, z, 0.0)
        x = torch.where(has_low, low + up.exp(), torch.where(has_high, high - (-down).exp(), z))
        # Rounding may reach an end; such points are moved inside.
        x = torch.where(both, in_both, x)
        lowest = torch.nextafter(z.new_tensor(self.low), z.new_tensor(math.inf))
        highest = torch.nextafter(z.new_tensor(self.high), z.new_tensor(-math.inf))
        x = torch.minimum(torch.maximum(x, lowest), highest)
        return x, torch.where(both, log_both, up - down)


class Logit(Support):
    """``z = logit(α + (1 - 2 α) x)``, for images scaled to [0, 1].

    Args:
        features: number of features.
        alpha: α, from 0 to less than 1/2. With α above 0 the support includes 0 and 1.

    Raises:
        ArgumentError: α is outside that range.

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
    """A map from angles in any unit to the box ``[-bound, bound)`` of splines with circular tails.

    ``x`` and ``x + period`` are the same point and have the same density. The density is with
    respect to one period, and samples are in ``[start, start + period)``. The base must be uniform
    on the box.

    Args:
        features: number of features.
        period: length of the circle.
        start: start of the period that contains samples.
        bound: half the width of the box.

    Raises:
        ArgumentError: ``period`` or ``bound`` is not positive.

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
        """Wrap ``x`` into one period, and scale the period to the box."""
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
    """Clamp numbers that rounding made zero or infinite to positive finite numbers."""
    limits = torch.finfo(x.dtype)
    return x.clamp(limits.tiny, limits.max)


def _ends(
    argument: str, ends: float | Sequence[float | None] | None, none: float, features: int
) -> list[float]:
    """Return one end per feature, infinite for missing ends."""
    listed = [ends] * features if ends is None or isinstance(ends, int | float) else list(ends)
    if len(listed) != features:
        raise ShapeError(argument, f"{features} ends, one per feature", len(listed))
    result = [none if end is None else float(end) for end in listed]
    if any(math.isnan(end) for end in result):
        raise ArgumentError(argument, "numbers", result)
    return result
