"""Univariate maps of nflows and zuko that differ from those of flowkit.

Each map is a map of flowkit with another link from raw parameters to scales, shares and
derivatives. Zero parameters need not give the identity, as the weights are already trained.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from flowkit.transforms import Affine, RationalQuadraticSpline


@dataclass(frozen=True)
class SoftplusAffine(Affine):
    """nflows' autoregressive affine map, ``y = x (softplus(a) + floor) + t``; parameters (t, a).

    Args:
        floor: the least scale.

    Example:
        >>> y, _ = SoftplusAffine()(torch.ones(1), torch.tensor([[2.0, 0.0]]))
        >>> y
        tensor([2.6941])
    """

    bound: float | None = None
    floor: float = 1e-3

    def _log_scale(self, raw: Tensor) -> Tensor:
        return (F.softplus(raw) + self.floor).log()


@dataclass(frozen=True)
class SigmoidAffine(Affine):
    """nflows' affine coupling map, ``y = x (sigmoid(a + 2) + 1e-3) + t``; parameters (t, a).

    Example:
        >>> y, _ = SigmoidAffine()(torch.ones(1), torch.tensor([[2.0, 0.0]]))
        >>> y
        tensor([2.8818])
    """

    bound: float | None = None

    def _log_scale(self, raw: Tensor) -> Tensor:
        return (torch.sigmoid(raw + 2) + 1e-3).log()


@dataclass(frozen=True)
class SoftclipAffine(Affine):
    """zuko's affine map, ``y = x exp(s) + t`` with ``s = a / (1 + |a / log slope|)``.

    Args:
        slope: the least scale; its inverse is the largest.

    Example:
        >>> y, _ = SoftclipAffine()(torch.ones(1), torch.tensor([[2.0, 0.0]]))
        >>> y
        tensor([3.])
    """

    bound: float | None = None
    slope: float = 1e-3

    def _log_scale(self, raw: Tensor) -> Tensor:
        return _softclip(raw, -math.log(self.slope))


@dataclass(frozen=True)
class FlooredSpline(RationalQuadraticSpline):
    """nflows' rational-quadratic spline: softmax shares and softplus derivatives, with floors.

    Args:
        min_width: least width of a bin, as a share of the box.
        min_height: least height of a bin, as a share of the box.
        min_derivative: least derivative at a knot.

    Example:
        >>> y, _ = FlooredSpline(bins=4, bound=3.0)(torch.tensor([0.0, 7.0]), torch.zeros(2, 11))
        >>> y
        tensor([0., 7.])
    """

    _unrolls = False  # widths and heights have floors of their own
    limit: float | None = None
    min_width: float = 1e-3
    min_height: float = 1e-3
    min_derivative: float = 1e-3

    def select(self, features: Sequence[int]) -> "FlooredSpline":
        """Return the spline itself: it has one box for all features."""
        del features
        return self

    def _weights(self, logits: Sequence[Tensor]) -> list[Tensor]:
        stacked = torch.stack(list(logits), 1)  # (2, K, *batch, D)
        floor = stacked.new_tensor([self.min_width, self.min_height])
        floor = floor.view(2, *[1] * (stacked.dim() - 1))
        shares = floor + (1 - self.bins * floor) * stacked.softmax(1)
        return list(shares.unbind(1))

    def _derivatives(self, raw: Tensor) -> Tensor:
        return self.min_derivative + F.softplus(raw)


@dataclass(frozen=True)
class SoftclipSpline(RationalQuadraticSpline):
    """zuko's rational-quadratic spline: a slope softly clips logits and log-derivatives.

    Args:
        slope: least derivative, and about the least ratio of two shares.

    Example:
        >>> y, _ = SoftclipSpline(bins=4, bound=3.0)(torch.tensor([1.0, 7.0]), torch.zeros(2, 11))
        >>> y
        tensor([1., 7.])
    """

    limit: float | None = None
    slope: float = 1e-3

    def select(self, features: Sequence[int]) -> "SoftclipSpline":
        """Return the spline itself: it has one box for all features."""
        del features
        return self

    def _weights(self, logits: Sequence[Tensor]) -> list[Tensor]:
        return [_softclip(a, -math.log(self.slope) / 2).exp() for a in logits]

    def _derivatives(self, raw: Tensor) -> Tensor:
        return _softclip(raw, -math.log(self.slope)).exp()


def _softclip(a: Tensor, bound: float) -> Tensor:
    """Return ``a / (1 + |a / bound|)``, which stays within ``± bound``."""
    return a / (1 + (a / bound).abs())
