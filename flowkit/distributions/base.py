"""Distributions: the contract `Distribution`, and its form for `torch.distributions`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributions, nn
from torch.distributions import constraints

from flowkit._checks import check_context, check_count, check_event, check_shape, check_type


class Distribution(nn.Module, ABC):
    """A distribution over points of one shape, which may be conditional on a context.

    A subclass writes `log_prob` and `sample`, and promises that

    - ``x`` is ``(*batch, *event_shape)`` with zero or more batch dimensions; `log_prob` is
      ``(*batch,)``, in nats;
    - ``context`` is ``(*batch, context_features)`` or broadcasts to that shape; a context is given
      exactly when ``context_features`` is positive, and passes through ``embedding`` first;
    - `log_prob` is ``-inf`` outside the support and never NaN; only a row that contains a NaN gives
      NaN, in that row;
    - `sample` is ``(*sample_shape, *context_batch, *event_shape)``, and follows `log_prob`;
    - if ``generator`` is given, all randomness comes from ``generator``: the same state gives the
      same draws;
    - samples carry gradients to parameters and context exactly if ``has_rsample``;
    - dtype and device follow the input and the parameters.

    `flowkit.testing.check_distribution` verifies these promises. Any distribution can be the base
    of a `Flow`, a part of a mixture, a prior, a posterior, or a generator.

    Args:
        event_shape: shape of one point; an integer for a vector.
        context_features: width of the (embedded) context, 0 for none.
    """

    embedding: nn.Module | None
    has_rsample: bool = True

    def __init__(self, event_shape: int | Sequence[int], *, context_features: int = 0) -> None:
        super().__init__()
        sizes = (event_shape,) if isinstance(event_shape, int) else event_shape
        self.event_shape = torch.Size(check_count("features", size) for size in sizes)
        self.context_features = check_count("context_features", context_features, minimum=0)
        self.embedding = None  # an attribute of the class would hide a submodule of that name

    @property
    def features(self) -> int:
        """Number of scalars in one point."""
        return self.event_shape.numel()

    @abstractmethod
    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-probability of ``x``, ``(*batch, *event_shape)``, as ``(*batch,)``."""

    @abstractmethod
    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw ``(*sample_shape, *context_batch, *event_shape)``."""

    def check_input(self, argument: str, x: Tensor, context: Tensor | None) -> None:
        """Raise unless ``x``, called ``argument`` in errors, and ``context`` fit.

        Raises:
            ShapeError, DtypeError: ``x`` or ``context`` is not a floating-point tensor of the
                right last dimensions.
            ContextError: a context is missing, or given although ``context_features`` is 0.
        """
        check_event(argument, x, self.event_shape)
        check_context(context, self.context_features)

    def draw_shape(
        self, sample_shape: int | Sequence[int], context: Tensor | None
    ) -> tuple[int, ...]:
        """Return ``(*sample_shape, *context_batch)``, the batch shape of a draw.

        Raises:
            ShapeError, DtypeError, ContextError: as `check_input`.
        """
        shape = check_shape("sample_shape", sample_shape)
        check_context(context, self.context_features)
        return shape if context is None else (*shape, *context.shape[:-1])

    def sample_and_log_prob(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw points as `sample` does, and return their log-probabilities."""
        x = self.sample(sample_shape, context, generator)
        return x, self.log_prob(x, context)

    def observe(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the observations scored in place of data ``x``; by default ``x`` itself."""
        del generator
        return x

    def as_distribution(
        self, context: Tensor | None = None, *, validate_args: bool | None = None
    ) -> "TorchDistribution":
        """Return the distribution, given the context, as a `torch.distributions.Distribution`.

        The batch shape is that of ``context``; the event shape is the same. ``validate_args`` is
        as in torch.
        """
        check_context(context, self.context_features)
        return TorchDistribution(self, context, validate_args=validate_args)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return `log_prob`; wrappers of modules call ``forward``."""
        return self.log_prob(x, context)


def check_distribution_type(argument: str, value: object) -> None:
    """Raise unless ``value`` is a `Distribution`.

    Raises:
        ArgumentError: ``value`` is not a `Distribution`.
    """
    check_type(argument, value, Distribution, "a distribution, such as StandardNormal(2) or a flow")


def sample_part(
    part: Distribution,
    sample_shape: int | Sequence[int],
    context: Tensor | None,
    generator: torch.Generator | None,
) -> Tensor:
    """Draw from a part of a distribution for each row of a context, even if the part ignores it.

    Returns:
        ``(*sample_shape, *context_batch, *event_shape)``.
    """
    if part.context_features or context is None:
        return part.sample(sample_shape, context, generator)
    shape = (*check_shape("sample_shape", sample_shape), *context.shape[:-1])
    return part.sample(shape, None, generator)


class TorchDistribution(distributions.Distribution):
    """A `Distribution` at a fixed context, as a `torch.distributions.Distribution`.

    The result of `Distribution.as_distribution`. ``rsample`` has gradients, ``sample`` has none.

    Args:
        distribution: any `Distribution`.
        context: ``(*batch_shape, context_features)``, or None.
        batch_shape: batch shape of a distribution without context.
        validate_args: as in torch.

    Raises:
        NotImplementedError: ``rsample`` of a distribution without gradients, as in torch.

    Example:
        >>> from flowkit.flows import maf
        >>> d = maf(features=2, context_features=3).as_distribution(torch.zeros(5, 3))
        >>> d.batch_shape, d.event_shape, d.sample((7,)).shape
        (torch.Size([5]), torch.Size([2]), torch.Size([7, 5, 2]))
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(
        self,
        distribution: Distribution,
        context: Tensor | None = None,
        batch_shape: Sequence[int] = (),
        validate_args: bool | None = None,
    ) -> None:
        self.distribution, self.context = distribution, context
        self.has_rsample = distribution.has_rsample
        shape = torch.Size(batch_shape) if context is None else context.shape[:-1]
        super().__init__(shape, distribution.event_shape, validate_args=validate_args)

    @property
    def support(self) -> Any:
        """All of the event space."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> "TorchDistribution":
        """Return the distribution with its batch expanded to ``batch_shape``."""
        shape = torch.Size(batch_shape)
        context = None if self.context is None else self.context.expand(*shape, -1)
        return TorchDistribution(
            self.distribution, context, shape, validate_args=self._validate_args
        )

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw ``(*sample_shape, *batch_shape, *event_shape)`` without gradients."""
        with torch.no_grad():
            return self._draw(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw ``(*sample_shape, *batch_shape, *event_shape)`` with gradients."""
        if not self.has_rsample:
            raise NotImplementedError(f"{type(self.distribution).__name__} has no rsample")
        return self._draw(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of ``value``, which broadcasts with the batch shape."""
        if self._validate_args:
            self._validate_sample(value)
        log_prob = self.distribution.log_prob(value, self.context)
        shape = torch.broadcast_shapes(log_prob.shape, self.batch_shape)
        return log_prob.expand(shape)

    def _draw(self, sample_shape: Any) -> Tensor:
        shape = (*sample_shape, *self.batch_shape) if self.context is None else sample_shape
        return self.distribution.sample(shape, self.context)
