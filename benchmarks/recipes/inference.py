"""Tasks of the benchmark of simulation-based inference: priors, simulators, likelihoods.

Reference: Lueckmann, Boelts, Greenberg, Goncalves and Macke, *Benchmarking simulation-based
inference*, 2021, appendix T.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

_LOG_2PI = math.log(2 * math.pi)


def _normal(x: Tensor, mean: Tensor | float, scale: Tensor | float) -> Tensor:
    scale = torch.as_tensor(scale, dtype=x.dtype)
    return -0.5 * (((x - mean) / scale).square() + _LOG_2PI) - scale.log()


class Task(ABC):
    """A simulator with known likelihood, and a prior.

    Attributes:
        parameters: number of parameters.
        box: half the width of a uniform prior, None for other priors.
    """

    parameters: int
    box: float | None

    def prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw parameters ``(n, parameters)``."""
        return (2 * torch.rand(n, self.parameters, generator=generator) - 1) * self.box

    def log_prior(self, theta: Tensor) -> Tensor:
        """Return the log-density of parameters, ``(n,)``."""
        inside = (theta.abs() <= self.box).all(-1)
        log_density = torch.full_like(theta[..., 0], -self.parameters * math.log(2 * self.box))
        return torch.where(inside, log_density, -math.inf)

    @abstractmethod
    def simulate(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw an observation for each row of parameters."""

    @abstractmethod
    def log_likelihood(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return ``log p(x | theta)``, ``(n,)``."""

    def log_posterior(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the log-posterior up to a constant, ``(n,)``."""
        return self.log_prior(theta) + self.log_likelihood(x, theta)


class GaussianLinear(Task):
    """Ten parameters, each observed with noise; the posterior is ``N(x / 2, 0.05)``."""

    parameters, box = 10, None
    variance = 0.1

    def prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(n, 10, generator=generator) * math.sqrt(self.variance)

    def log_prior(self, theta: Tensor) -> Tensor:
        return _normal(theta, 0.0, math.sqrt(self.variance)).sum(-1)

    def simulate(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.randn(theta.shape, generator=generator)
        return theta + noise * math.sqrt(self.variance)

    def log_likelihood(self, x: Tensor, theta: Tensor) -> Tensor:
        return _normal(x, theta, math.sqrt(self.variance)).sum(-1)


class GaussianMixture(Task):
    """Two parameters, observed with a mixture of wide and narrow noise."""

    parameters, box = 2, 10.0
    scales = (1.0, 0.1)

    def simulate(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        narrow = torch.rand(len(theta), 1, generator=generator) < 0.5
        noise = torch.randn(theta.shape, generator=generator)
        return theta + noise * torch.where(narrow, self.scales[1], self.scales[0])

    def log_likelihood(self, x: Tensor, theta: Tensor) -> Tensor:
        terms = [_normal(x, theta, scale).sum(-1) for scale in self.scales]
        return torch.logaddexp(*terms) - math.log(2)


class TwoMoons(Task):
    """Two parameters; the posterior has two crescents."""

    parameters, box = 2, 1.0
    radius, spread, shift = 0.1, 0.01, 0.25

    def simulate(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        angle = math.pi * (torch.rand(len(theta), generator=generator) - 0.5)
        r = self.radius + self.spread * torch.randn(len(theta), generator=generator)
        crescent = torch.stack([r * angle.cos() + self.shift, r * angle.sin()], -1)
        return crescent + self._place(theta)

    def log_likelihood(self, x: Tensor, theta: Tensor) -> Tensor:
        u = x - self._place(theta) - torch.tensor([self.shift, 0.0])
        r = torch.linalg.vector_norm(u, dim=-1).clamp(min=1e-12)
        log_density = _normal(r, self.radius, self.spread) - r.log() - math.log(math.pi)
        return torch.where(u[..., 0] > 0, log_density, -math.inf)

    @staticmethod
    def _place(theta: Tensor) -> Tensor:
        sums = torch.stack([-theta.sum(-1).abs(), theta[..., 1] - theta[..., 0]], -1)
        return sums / math.sqrt(2)


class SLCP(Task):
    """Simple likelihood, complex posterior: five parameters, and four points in the plane."""

    parameters, box = 5, 3.0

    def simulate(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        a, b, correlation = self._shape(theta)
        noise = torch.randn(len(theta), 4, 2, generator=generator)
        first = a * noise[..., 0]
        rest = (1 - correlation.square()).sqrt()
        second = b * (correlation * noise[..., 0] + rest * noise[..., 1])
        points = torch.stack([first, second], -1) + theta[:, None, :2]
        return points.flatten(1)

    def log_likelihood(self, x: Tensor, theta: Tensor) -> Tensor:
        a, b, correlation = self._shape(theta)
        points = x.reshape(*x.shape[:-1], 4, 2)
        offset = points - theta[..., None, :2]
        u, v = offset[..., 0] / a, offset[..., 1] / b
        rest = 1 - correlation.square()
        squared = (u.square() - 2 * correlation * u * v + v.square()) / rest
        log_det = a.log() + b.log() + 0.5 * rest.log()
        return (-0.5 * squared - _LOG_2PI - log_det).sum(-1)

    @staticmethod
    def _shape(theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return two standard deviations and a correlation, ``(n, 1)`` each."""
        least = 1e-6
        a, b = (theta[..., j : j + 1].square().clamp(min=least) for j in (2, 3))
        return a, b, torch.tanh(theta[..., 4:5]).clamp(-1 + 1e-6, 1 - 1e-6)


TASKS: dict[str, type[Task]] = {
    "two_moons": TwoMoons,
    "gaussian_linear": GaussianLinear,
    "gaussian_mixture": GaussianMixture,
    "slcp": SLCP,
}
