"""Toy densities in the plane, with exact log-density, sampler and entropy.

The mean log-likelihood of a model on new samples is at most the negative entropy, up to noise. A
higher score indicates a bug.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Array = NDArray[np.float64]


class Toy(ABC):
    """A density on the plane.

    Attributes:
        optimum: the expected log-density in nats (the negative entropy), the score of the true
            model.
    """

    optimum: ClassVar[float]

    @abstractmethod
    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw ``n`` points, ``(n, 2)``."""

    @abstractmethod
    def log_prob(self, x: Array) -> Array:
        """Return the log-density of ``x``, ``(n, 2)``, as ``(n,)``."""


def _log_normal(x: Array, mean: Array | float, std: Array | float) -> Array:
    result: Array = -0.5 * ((x - mean) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)
    return result


@dataclass(frozen=True)
class Parabola(Toy):
    """``x2 ~ N(0, 4)`` and ``x1 | x2 ~ N(x2² / 4, 1)``.

    In the order ``x2, x1`` one Gaussian MADE is exact. In the order ``x1, x2`` conditional
    distributions have two modes. (Papamakarios, Pavlakou and Murray, 2017, figure 1.)

    Example:
        >>> Parabola().sample(3, np.random.default_rng(0)).shape
        (3, 2)
    """

    optimum: ClassVar[float] = -3.531024

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw ``n`` points, ``(n, 2)``."""
        x2 = rng.normal(0, 2, n)
        return np.stack([rng.normal(x2**2 / 4, 1), x2], axis=1)

    def log_prob(self, x: Array) -> Array:
        """Return the log-density of ``x``, ``(n, 2)``, as ``(n,)``."""
        return _log_normal(x[:, 1], 0, 2) + _log_normal(x[:, 0], x[:, 1] ** 2 / 4, 1)


@dataclass(frozen=True)
class EightGaussians(Toy):
    """Eight equal round Gaussians of standard deviation 0.2 on a circle of radius 2."""

    optimum: ClassVar[float] = -1.698061

    @property
    def centres(self) -> Array:
        """The eight means, ``(8, 2)``."""
        angles = np.arange(8) * np.pi / 4
        return 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw ``n`` points, ``(n, 2)``."""
        return rng.normal(self.centres[rng.integers(8, size=n)], 0.2)

    def log_prob(self, x: Array) -> Array:
        """Return the log-density of ``x``, ``(n, 2)``, as ``(n,)``."""
        terms = _log_normal(x[:, None, :], self.centres, 0.2).sum(-1)
        result: Array = logsumexp(terms, axis=1) - np.log(8)
        return result


@dataclass(frozen=True)
class Checkerboard(Toy):
    """Uniform on the eight dark unit squares of a board on ``[-2, 2]²``."""

    optimum: ClassVar[float] = -float(np.log(8))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw ``n`` points, ``(n, 2)``."""
        column = rng.integers(4, size=n)
        row = 2 * rng.integers(2, size=n) + column % 2
        return np.stack([column, row], axis=1) + rng.random((n, 2)) - 2

    def log_prob(self, x: Array) -> Array:
        """Return the log-density of ``x``, ``(n, 2)``, as ``(n,)``."""
        dark = (np.floor(x).sum(1) % 2 == 0) & (np.abs(x) <= 2).all(1)
        return np.where(dark, self.optimum, -np.inf)


@dataclass(frozen=True)
class Funnel(Toy):
    """``v ~ N(0, 9)`` and ``x | v ~ N(0, e^v)``, columns ``(v, x)``, after Neal (2003).

    The scale of x ranges over orders of magnitude.
    """

    optimum: ClassVar[float] = -3.936489

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw ``n`` points, ``(n, 2)``."""
        v = rng.normal(0, 3, n)
        return np.stack([v, rng.normal(0, np.exp(v / 2))], axis=1)

    def log_prob(self, x: Array) -> Array:
        """Return the log-density of ``x``, ``(n, 2)``, as ``(n,)``."""
        return _log_normal(x[:, 0], 0, 3) + _log_normal(x[:, 1], 0, np.exp(x[:, 0] / 2))


