"""Base distributions: where the latent comes from."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowkit._checks import check_choice, check_count, check_event
from flowkit.errors import ShapeError


class Base(nn.Module, ABC):
    """A distribution over the latent space of a flow.

    Args:
        event_shape: shape of one point; an integer for a vector.
        context_features: width of the context that it asks for, 0 for none.

    """

    _like: Tensor

    def __init__(self, event_shape: int | Sequence[int], *, context_features: int = 0) -> None:
        super().__init__()
        sizes = (event_shape,) if isinstance(event_shape, int) else event_shape
        self.event_shape = torch.Size(check_count("features", size) for size in sizes)
        self.context_features = check_count("context_features", context_features, minimum=0)
        # Follows .to(): says in which dtype and on which device to sample.
        self.register_buffer("_like", torch.empty(0), persistent=False)

    @abstractmethod
    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``z``, ``(*batch, *event_shape)``, as ``(*batch,)``."""

    @abstractmethod
    def sample(
        self,
        sample_shape: Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw ``(*sample_shape, *context_batch, *event_shape)``, reparameterised."""


class Standard(Base):
    """The same one-dimensional law for every scalar of the latent, independently."""

    @abstractmethod
    def _log_density(self, z: Tensor) -> Tensor: ...

    @abstractmethod
    def _draw(self, shape: Sequence[int], generator: torch.Generator | None) -> Tensor: ...

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``z``, ``(*batch, *event_shape)``, as ``(*batch,)``."""
        check_event("z", z, self.event_shape)
        return self._log_density(z).flatten(z.dim() - len(self.event_shape)).sum(-1)

    def sample(
        self,
        sample_shape: Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw ``(*sample_shape, *event_shape)``."""
        return self._draw((*sample_shape, *self.event_shape), generator)

    def _random(self, draw: str, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
        device = self._like.device if generator is None else generator.device
        function = torch.randn if draw == "normal" else torch.rand
        noise = function(*shape, dtype=self._like.dtype, device=device, generator=generator)
        return noise.to(self._like.device)


class StandardNormal(Standard):
    """Independent standard normals.

    Args:
        event_shape: shape of one point; an integer for a vector.

    Example:
        >>> StandardNormal(2).log_prob(torch.zeros(3, 2))
        tensor([-1.8379, -1.8379, -1.8379])

    """

    def _log_density(self, z: Tensor) -> Tensor:
        return -0.5 * (z * z + math.log(2 * math.pi))

    def _draw(self, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
        return self._random("normal", shape, generator)


class StandardLogistic(Standard):
    """Independent standard logistics, the base of NICE: ``log p(z) = -softplus(z) - softplus(-z)``.

    Args:
        event_shape: shape of one point; an integer for a vector.

    Example:
        >>> StandardLogistic(2).log_prob(torch.zeros(3, 2))
        tensor([-2.7726, -2.7726, -2.7726])

    """

    def _log_density(self, z: Tensor) -> Tensor:
        return F.logsigmoid(z) + F.logsigmoid(-z)

    def _draw(self, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
        u = self._random("uniform", shape, generator)
        return torch.logit(u.clamp(min=torch.finfo(u.dtype).tiny))


def base_named(base: str | Base, features: int) -> Base:
    """Return the base called ``base``, "normal" or "logistic"; or ``base`` itself, if it fits.

    Raises:
        ArgumentError: the name is unknown.
        ShapeError: the base is over events of another shape.

    """
    if isinstance(base, Base):
        if base.event_shape != (features,):
            raise ShapeError("base", f"event shape ({features},)", tuple(base.event_shape))
        return base
    names = {"normal": StandardNormal, "logistic": StandardLogistic}
    return names[check_choice("base", base, tuple(names))](features)
