"""Monotone rational-quadratic splines."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from flowkit._checks import check_choice, check_count, check_positive
from flowkit.errors import ArgumentError
from flowkit.transforms.spline_bins import Ends, evaluate, nearer, of_columns, solve
from flowkit.transforms.univariate import Univariate

# Without a limit, the least share of a bin in the box, and the least derivative. The largest
# derivative is the inverse.
_FLOOR = 1e-3

# Up to this number of bins, a compiled spline has no tensors over bins. More bins make long graphs.
_MOST_UNROLLED = 16

# Up to this limit, tanh may be computed with the absolute precision of a sigmoid.
_LARGEST_SIGMOID = 1.0


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

    # Whether widths and heights have the same weights function, so that each may be computed alone.
    _unrolls: ClassVar[bool] = True

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
        bin_ = nearer(x_in, self._ends(x_in, params, axis=0), axis=0)
        t = bin_.direction * (x_in - bin_.x) / bin_.width
        share, log_derivative = evaluate(t, bin_.slope, bin_.near, bin_.far)
        y = bin_.y + bin_.direction * (bin_.height * share)
        return torch.where(inside, y, x), torch.where(inside, log_derivative, 0.0)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Solve the splines' quadratics."""
        inside, y_in = self._clip(y)
        bin_ = nearer(y_in, self._ends(y_in, params, axis=1), axis=1)
        t = solve(bin_.direction * (y_in - bin_.y) / bin_.height, bin_.slope, bin_.near, bin_.far)
        _, log_derivative = evaluate(t, bin_.slope, bin_.near, bin_.far)
        x = bin_.x + bin_.direction * bin_.width * t
        return torch.where(inside, x, y), torch.where(inside, -log_derivative, 0.0)

    def step(self, y: Tensor, params: Tensor) -> tuple[Tensor, ...]:
        """Solve for one feature; return x, and t, slope and derivatives of its bin."""
        bound = self.bound if isinstance(self.bound, int | float) else self.bound[0]
        y_in = y.clamp(-bound, bound)
        inside = y_in == y  # without NaN, which stays
        knots = self._knots_first(params.unsqueeze(-1)).squeeze(-1)  # (3, K + 1, batch)
        index = (y_in >= knots[1, 1:-1]).sum(0)
        both = torch.stack([index, index + 1]).expand(3, 2, *y.shape)
        left, right = knots.gather(1, both).unbind(1)
        rise, fall = y_in - left[1], right[1] - y_in
        from_right = rise > fall
        width, height = (right - left)[:2].unbind()
        near_x, _, near = torch.where(from_right, right, left).unbind()
        far = torch.where(from_right, left[2], right[2])
        slope = height / width
        t = solve(torch.minimum(rise, fall) / height, slope, near, far)
        x = torch.addcmul(near_x, torch.where(from_right, -width, width), t)
        if "circular" in self._tails:  # beyond linear tails the nearer derivative is 1 already
            near = torch.where(inside, near, 1.0)
        return torch.where(inside, x, y), t, slope, near, far

    def step_log_derivative(self, *results: Tensor) -> Tensor:
        """Evaluate the derivatives in the bins; 0 outside the box, where t is 0."""
        return -evaluate(*results)[1]

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

    def _ends(self, v: Tensor, params: Tensor, axis: int) -> Ends:
        """Return x, y and derivative at the left and at the right end of the bins.

        The bin of a point contains its place on the x axis (0) or the y axis (1).
        """
        one_each = v.shape == params.shape[:-1]
        unrolls = self._unrolls and one_each and self.bins <= _MOST_UNROLLED
        if torch.compiler.is_compiling() and unrolls:
            return self._ends_unrolled(v, params, axis)
        knots = self._knots(params)  # (3, K + 1, *batch, D)
        shape = torch.broadcast_shapes(v.shape, knots.shape[2:])
        new = (1,) * (len(shape) - knots.dim() + 2)  # batch dimensions of v alone
        knots = knots.view(3, self.bins + 1, *new, *knots.shape[2:])
        knots = knots.expand(3, self.bins + 1, *shape)
        index = (v >= knots[axis, 1:-1]).sum(0).expand(3, 1, *shape)  # 0 .. K - 1
        left, right = knots.gather(1, index), knots.gather(1, index + 1)
        return left.squeeze(1).unbind(), right.squeeze(1).unbind()

    def _ends_unrolled(self, v: Tensor, params: Tensor, axis: int) -> Ends:
        """Return the same without a dimension of bins, and without sums and searches over it.

        A compiler makes one loop over points of it, with the knots in registers.
        """
        if self.limit is None or not torch.is_grad_enabled():
            left, right, *_ = self.select_ends(v, params, axis)
            return left, right
        ends = UnrolledEnds.apply(self, v, params, axis)  # type: ignore[no-untyped-call]
        return ends[:3], ends[3:]

    def select_ends(
        self, v: Tensor, params: Tensor, axis: int
    ) -> tuple[list[Tensor], list[Tensor], Tensor, list[Tensor]]:
        """Return both ends, the index of the bin, and the width and height of a unit of weight."""
        k, bound = self.bins, self._bound(v)
        columns = params.unbind(-1)
        low, high = torch.zeros_like(v) - bound, torch.zeros_like(v) + bound
        rows: list[list[Tensor]] = []
        scales = []
        for logits in (columns[:k], columns[k : 2 * k]):
            sums = list(accumulate(self._weights(logits)))
            scales.append(2 * bound / sums[-1])
            rows.append([low, *(s * scales[-1] - bound for s in sums[:-1]), high])
        derivatives = [self._derivatives(raw) for raw in columns[2 * k :]]
        rows.append(self._with_ends(derivatives))
        left, right = [row[0] for row in rows], [row[1] for row in rows]
        index = torch.zeros_like(v)
        for i in range(1, k):
            beyond = v >= rows[axis][i]
            left = [torch.where(beyond, row[i], a) for row, a in zip(rows, left, strict=True)]
            right = [torch.where(beyond, row[i + 1], a) for row, a in zip(rows, right, strict=True)]
            index = torch.where(beyond, float(i), index)
        return left, right, index, scales

    def pull_back(
        self, params: Tensor, index: Tensor, rest: Sequence[Tensor], of_ends: Sequence[Tensor]
    ) -> Tensor:
        """Return the derivative with respect to parameters, from those with respect to the ends."""
        gradient = of_columns(
            params,
            index,
            rest[:2],
            rest[2:],
            of_ends,
            bins=self.bins,
            bound=self._bound(params),
            circular=self._circular(params.device),
        )
        sigmoid = torch.sigmoid(params * (2 / cast(float, self.limit)))
        return gradient * self._bend(params) * (4 * sigmoid * (1 - sigmoid))

    def _circular(self, device: torch.device) -> Tensor:
        return torch.tensor([t == "circular" for t in self._tails], device=device)

    def _knots(self, params: Tensor) -> Tensor:
        """Return x, y and derivative at the K + 1 knots, ``(3, K + 1, *batch, D)``.

        Knots are the first dimension: a few sums of long vectors are much faster than many short
        sums.
        """
        return self._knots_first(params.movedim(-1, 0).contiguous())

    def _knots_first(self, params: Tensor) -> Tensor:
        """Return the same of parameters ``(P, *batch, D)``."""
        k, bound = self.bins, self._bound(params)
        logits, raw = params[: 2 * k].unflatten(0, (2, k)), params[2 * k :]
        if self.limit is None:
            weights = torch.stack(self._weights(logits.unbind(1)), 1)
        else:
            weights = self._bend(logits)
        sums = weights.cumsum(1)
        inner = sums[:, :-1] * (2 * bound / sums[:, -1:]) - bound
        edge = torch.ones_like(params[:1]) * bound  # exact, unlike sums of shares
        derivatives = self._with_ends(list(self._derivatives(raw).split(1)))
        rows = [-edge, inner[0], edge, -edge, inner[1], edge, *derivatives]
        knots: Tensor = torch.cat(rows).unflatten(0, (3, k + 1))
        return knots

    def _weights(self, logits: Sequence[Tensor]) -> list[Tensor]:
        """Return positive numbers in proportion to the bins."""
        if self.limit is not None:
            return [self._bend(a) for a in logits]
        most = reduce(torch.maximum, logits).detach()
        weights = [torch.exp(a - most) for a in logits]
        scale = (1 - self.bins * _FLOOR) / reduce(torch.add, weights)
        return [_FLOOR + w * scale for w in weights]

    def _bend(self, raw: Tensor) -> Tensor:
        """Return ``exp(limit tanh(raw / limit))``."""
        limit = cast(float, self.limit)
        if limit <= _LARGEST_SIGMOID:
            # tanh z = 2 sigmoid(2 z) - 1, which takes an eighth of the time of tanh. The absolute
            # error is the same, and the relative error of tanh near 0 does not matter to exp.
            return torch.exp(2 * limit * torch.sigmoid(raw * (2 / limit)) - limit)
        return torch.exp(limit * torch.tanh(raw / limit))

    def _derivatives(self, raw: Tensor) -> Tensor:
        """Return the derivatives at the knots with a parameter, all positive."""
        if self.limit is None:
            one_at_zero = math.log(math.expm1(1 - _FLOOR))
            return (_FLOOR + F.softplus(raw + one_at_zero)).clamp(max=1 / _FLOOR)
        return self._bend(raw)

    def _with_ends(self, derivatives: list[Tensor]) -> list[Tensor]:
        """Add the derivatives at the two ends: 1, or on a circle the same at both."""
        end = torch.ones_like(derivatives[0])
        if "circular" in self._tails:
            end = torch.where(self._circular(end.device), derivatives[0], end)
        if len(derivatives) == self.bins:  # the first is that of circular ends
            derivatives = derivatives[1:]
        return [end, *derivatives, end]


class UnrolledEnds(torch.autograd.Function):
    """`RationalQuadraticSpline.select_ends` with its derivative in closed form.

    Only under ``torch.compile``, which has no second derivatives.
    """

    @staticmethod
    def forward(
        ctx: Any, spline: RationalQuadraticSpline, v: Tensor, params: Tensor, axis: int
    ) -> tuple[Tensor, ...]:
        """Return x, y and derivative, left and right."""
        left, right, index, scales = spline.select_ends(v, params, axis)
        ctx.spline = spline
        ctx.save_for_backward(params, index, *scales, *left[:2], *right[:2])
        return *left, *right

    @staticmethod
    def backward(ctx: Any, *of_ends: Tensor) -> tuple[Tensor | None, ...]:
        """Pull back to the parameters; between two knots nothing depends on the point."""
        params, index, *rest = ctx.saved_tensors
        of_params = ctx.spline.pull_back(params, index, rest, of_ends)
        return None, None, of_params, None
