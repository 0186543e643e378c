"""Bins of rational-quadratic splines: evaluation, solution, and the derivatives of their ends."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# x, y and derivative at the left ends of bins, and at the right ends.
Ends = tuple[Sequence[Tensor], Sequence[Tensor]]


class Bin(NamedTuple):
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


def nearer(v: Tensor, ends: Ends, axis: int) -> Bin:
    """Return the bin between two ends, relative to the end nearer to ``v`` on an axis."""
    left, right = ends
    from_right = v - left[axis] > right[axis] - v
    near_x, near_y, near = (torch.where(from_right, b, a) for a, b in zip(left, right, strict=True))
    width, height = right[0] - left[0], right[1] - left[1]
    far = torch.where(from_right, left[2], right[2])
    direction = torch.where(from_right, -1.0, 1.0).to(v.dtype)
    return Bin(near_x, near_y, width, height, height / width, near, far, direction)


def evaluate(t: Tensor, slope: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rise at ``t`` in [0, 1] from the nearer knot, and the log-derivative.

    The rise is a share of the bin's height.
    """
    s = 1 - t
    u, tt = t * s, t * t
    bend = near + far - 2 * slope
    denominator = torch.addcmul(slope, bend, u)
    share = torch.addcmul(near * u, slope, tt) / denominator
    # Equation 5's numerator over the squared slope.
    ratio = slope / denominator
    numerator = far * tt + 2 * slope * u + near * (s * s)
    return share, (numerator * ratio * ratio).log()


def solve(r: Tensor, slope: Tensor, near: Tensor, far: Tensor) -> Tensor:
    """Return the ``t`` at which the rise is the share ``r`` of the bin's height.

    ``t`` is the root in [0, 1] of ``(s - p) t² + p t - r s = 0`` with the slope ``s``,
    ``p = q + 2 r s`` and ``q = near (1 - r) - far r``. In terms of q, the discriminant is a sum of
    two non-negative terms. For either sign of p, one of the two forms of the root has no
    cancellation.
    """
    q = near * (1 - r) - far * r
    doubled = 2 * r * slope
    p = q + doubled
    root = torch.sqrt(q * q + 2 * doubled * (1 - r) * slope)
    positive = p >= 0
    numerator = torch.where(positive, doubled, root - p)
    return numerator / torch.where(positive, p + root, 2 * (slope - p))


def of_columns(
    params: Tensor,
    index: Tensor,
    scales: Sequence[Tensor],
    positions: Sequence[Tensor],
    of_ends: Sequence[Tensor],
    *,
    bins: int,
    bound: Tensor | float,
    circular: Tensor,
) -> Tensor:
    """Return derivatives with respect to weights and derivatives at knots, ``(*batch, D, P)``.

    Args:
        params: parameters of the spline, of which shape, dtype and device matter.
        index: index of each point's bin, ``(*batch, D)``, as the following.
        scales: width and height of a unit of weight.
        positions: x and y of the left ends, x and y of the right ends.
        of_ends: derivatives of a scalar with respect to x, y and derivative, left and right.
        bins: number of bins K.
        bound: half the side of the box.
        circular: whether the tails of each feature are circular.

    A knot is ``2 B c / T - B`` with the weights' total T and their sum c before the knot. So its
    derivative with respect to a weight is ``2 B / T`` times 1 before the knot, else 0, minus the
    share of the box before the knot.
    """
    left, right = of_ends[:3], of_ends[3:]
    column = torch.arange(params.shape[-1], device=params.device, dtype=params.dtype)
    place = column - bins * (column >= bins)  # of widths and heights
    before, upto = place < index.unsqueeze(-1), place <= index.unsqueeze(-1)
    of_weights = []
    for axis in (0, 1):
        before_left, before_right = (p / (2 * bound) + 0.5 for p in positions[axis::2])
        shift = left[axis] * before_left + right[axis] * before_right
        of_left, of_right, shift = (
            (scales[axis] * a).unsqueeze(-1) for a in (left[axis], right[axis], shift)
        )
        of_weights.append(before * of_left + upto * of_right - shift)
    # The derivative at knot 0 is column 2 K if any tail is circular; knot K is knot 0.
    first = 2 * bins if len(column) == 3 * bins else 2 * bins - 1
    is_last = index == bins - 1
    at_left = torch.where((index > 0) | circular, left[2], 0.0)
    at_right = torch.where(~is_last | circular, right[2], 0.0)
    knot = column - first
    after = torch.where(is_last, 0.0, index + 1)
    of_derivatives = [
        torch.where(knot == i.unsqueeze(-1), a.unsqueeze(-1), 0.0)
        for i, a in ((index, at_left), (after, at_right))
    ]
    of_widths, of_heights = of_weights
    gradient = torch.where(column < bins, of_widths, of_heights)
    return torch.where(column < 2 * bins, gradient, of_derivatives[0] + of_derivatives[1])
