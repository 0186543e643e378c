"""Mixtures as univariate maps: the distribution function, then a quantile function."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from flowkit._checks import check_count, check_positive
from flowkit.transforms.normal_tails import (
    normal_log_cdf,
    normal_log_hazard,
    normal_log_pdf,
    normal_quantile,
)
from flowkit.transforms.root_finding import solve_increasing
from flowkit.transforms.univariate import Univariate


class _Tails(NamedTuple):
    """Masses and hazard of the mixture at each point, on the side of the smaller mass.

    The smaller mass is the accurate one. The hazard is the density divided by the smaller mass.
    """

    below: Tensor  # whether the smaller mass is below the point
    log_small: Tensor
    log_large: Tensor
    log_hazard: Tensor


@dataclass(frozen=True)
class Mixture(Univariate):
    """``y = Q(sum_k w_k F((x - m_k) / s_k))`` with F a distribution function, Q its quantile.

    If x follows the mixture, y follows F. The parameters of a feature are ``components`` logits,
    means and log-scales. Zero parameters do not give the identity: the components then have
    distinct fixed means around zero, as equal components would remain equal in training.

    The map is computed from the logarithms of the masses below *and* above x, so that both tails
    are accurate and increasing. ``inverse`` has no closed form: 60 safeguarded steps between the
    solutions of the components, then one differentiable Newton step.

    Args:
        components: number of components, at least one.
        bound: log-scales are softly within ``± bound``.
    """

    components: int = 8
    bound: float = 5.0

    def __post_init__(self) -> None:
        check_count("components", self.components)
        check_positive("bound", self.bound)

    @property
    def parameters(self) -> int:  # type: ignore[override]
        """Number of parameters per feature: 3 K."""
        return 3 * self.components

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate in closed form."""
        return self._quantile(self._tails(x, self._components(params)))

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Solve by safeguarded Newton steps."""
        components = self._components(params)
        _, means, log_scales = components
        # The solutions of the single components; that of the mixture is in between.
        solutions = means + log_scales.exp() * y.unsqueeze(-1)
        low, high = solutions.amin(-1), solutions.amax(-1)

        # For the logit of the mass, which needs no quantile and is accurate in both tails.
        def function(x: Tensor) -> tuple[Tensor, Tensor]:
            logit, log_derivative = _logit(self._tails(x, components))
            return logit, log_derivative.exp()

        target = self._log_cdf(y) - self._log_cdf(-y)
        x = solve_increasing(function, target, low, high)
        _, log_derivative = self._quantile(self._tails(x, components))
        return x, -log_derivative

    def log_density(self, x: Tensor, params: Tensor) -> Tensor:
        """Evaluate the density of the mixture, which needs neither masses nor quantiles."""
        log_weights, means, log_scales = self._components(params)
        u = self._standardised(x, means, log_scales)
        return (log_weights + self._log_pdf(u) - log_scales).logsumexp(-1)

    def _components(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log-weights, means and log-scales, each ``(*batch, D, K)``."""
        logits, means, log_scales = torch.unflatten(params, -1, (3, self.components)).unbind(-2)
        log_scales = self.bound * torch.tanh(log_scales / self.bound)
        if self.components > 1:
            places = torch.linspace(
                -1, 1, self.components, dtype=params.dtype, device=params.device
            )
            means = means + places
        return logits.log_softmax(-1), means, log_scales

    def _tails(self, x: Tensor, components: tuple[Tensor, Tensor, Tensor]) -> _Tails:
        log_weights, means, log_scales = components
        u = self._standardised(x, means, log_scales)
        log_below = log_weights + self._log_cdf(u)
        log_above = log_weights + self._log_cdf(-u)
        below = log_below.logsumexp(-1) < log_above.logsumexp(-1)
        log_small = torch.where(below.unsqueeze(-1), log_below, log_above)
        log_large = torch.where(below.unsqueeze(-1), log_above, log_below)
        # Far out the logarithms of density and mass are both huge and negative. Their ratio is the
        # mean of the components' hazards, weighted by their shares of the mass.
        hazards = self._log_hazard(torch.where(below.unsqueeze(-1), u, -u)) - log_scales
        log_hazard = (log_small.log_softmax(-1) + hazards).logsumexp(-1)
        return _Tails(below, log_small.logsumexp(-1), log_large.logsumexp(-1), log_hazard)

    def _standardised(self, x: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
        u = (x.unsqueeze(-1) - means) * (-log_scales).exp()  # (*batch, D, K)
        most = 0.25 * torch.finfo(u.dtype).max ** 0.5  # its square must be finite
        return u.clamp(-most, most)

    @abstractmethod
    def _log_pdf(self, u: Tensor) -> Tensor:
        """Return ``log F'(u)``."""

    @abstractmethod
    def _log_cdf(self, u: Tensor) -> Tensor:
        """Return ``log F(u)``, for a law that is symmetric about zero."""

    @abstractmethod
    def _log_hazard(self, u: Tensor) -> Tensor:
        """Return ``log F'(u) - log F(u)``, without cancellation."""

    @abstractmethod
    def _quantile(self, tails: _Tails) -> tuple[Tensor, Tensor]:
        """Return y, and the logarithm of dy/dx."""


@dataclass(frozen=True)
class LogisticMixture(Mixture):
    """A mixture of logistics, then the logit: the univariate map of Flow++.

    Reference: Ho, Chen, Srinivas, Duan and Abbeel, *Flow++*, 2019, section 3.2.

    Example:
        >>> mixture = LogisticMixture(components=4)
        >>> y, log_derivative = mixture(torch.zeros(5, 1), torch.randn(5, 1, mixture.parameters))
        >>> y.shape
        torch.Size([5, 1])
    """

    law = "logistic"

    def _log_pdf(self, u: Tensor) -> Tensor:
        return F.logsigmoid(u) + F.logsigmoid(-u)

    def _log_cdf(self, u: Tensor) -> Tensor:
        return F.logsigmoid(u)

    def _log_hazard(self, u: Tensor) -> Tensor:
        return F.logsigmoid(-u)

    def _quantile(self, tails: _Tails) -> tuple[Tensor, Tensor]:
        return _logit(tails)


@dataclass(frozen=True)
class GaussianMixture(Mixture):
    """A mixture of Gaussians, then the normal quantile.

    With a MADE and a standard normal base, the flow is MADE-MoG: each conditional distribution is
    a mixture of Gaussians.

    Reference: Papamakarios, Pavlakou and Murray, *Masked autoregressive flow for density
    estimation*, 2017, section 4.

    Example:
        >>> mixture = GaussianMixture(components=4)
        >>> y, log_derivative = mixture(torch.zeros(5, 1), torch.randn(5, 1, mixture.parameters))
        >>> y.shape
        torch.Size([5, 1])
    """

    law = "normal"

    def _log_pdf(self, u: Tensor) -> Tensor:
        return normal_log_pdf(u)

    def _log_cdf(self, u: Tensor) -> Tensor:
        return normal_log_cdf(u)

    def _log_hazard(self, u: Tensor) -> Tensor:
        return normal_log_hazard(u)

    def _quantile(self, tails: _Tails) -> tuple[Tensor, Tensor]:
        z = normal_quantile(tails.log_small)
        return torch.where(tails.below, z, -z), tails.log_hazard - normal_log_hazard(z)


def _logit(tails: _Tails) -> tuple[Tensor, Tensor]:
    """Return the logit of the mass below, and the logarithm of its derivative."""
    logit = tails.log_small - tails.log_large
    return torch.where(tails.below, logit, -logit), tails.log_hazard - tails.log_large
