"""Distributions of `torch.distributions` as bases."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributions, nn
from torch.distributions import VonMises, constraints, transform_to

from flowkit import _noise
from flowkit._checks import kind_of
from flowkit.distributions.standard import Base
from flowkit.errors import ArgumentError


class TorchBase(Base):
    """A distribution of torch, given by its class and its parameters.

    Batch and event dimensions together are the event. Tensors become buffers, and an
    `nn.Parameter` remains a parameter; both follow ``.to()`` and are saved. Outside the support
    the density is 0.

    Args:
        distribution: a class of `torch.distributions`.
        parameters: arguments of the class, by name.

    Raises:
        ArgumentError: the class does not accept the parameters, all parameters are scalars, or
            the distribution is discrete or has no density on real vectors (a simplex; von Mises,
            which is normalised on a circle only).

    Example:
        >>> base = TorchBase(torch.distributions.Gumbel, loc=torch.zeros(2), scale=torch.ones(2))
        >>> base.log_prob(torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    def __init__(
        self, distribution: type[distributions.Distribution], **parameters: Tensor | float
    ) -> None:
        if not isinstance(distribution, type) or not issubclass(
            distribution, distributions.Distribution
        ):
            expected = "a class of torch.distributions, such as torch.distributions.Gumbel"
            raise ArgumentError("distribution", expected, kind_of(distribution))
        arguments: dict[str, Any] = dict(parameters)
        try:
            d = distribution(**arguments, validate_args=True)
        except (TypeError, ValueError) as error:
            name = getattr(distribution, "__name__", distribution)
            raise ArgumentError("parameters", f"expected those of {name}: {error}") from error
        event_shape = tuple(d.batch_shape) + tuple(d.event_shape)
        if not event_shape:
            raise ArgumentError("parameters", "tensors of shape (features,)", "scalars")
        simplex = d.support is constraints.simplex
        if d.support is None or d.support.is_discrete or simplex or distribution is VonMises:
            expected = "a continuous distribution with a density on real vectors"
            raise ArgumentError("distribution", expected, distribution.__name__)
        super().__init__(event_shape)
        self.has_rsample = bool(distribution.has_rsample)
        self.distribution = distribution
        self._constants: dict[str, Any] = {}
        self._names: list[str] = []
        for name, value in parameters.items():
            if isinstance(value, nn.Parameter):
                self.register_parameter(name, value)
                self._names.append(name)
            elif isinstance(value, Tensor):
                self.register_buffer(name, value)
                self._names.append(name)
            else:
                self._constants[name] = value

    @property
    def is_unbounded(self) -> bool:
        """Return whether every vector has a positive density."""
        support: Any = self._distribution().support
        while isinstance(support, constraints.independent):
            support = support.base_constraint
        return support in (constraints.real, constraints.real_vector)

    def _distribution(self) -> distributions.Distribution:
        tensors = {name: getattr(self, name) for name in self._names}
        return self.distribution(**self._constants, **tensors, validate_args=False)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``z``, ``(*batch, *event_shape)``, as ``(*batch,)``."""
        self.check_input("z", z, context)
        n_batch = z.dim() - len(self.event_shape)
        if z.numel() == 0:  # an error in some of torch's classes
            return z.new_zeros(z.shape[:n_batch])
        d = self._distribution()
        support: Any = d.support
        inside = support.check(z)
        within = inside.reshape(*inside.shape, *[1] * (z.dim() - inside.dim()))
        interior = transform_to(support)(torch.zeros_like(z))
        with torch.no_grad():  # on the boundary of torch's support log_prob may be nan or inf
            inside = inside & d.log_prob(torch.where(within, z, interior)).isfinite()
        within = inside.reshape(*inside.shape, *[1] * (z.dim() - inside.dim()))
        log_prob = d.log_prob(torch.where(within, z, interior))
        log_prob = torch.where(inside, log_prob, -torch.inf)
        total = log_prob.flatten(n_batch).sum(-1) if log_prob.dim() > n_batch else log_prob
        nan = z.isnan().flatten(n_batch).any(-1)
        return torch.where(nan, torch.nan, total)

    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw ``(*sample_shape, *event_shape)``, reparameterised if torch's class is."""
        sample_shape = self.draw_shape(sample_shape, context)
        d = self._distribution()
        draw = d.rsample if d.has_rsample else d.sample
        if generator is None:
            return draw(torch.Size(sample_shape))
        _noise.check_generator(generator)
        # torch's distributions draw from the global generator only.
        seed = torch.randint(2**31, (), generator=generator, device=generator.device)
        with torch.random.fork_rng():
            torch.manual_seed(int(seed))
            return draw(torch.Size(sample_shape))
