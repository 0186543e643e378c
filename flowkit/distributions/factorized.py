"""Decoders: distributions of rows given a code, whose scalars are conditionally independent."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowkit._checks import check_context, check_event, check_shape
from flowkit.distributions.likelihoods import Likelihood, likelihood_named
from flowkit.distributions.standard import Base


class Factorized(Base):
    """Rows whose scalars are conditionally independent given a code.

    Args:
        net: maps codes ``(n, codes)`` to the parameters of the likelihood, ``outputs`` numbers per
            scalar, with the first parameter of all scalars first.
        event_shape: shape of a row.
        codes: number of codes.
        likelihood: likelihood of a scalar, or its name.

    Example:
        >>> decoder = Factorized(nn.Linear(3, 16), (1, 4, 4), codes=3)
        >>> decoder.sample((), torch.zeros(5, 3)).shape
        torch.Size([5, 1, 4, 4])
    """

    has_rsample = False

    def __init__(
        self,
        net: nn.Module,
        event_shape: int | Sequence[int],
        *,
        codes: int,
        likelihood: str | Likelihood = "bernoulli",
    ) -> None:
        super().__init__(event_shape, context_features=codes)
        self.net, self.likelihood = net, likelihood_named(likelihood)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log-probabilities of rows ``(*batch, *event_shape)`` given codes, ``(*batch)``."""
        check_event("z", z, tuple(self.event_shape))
        scalars = self.likelihood.log_prob(z, self._params(context))
        return scalars.flatten(scalars.dim() - len(self.event_shape)).sum(-1)

    @torch.no_grad()
    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw rows ``(*sample_shape, *batch, *event_shape)``."""
        params, shape = self._params(context), check_shape("sample_shape", sample_shape)
        many = params[:, *[None] * len(shape)].expand(-1, *shape, *params.shape[1:])
        return self.likelihood.sample(many, generator)

    def mean(self, context: Tensor) -> Tensor:
        """Return mean rows given codes, ``(n, *event_shape)``."""
        return self.likelihood.mean(self._params(context))

    def _params(self, context: Tensor | None) -> Tensor:
        check_context(context, self.context_features)
        assert context is not None  # noqa: S101  for the type checker
        out: Tensor = self.net(context.reshape(-1, self.context_features)).flatten(1)
        return self.likelihood.arrange(out, context.shape[:-1], self.event_shape)
