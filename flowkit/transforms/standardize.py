"""Standardisation: columns of mean 0 and variance 1, as the first map of a flow."""

from collections.abc import Sequence
from itertools import takewhile
from typing import cast

import torch
from torch import Tensor

from flowkit._checks import check_event
from flowkit.errors import ArgumentError, ShapeError
from flowkit.transforms.base import Chain, Transform
from flowkit.transforms.elementwise import ElementwiseTransform

# Rows whose moments are summed at once, in float64.
_CHUNK = 65_536


def mean_and_scale(rows: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each column of ``(n, D)``, 1 for constant columns.

    Sums accumulate in float64; the results have the dtype of the rows.

    Args:
        rows: at least one row.
        weights: weights of the rows, ``(n,)``, non-negative and not all zero. Rows of weight 0 may
            contain any values.
    """
    if weights is not None:
        rows, weights = rows[weights > 0], weights[weights > 0].double()
    parts = rows.split(_CHUNK)
    shares: Sequence[Tensor | None] = [None] * len(parts)
    if weights is not None:
        shares = (weights / weights.mean()).split(_CHUNK)

    def mean_of(power: int, centre: Tensor | float) -> Tensor:
        total = rows.new_zeros(rows.shape[1], dtype=torch.float64)
        for part, share in zip(parts, shares, strict=True):
            values = (part.double() - centre) ** power
            total += values.sum(0) if share is None else share @ values
        return total / len(rows)

    mean = mean_of(1, 0.0)
    std = mean_of(2, mean).sqrt()
    # By rounding, a constant column may have a standard deviation of about an ulp.
    constant = std <= 10 * torch.finfo(torch.float64).eps * mean.abs()
    std = torch.where(constant, 1.0, std).to(rows.dtype)
    return mean.to(rows.dtype), torch.where(std > 0, std, 1.0)


class Standardize(ElementwiseTransform):
    """``z = (x - mean) / std``, with constants that are not trained.

    Args:
        mean: one number per feature.
        std: one positive number per feature.

    Float64 rows are standardised in float64, even if the constants have a lower precision. The
    result then has the dtype of the constants. Thus large shifts lose no digits.

    Raises:
        ArgumentError: a std is not positive and finite.
        ShapeError: ``mean`` and ``std`` have different lengths.

    Example:
        >>> x = 5 + 2 * torch.randn(100, 3)
        >>> z, _ = Standardize.of(x)(x)
        >>> torch.allclose(z.std(0, correction=0), torch.ones(3))
        True
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor | Sequence[float], std: Tensor | Sequence[float]) -> None:
        m, s = torch.as_tensor(mean).clone().detach(), torch.as_tensor(std).clone().detach()
        if m.dim() != 1 or m.shape != s.shape:
            raise ShapeError(
                "std",
                f"one number per feature, as mean of shape {tuple(m.shape)}",
                f"shape {tuple(s.shape)}",
            )
        if not bool(((s > 0) & s.isfinite()).all()):
            raise ArgumentError("std", "positive finite numbers", s.tolist())
        super().__init__(len(m), constant_logabsdet=True)
        self.register_buffer("mean", m)
        self.register_buffer("std", s)

    @classmethod
    def of(cls, x: Tensor, weights: Tensor | None = None) -> "Standardize":
        """Return the map that standardises rows ``(n, features)``; constants are not scaled.

        Args:
            x: the rows.
            weights: weights of the rows, ``(n,)``; non-negative and not all zero.
        """
        if x.dim() != 2 or len(x) == 0:
            raise ShapeError("x", "a tensor of shape (rows, features)", tuple(x.shape))
        check_event("x", x, x.shape[1:])
        return cls(*mean_and_scale(x, weights))

    def map(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Subtract the mean and divide."""
        z = (x - self.mean) / self.std
        if x.dtype == torch.float64:
            z = z.to(self.mean.dtype)
        return z, -self.std.log().expand_as(z)

    def unmap(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply and add the mean."""
        return z * self.std + self.mean, self.std.log().expand_as(z)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Subtract the mean and divide; the log-determinant is the same for every row."""
        self.check_input("x", x, None)
        z, _ = self.map(x)
        return z, self.zero_logabsdet(z) - self.std.log().sum()


def leading(transform: Transform) -> tuple[list[Transform], list[Transform]]:
    """Split a transform into the maps without parameters at its start, and the others.

    Maps of supports and circles, and permutations, have no parameters: their inputs must keep
    their units.
    """
    members = [transform]
    if isinstance(transform, Chain):
        members = [cast(Transform, member) for member in transform.transforms]
    fixed = list(takewhile(lambda member: not [*member.parameters()], members))
    return fixed, members[len(fixed) :]


class Standardized(Chain):
    """A transform with a `Standardize` before its first layer with parameters.

    Args:
        transform: the transform; maps without parameters at its start precede the `Standardize`.
        standardize: the map.

    Attributes:
        standardize: the map.
        plain: the transform without it.
    """

    def __init__(self, transform: Transform, standardize: Standardize) -> None:
        fixed, others = leading(transform)
        super().__init__(*fixed, standardize, *others)
        self._place = len(fixed)
        # In a tuple, and so not a submodule: its layers already are submodules.
        self._plain = (transform,)

    @property
    def standardize(self) -> Standardize:
        """The map."""
        return cast(Standardize, self.transforms[self._place])

    @property
    def plain(self) -> Transform:
        """The transform without the map."""
        return self._plain[0]