@dataclass(frozen=True)
class TwoMoons(Toy):
    """Two interleaved half circles of radius 1, blurred by a Gaussian of standard deviation 0.1.

    The density is an integral along the arcs, by Gauss-Legendre quadrature.
    """

    optimum: ClassVar[float] = -1.007585
    blur: ClassVar[float] = 0.1

    @staticmethod
    def _arcs(angle: Array) -> tuple[Array, Array]:
        upper = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        return upper, np.array([1.0, 0.5]) - upper

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw ``n`` points, ``(n, 2)``."""
        upper, lower = self._arcs(rng.uniform(0, np.pi, n))
        return rng.normal(np.where(rng.random((n, 1)) < 0.5, upper, lower), self.blur)

    def log_prob(self, x: Array) -> Array:
        """Return the log-density of ``x``, ``(n, 2)``, as ``(n,)``."""
        nodes, weights = np.polynomial.legendre.leggauss(50)
        places = np.concatenate(self._arcs((nodes + 1) * np.pi / 2))
        log_weights = np.log(np.tile(weights, 2) / 4)
        parts = [np.zeros(0)]
        for start in range(0, len(x), 10_000):
            distance = x[start : start + 10_000, None, :] - places
            terms = _log_normal(distance, 0, self.blur).sum(-1) + log_weights
            parts.append(logsumexp(terms, axis=1))
        result: Array = np.concatenate(parts)
        return result


@dataclass(frozen=True)
class Pinwheel(Toy):
    """Five long Gaussians around the origin, rotated by an angle that increases with the radius.

    The rotation preserves areas, so the density is that of the Gaussians at the inverse image.
    """

    optimum: ClassVar[float] = -0.244999
    arms: ClassVar[int] = 5
    scales: ClassVar[tuple[float, float]] = (0.3, 0.05)

    @staticmethod
    def _turned(x: Array, angle: Array) -> Array:
        c, s = np.cos(angle), np.sin(angle)
        return np.stack([c * x[..., 0] - s * x[..., 1], s * x[..., 0] + c * x[..., 1]], axis=-1)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw ``n`` points, ``(n, 2)``."""
        arm = rng.integers(self.arms, size=n) * 2 * np.pi / self.arms
        straight = rng.normal((1.0, 0.0), self.scales, (n, 2))
        return self._turned(straight, arm + np.linalg.norm(straight, axis=1))

    def log_prob(self, x: Array) -> Array:
        """Return the log-density of ``x``, ``(n, 2)``, as ``(n,)``."""
        arms = np.arange(self.arms) * 2 * np.pi / self.arms
        back = self._turned(x[:, None, :], -arms - np.linalg.norm(x, axis=1)[:, None])
        terms = _log_normal(back, np.array([1.0, 0.0]), np.array(self.scales)).sum(-1)
        result: Array = logsumexp(terms, axis=1) - np.log(self.arms)
        return result


@dataclass(frozen=True)
class Rings(Toy):
    """Rings of radius 1, 2 and 3 with equal weights; the radius has standard deviation 0.1."""

    optimum: ClassVar[float] = -2.647799
    radii: ClassVar[tuple[float, ...]] = (1.0, 2.0, 3.0)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw ``n`` points, ``(n, 2)``."""
        radius = rng.normal(rng.choice(self.radii, n), 0.1)
        angle = rng.uniform(0, 2 * np.pi, n)
        points: Array = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return points

    def log_prob(self, x: Array) -> Array:
        """Return the log-density of ``x``, ``(n, 2)``, as ``(n,)``."""
        radius = np.linalg.norm(x, axis=1)
        # Negative radii, ten standard deviations away, are neglected.
        terms = _log_normal(radius[:, None], np.array(self.radii), 0.1)
        result: Array = logsumexp(terms, axis=1) - np.log(
            3 * 2 * np.pi * np.maximum(radius, 1e-300)
        )
        return result


TOYS: dict[str, Toy] = {
    "parabola": Parabola(),
    "eight_gaussians": EightGaussians(),
    "checkerboard": Checkerboard(),
    "funnel": Funnel(),
    "two_moons": TwoMoons(),
    "pinwheel": Pinwheel(),
    "rings": Rings(),
}
