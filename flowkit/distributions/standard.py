"""Standard distributions: normal, logistic, Student t, and uniform on a box."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowkit import _noise
from flowkit._checks import check_choice, check_positive
from flowkit.distributions.base import Distribution
from flowkit.distributions.registry import named
from flowkit.errors import ArgumentError, ShapeError


class Base(Distribution):
    """A distribution that draws noise directly, such as the base of a flow.

    Args:
        event_shape: shape of one point; an integer for a vector.
        context_features: width of the context, 0 for none.
    """

    law: ClassVar[str | None] = None
    """Name of the law of each latent if all are independent and equal, or else None."""

    _like: Tensor

    def __init__(self, event_shape: int | Sequence[int], *, context_features: int = 0) -> None:
        super().__init__(event_shape, context_features=context_features)
        # Follows .to(), and so holds the dtype and device of samples.
        self.register_buffer("_like", torch.empty(0), persistent=False)

    def _noise(self, law: str, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
        """Draw "normal" or "uniform" noise on the generator's device, and move it to the base."""
        draw = _noise.normal if law == "normal" else _noise.uniform
        return draw(shape, self._like, generator)

    def _choice(
        self, logits: Tensor, shape: Sequence[int], generator: torch.Generator | None
    ) -> Tensor:
        """Draw indices of components by their weights, in the given shape, without gradient."""
        cumulative = logits.detach().softmax(-1).cumsum(-1)[:-1]
        return (self._noise("uniform", (*shape, 1), generator) > cumulative).sum(-1)

    def _flat(
        self, sample_shape: int | Sequence[int], context: Tensor | None
    ) -> tuple[tuple[int, ...], Tensor | None]:
        """Return the batch shape of a draw, and the context of each point as flat rows."""
        shape = self.draw_shape(sample_shape, context)
        if context is None:
            return shape, None
        return shape, context.expand(*shape, -1).reshape(-1, self.context_features)


class Standard(Base):
    """The same one-dimensional law for every scalar of the latent, independently."""

    @abstractmethod
    def _log_density(self, z: Tensor) -> Tensor: ...

    @abstractmethod
    def _draw(self, shape: Sequence[int], generator: torch.Generator | None) -> Tensor: ...

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``z``, ``(*batch, *event_shape)``, as ``(*batch,)``."""
        self.check_input("z", z, context)
        return self._log_density(z).flatten(z.dim() - len(self.event_shape)).sum(-1)

    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw ``(*sample_shape, *event_shape)``."""
        sample_shape = self.draw_shape(sample_shape, context)
        return self._draw((*sample_shape, *self.event_shape), generator)


