"""Draw: latents drawn for rows, with the log-densities that objectives are computed from."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from flowkit.distributions import ConditionalNormal, Likelihood
from flowkit.distributions.base import Distribution


class LatentVariableModel(nn.Module, ABC):
    """A latent-variable model ``p(z) p(x | z)`` with a posterior ``q(z | x)``, for objectives.

    Attributes:
        latents: number of latents.
        groups: numbers of latents that share an allowance of free bits.
        posterior: ``q(z | x)``, given the encoder's context.
        prior: ``p(z)``.
        likelihood: ``p(x | z)``, given the decoder's outputs.
        step: number of training steps so far, ``()``.
    """

    latents: int
    groups: tuple[int, ...]
    posterior: Distribution
    prior: Distribution
    likelihood: Likelihood
    step: Tensor

    @property
    @abstractmethod
    def is_gaussian(self) -> bool:
        """Whether the posterior is a diagonal Gaussian and the prior a standard Gaussian."""

    @property
    @abstractmethod
    def gaussian(self) -> ConditionalNormal:
        """The Gaussian base of the posterior.

        Raises:
            ArgumentError: the posterior has no Gaussian base.
        """

    @abstractmethod
    def moments(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log-scales of the posterior's Gaussian base, ``(n, latents)`` each."""

    @abstractmethod
    def decode(self, z: Tensor, event_shape: Sequence[int] | None = None) -> Tensor:
        """Return the likelihood's parameters for latents ``(*batch, latents)``."""

    @abstractmethod
    def draw(self, x: Tensor, samples: int = 1, generator: torch.Generator | None = None) -> "Draw":
        """Draw latents of the posterior for observations ``(n, *event_shape)``."""


@dataclass
class Draw:
    """Latents drawn for rows, with the log-densities that objectives are computed from.

    Attributes:
        model: the model that the latents are drawn from.
        x: observations ``(n, *event_shape)``.
        context: outputs of the encoder, ``(n, context_features)``.
        z: latents, reparameterised, ``(samples, n, latents)``.
        log_likelihood: ``log p(x | z)``, ``(samples, n)``.
        log_prior: ``log p(z)``, ``(samples, n)``.
        log_q: ``log q(z | x)``, ``(samples, n)``.
    """

    model: LatentVariableModel
    x: Tensor
    context: Tensor
    z: Tensor
    log_likelihood: Tensor
    log_prior: Tensor
    log_q: Tensor

    @property
    def log_p(self) -> Tensor:
        """``log p(x, z)``, ``(samples, n)``."""
        return self.log_likelihood + self.log_prior

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Means and log-scales of the posterior's Gaussian base, ``(n, latents)`` each.

        Raises:
            ArgumentError: the posterior has no Gaussian base.
        """
        return self.model.moments(self.context)

    @cached_property
    def kl_of_latents(self) -> Tensor | None:
        """``KL(q(z_j | x) || p(z_j))`` of each latent in closed form, ``(n, latents)``.

        None unless the posterior is a diagonal Gaussian and the prior a standard Gaussian.
        """
        if not self.model.is_gaussian:
            return None
        mean, log_scale = self.moments
        return 0.5 * (mean.square() + (2 * log_scale).exp() - 1) - log_scale
