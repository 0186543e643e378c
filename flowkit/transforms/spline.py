"""Monotone rational-quadratic splines."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from flowkit._checks import check_choice, check_count, check_positive
from flowkit.errors import ArgumentError
from flowkit.transforms.univariate import Univariate

# Without a limit, the least share of a bin in the box, and the least derivative. The largest
# derivative is the inverse.
_FLOOR = 1e-3


class _Bin(NamedTuple):
    """The bin of each point, relative to the nearer knot.

    ``direction`` is +1 if the left knot is nearer, and -1 if the right knot is nearer. In the
    second case the bin is mirrored, and the two derivatives are exchanged.
    """

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    slope: Tensor  # height / width
    near: Tensor  # derivative at the nearer knot
    far: Tensor  # derivative at the other knot
    direction: Tensor


@dataclass(frozen=True)
class RationalQuadraticSpline(Univariate):
    """A monotone spline of rational quadratics within a box, the identity outside.

    The parameters of a feature are ``bins`` logits of widths, ``bins`` logits of heights, and the
    log-derivatives at the knots. With linear tails only the ``bins - 1`` inner knots have one.
    With circular tails there are ``bins``, as the two ends share a derivative.

    Args:
        bins: number of bins K, at least 2.
        bound: the box is ``[-bound, bound]²``; one number, or one per feature.
        tails: "linear", with derivative 1 at the ends, or "circular", for an angle scaled to the
            box; one value, or one per feature.
        limit: logits and log-derivatives are softly within ``± limit``. The default keeps slopes
            below about ten, so that the inverse is accurate in float32; several layers together
            can be steeper. With None only floors of 1e-3 and a ceiling of 1e3 on derivatives
            remain: fewer layers fit sharp edges, with a loss of precision there.

    Raises:
        ArgumentError: ``bins`` is less than 2, a bound or limit is not positive, a tail is
            unknown, or ``bound`` and ``tails`` have different lengths.

    Reference: Durkan, Bekasov, Murray and Papamakarios, *Neural spline flows*, 2019, equations 4
    to 8; the spline is Gregory and Delbourgo's, 1982.

    Example:
        >>> spline = RationalQuadraticSpline(bins=4, bound=3.0)
        >>> spline.parameters
        11
        >>> y, log_derivative = spline(torch.tensor([1.0, 7.0]), torch.zeros(2, 11))
        >>> y
        tensor([1., 7.])
    """

    bins: int = 8
    bound: float | Sequence[float] = 5.0
    tails: str | Sequence[str] = "linear"
    limit: float | None = 0.5

    def __post_init__(self) -> None:
        check_count("bins", self.bins, minimum=2)
        if self.limit is None and self.bins * _FLOOR >= 1:
            raise ArgumentError(
                "bins", f"fewer than {round(1 / _FLOOR)} without a limit", self.bins
            )
        if self.limit is not None:
            check_positive("limit", self.limit)
        if isinstance(self.bound, int | float):
            check_positive("bound", self.bound)
        else:
            bounds = tuple(check_positive("bound", b) for b in self.bound)
            object.__setattr__(self, "bound", bounds)
        choices = ("linear", "circular")
        if isinstance(self.tails, str):
            check_choice("tails", self.tails, choices)
        else:
            tails = tuple(check_choice("tails", t, choices) for t in self.tails)
            object.__setattr__(self, "tails", tails)
        if self.features == 0:
            option = "bound" if self.bound == () else "tails"
            raise ArgumentError(option, "at least one value", "none")
        if (
            isinstance(self.bound, tuple)
            and isinstance(self.tails, tuple)
            and len(self.bound) != len(self.tails)
        ):
            expected = f"{len(self.bound)} values, one per bound"
            raise ArgumentError("tails", expected, len(self.tails))

    @property
    def features(self) -> int | None:
        """Number of features that the options are for; None for any number."""
        for option in (self.bound, self.tails):
            if isinstance(option, tuple):
                return len(option)
        return None

    @property
    def parameters(self) -> int:  # type: ignore[override]
        """Number of parameters per feature: 3 K - 1, or 3 K if any tail is circular."""
        return 3 * self.bins - ("circular" not in self._tails)

    @property
    def _tails(self) -> tuple[str, ...]:
        return (self.tails,) if isinstance(self.tails, str) else tuple(self.tails)

    def select(self, features: Sequence[int]) -> "RationalQuadraticSpline":
        """Return the spline for some of the features."""
        bound, tails = self.bound, self.tails
        if not isinstance(bound, int | float):
            bound = tuple(bound[i] for i in features)
        if not isinstance(tails, str):
            tails = tuple(tails[i] for i in features)
        return RationalQuadraticSpline(self.bins, bound, tails, self.limit)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the splines."""
        inside, x_in = self._clip(x)
        bin_ = self._bin(x_in, params, axis=0)
        t = bin_.direction * (x_in - bin_.x) / bin_.width
        rise, log_derivative = _evaluate(t, bin_)
        y = bin_.y + bin_.direction * rise
        return torch.where(inside, y, x), torch.where(inside, log_derivative, 0.0)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Solve the splines' quadratics."""
        inside, y_in = self._clip(y)
        bin_ = self._bin(y_in, params, axis=1)
        t = _solve(bin_.direction * (y_in - bin_.y) / bin_.height, bin_)
        _, log_derivative = _evaluate(t, bin_)
        x = bin_.x + bin_.direction * bin_.width * t
        return torch.where(inside, x, y), torch.where(inside, -log_derivative, 0.0)

    def _bound(self, like: Tensor) -> Tensor | float:
        if isinstance(self.bound, int | float):
            return self.bound
        return like.new_tensor(self.bound)

    def _clip(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return which points are in the box, and the points, with 0 for those outside.

        Values that `torch.where` discards must be finite too, or gradients are not finite.
        """
        bound = self._bound(v)
        inside = (v >= -bound) & (v <= bound)
        # NaN counts as inside, so that the result is NaN.
        inside = inside | v.isnan()
        return inside, torch.where(inside, v, 0.0)

    def _bin(self, v: Tensor, params: Tensor, axis: int) -> _Bin:
        """Return the bin of each point on the x axis (0) or the y axis (1), ``(*batch, D)``."""
        left, right = self._ends(v, params, axis)  # (3, *batch, D) each
        from_right = v - left[axis] > right[axis] - v
        near_x, near_y, near = torch.where(from_right, right, left).unbind()
        width, height = (right - left)[:2].unbind()
        far = torch.where(from_right, left[2], right[2])
        direction = torch.where(from_right, -1.0, 1.0).to(v.dtype)
        return _Bin(near_x, near_y, width, height, height / width, near, far, direction)

    def _ends(self, v: Tensor, params: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """Return x, y and derivative at the left and at the right end of the bins."""
        knots = self._knots(params)  # (3, K + 1, *batch, D)
        shape = torch.broadcast_shapes(v.shape, knots.shape[2:])
        new = (1,) * (len(shape) - knots.dim() + 2)  # batch dimensions of v alone
        knots = knots.view(3, self.bins + 1, *new, *knots.shape[2:])
        knots = knots.expand(3, self.bins + 1, *shape)
        index = (v >= knots[axis, 1:-1]).sum(0).expand(3, 1, *shape)  # 0 .. K - 1
        left, right = knots.gather(1, index), knots.gather(1, index + 1)
        return left.squeeze(1), right.squeeze(1)

    def _knots(self, params: Tensor) -> Tensor:
        """Return x, y and derivative at the K + 1 knots, ``(3, K + 1, *batch, D)``.

        Knots are the first dimension: a few sums of long vectors are much faster than many short
        sums.
        """
        k = self.bins
        params = params.movedim(-1, 0).contiguous()
        shares = self._shares(params[: 2 * k].unflatten(0, (2, k)))
        bound = self._bound(params)
        edge = torch.ones_like(params[:2]).unsqueeze(1) * bound  # exact, unlike sums of shares
        inner = shares.cumsum(1)[:, :-1] * (2 * bound) - bound
        positions = torch.cat([-edge, inner, edge], dim=1)
        derivatives = self._with_ends(self._derivatives(params[2 * k :]))
        return torch.cat([positions, derivatives.unsqueeze(0)])

    def _shares(self, logits: Tensor) -> Tensor:
        """Return the share of each bin in the box, ``(2, K, *batch, D)``."""
        if self.limit is None:
            return _FLOOR + (1 - self.bins * _FLOOR) * logits.softmax(1)
        weights = torch.exp(self.limit * torch.tanh(logits / self.limit))  # cannot overflow
        return weights / weights.sum(1, keepdim=True)

    def _derivatives(self, raw: Tensor) -> Tensor:
        """Return the derivatives at the knots with a parameter, all positive."""
        if self.limit is None:
            one_at_zero = math.log(math.expm1(1 - _FLOOR))
            return (_FLOOR + F.softplus(raw + one_at_zero)).clamp(max=1 / _FLOOR)
        return torch.exp(self.limit * torch.tanh(raw / self.limit))

    def _with_ends(self, derivatives: Tensor) -> Tensor:
        """Add the derivatives at the two ends: 1, or on a circle the same at both."""
        end = torch.ones_like(derivatives[:1])
        if "circular" in self._tails:
            circular = torch.tensor([t == "circular" for t in self._tails], device=end.device)
            end = torch.where(circular, derivatives[:1], end)
        if len(derivatives) == self.bins:  # the first is that of circular ends
            derivatives = derivatives[1:]
        return torch.cat([end, derivatives, end])


def _evaluate(t: Tensor, b: _Bin) -> tuple[Tensor, Tensor]:
    """Return the rise from the nearer knot, and the log-derivative, at ``t`` in [0, 1] from it."""
    s = 1 - t
    u, tt = t * s, t * t
    bend = b.near + b.far - 2 * b.slope
    denominator = torch.addcmul(b.slope, bend, u)
    rise = b.height * torch.addcmul(b.near * u, b.slope, tt) / denominator
    # Equation 5's numerator over the squared slope.
    ratio = b.slope / denominator
    numerator = b.far * tt + 2 * b.slope * u + b.near * (s * s)
    return rise, (numerator * ratio * ratio).log()


def _solve(r: Tensor, b: _Bin) -> Tensor:
    """Return the ``t`` at which the rise is the share ``r`` of the bin's height.

    ``t`` is the root in [0, 1] of ``(s - p) t² + p t - r s = 0`` with ``p = q + 2 r s`` and
    ``q = near (1 - r) - far r``. In terms of q, the discriminant is a sum of two non-negative
    terms. For either sign of p, one of the two forms of the root has no cancellation.
    """
    q = b.near * (1 - r) - b.far * r
    p = q + 2 * r * b.slope
    root = torch.sqrt(q * q + 4 * r * (1 - r) * b.slope * b.slope)
    positive = p >= 0
    numerator = torch.where(positive, 2 * r * b.slope, root - p)
    return numerator / torch.where(positive, p + root, 2 * (b.slope - p))