@named
class StandardNormal(Standard):
    """Independent standard normals.

    Args:
        event_shape: shape of one point; an integer for a vector.

    Example:
        >>> StandardNormal(2).log_prob(torch.zeros(3, 2))
        tensor([-1.8379, -1.8379, -1.8379])
    """

    law = "normal"

    def _log_density(self, z: Tensor) -> Tensor:
        return -0.5 * (z * z + math.log(2 * math.pi))

    def _draw(self, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
        return self._noise("normal", shape, generator)


@named
class StandardLogistic(Standard):
    """Independent standard logistics, the base of NICE: ``log p(z) = -softplus(z) - softplus(-z)``.

    Args:
        event_shape: shape of one point; an integer for a vector.

    Example:
        >>> StandardLogistic(2).log_prob(torch.zeros(3, 2))
        tensor([-2.7726, -2.7726, -2.7726])
    """

    law = "logistic"

    def _log_density(self, z: Tensor) -> Tensor:
        return F.logsigmoid(z) + F.logsigmoid(-z)

    def _draw(self, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
        u = self._noise("uniform", shape, generator)
        return torch.logit(u.clamp(min=torch.finfo(u.dtype).tiny))


@named
class StudentT(Standard):
    """Independent standard Student t's, for tables with gross outliers. ``df`` is learned.

    Args:
        event_shape: shape of one point; an integer for a vector.
        df: degrees of freedom at the start; the fewer, the heavier the tails.

    Raises:
        ArgumentError: ``df`` is not positive.

    Example:
        >>> StudentT(2, df=3.0).log_prob(torch.full((1, 2), 1e6)).isfinite()
        tensor([True])
    """

    def __init__(self, event_shape: int | Sequence[int], *, df: float = 5.0) -> None:
        super().__init__(event_shape)
        self.log_df = nn.Parameter(torch.tensor(math.log(check_positive("df", df))))

    def _log_density(self, z: Tensor) -> Tensor:
        df = self.log_df.exp()
        many = df > 200  # there a series replaces the difference of two lgammas, which cancels
        few_df, many_df = torch.where(many, 1.0, df), torch.where(many, df, 200.0)
        exact = torch.lgamma(0.5 * (few_df + 1)) - torch.lgamma(0.5 * few_df)
        exact = exact - 0.5 * (few_df.log() + math.log(math.pi))
        series = -0.5 * math.log(2 * math.pi) - 1 / (4 * many_df) + 1 / (24 * many_df**3)
        log_norm = torch.where(many, series, exact)
        return log_norm - 0.5 * (df + 1) * torch.log1p((z * torch.rsqrt(df)) ** 2)

    def _draw(self, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
        half = 0.5 * self.log_df.exp()
        half = half.expand(*shape).contiguous()
        gamma = torch._standard_gamma(half, **_noise.source(generator))
        return self._noise("normal", shape, generator) * torch.sqrt(half / gamma)


@named
class BoxUniform(Base):
    """Uniform on a box, including its faces.

    Args:
        low: lower ends, one number per feature; a number for a single feature.
        high: upper ends.

    Raises:
        ShapeError: ``low`` and ``high`` have different lengths.
        ArgumentError: an end is infinite, or a lower end is not below its upper end.

    Example:
        >>> BoxUniform([0.0, 0.0], [1.0, 2.0]).log_prob(torch.tensor([[0.5, 0.5], [0.5, 3.0]]))
        tensor([-0.6931,    -inf])
    """

    def __init__(self, low: float | Sequence[float], high: float | Sequence[float]) -> None:
        lows, highs = ([e] if isinstance(e, int | float) else list(e) for e in (low, high))
        if len(lows) != len(highs):
            raise ShapeError("high", f"{len(lows)} ends, as many as in low", len(highs))
        for lo, hi in zip(lows, highs, strict=True):
            if not -math.inf < lo < hi < math.inf:
                raise ArgumentError("high", f"a finite number above low={lo}", hi)
        super().__init__(len(lows))
        self.low, self.high = lows, highs  # exact in any dtype

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``z``, ``(*batch, features)``, as ``(*batch,)``."""
        self.check_input("z", z, context)
        inside = ((z >= z.new_tensor(self.low)) & (z <= z.new_tensor(self.high))).all(-1)
        log_volume = sum(math.log(h - lo) for lo, h in zip(self.low, self.high, strict=True))
        log_density = torch.where(inside, z.new_tensor(-log_volume), -math.inf)
        return torch.where(z.isnan().any(-1), math.nan, log_density)

    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw ``(*sample_shape, features)``."""
        sample_shape = self.draw_shape(sample_shape, context)
        u = self._noise("uniform", (*sample_shape, *self.event_shape), generator)
        low, high = u.new_tensor(self.low), u.new_tensor(self.high)
        return low + u * (high - low)


def base_named(base: Any, features: int) -> Any:
    """Return the base of the name "normal" or "logistic", or a given base of these features.

    Raises:
        ArgumentError: the name is unknown.
        ShapeError: the base has another event shape.
    """
    if isinstance(base, nn.Module):  # a Base, or a Flow used as a base
        if base.event_shape != (features,):
            raise ShapeError("base", f"event shape ({features},)", base.event_shape)
        return base
    names = {"normal": StandardNormal, "logistic": StandardLogistic}
    return names[check_choice("base", base, tuple(names))](features)
