"""Gaussian mixture member: rows may have weights, absent entries and angles."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from flowkit.tabular.continuous.members.base import Member, von_mises
from flowkit.tabular.continuous.members.expectation import MixtureEM, patterns

_LOG_2PI = math.log(2 * math.pi)
# Rows at once, so that what is computed for all components stays in the cache.
_TILE = 512


class MixtureMember(Member):
    """A mixture of full Gaussians; on circular columns each component is a product of von Mises.

    Args:
        features: number of columns d.
        components: number of components K.
        circular: which columns are angles, ``(d,)``.

    Missing entries (NaN) are integrated out, exactly.
    """

    kind = "mixture"
    log_weights: Tensor
    means: Tensor
    factors: Tensor
    concentrations: Tensor

    def __init__(self, features: int, components: int, circular: list[bool]) -> None:
        super().__init__()
        self.features, self.components, self.circular = features, components, list(circular)
        self._line = [j for j in range(features) if not circular[j]]
        self._angle = [j for j in range(features) if circular[j]]
        p, k = len(self._line), components
        zeros = torch.zeros(k, features, dtype=torch.float64)
        self.register_buffer("log_weights", torch.full((k,), -math.log(k), dtype=torch.float64))
        self.register_buffer("means", zeros)
        # Lower triangular L with covariance L Lᵀ.
        self.register_buffer("factors", torch.eye(p, dtype=torch.float64).repeat(k, 1, 1))
        self.register_buffer("concentrations", zeros[:, : len(self._angle)].clone())

    def config(self) -> dict[str, object]:
        """Return the arguments of the constructor."""
        return {
            "features": self.features,
            "components": self.components,
            "circular": self.circular,
        }

    @classmethod
    def fit(
        cls,
        y: np.ndarray,
        weights: np.ndarray,
        components: int,
        circular: np.ndarray,
        *,
        seed: int = 0,
        steps: int = 100,
    ) -> "MixtureMember":
        """Fit to rows ``(n, d)``, NaN where absent, of columns of unit scale."""
        self = cls(y.shape[1], components, [bool(c) for c in circular])
        em = MixtureEM(y, weights, self._line, self._angle, components, seed)
        em.run(steps)
        self.log_weights.copy_(torch.from_numpy(np.log(em.shares)))
        self.means[:, self._line] = torch.from_numpy(em.means)
        self.means[:, self._angle] = torch.from_numpy(em.directions)
        self.factors.copy_(torch.linalg.cholesky(torch.from_numpy(em.covariances)))
        self.concentrations.copy_(torch.from_numpy(em.concentrations))
        return self

    def log_prob(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of the present entries of each row, ``(n,)``."""
        del context
        result = y.new_empty(len(y))
        columns = y.mT.contiguous()
        for present, rows in patterns(~y.isnan()):
            density = self._density_of(present)
            own = columns if len(rows) == len(y) else columns[:, rows]
            result[rows] = torch.cat([density(part).logsumexp(0) for part in own.split(_TILE, 1)])
        return result

    def _density_of(self, present: Tensor) -> Callable[[Tensor], Tensor]:
        """Return a function of rows, as columns ``(d, n)``, with one pattern of present entries.

        It returns the log of weight and density of each component, ``(K, n)``.
        """
        line = [i for i, j in enumerate(self._line) if present[j]]
        columns = [self._line[i] for i in line]
        factors = _marginal_factors(self.factors, line)
        identity = torch.eye(len(line), dtype=factors.dtype)
        inverse = torch.linalg.solve_triangular(factors, identity, upper=False)
        offset = inverse @ self.means[:, columns].unsqueeze(-1)
        flat, log_det = inverse.flatten(0, 1), factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = self.log_weights - 0.5 * len(line) * _LOG_2PI - log_det
        angles = [(i, j) for i, j in enumerate(self._angle) if present[j]]
        for i, _ in angles:  # i0e is I0 without its exponential growth
            constant = constant - _LOG_2PI - torch.special.i0e(self.concentrations[:, i]).log()
        constant = constant.unsqueeze(-1)

        def density(y: Tensor) -> Tensor:
            # One product for all components, with rows last: z = L⁻¹ (y - mean).
            product = flat @ y[columns]
            z = product.view(self.components, len(line), y.shape[1]).sub_(offset)
            total: Tensor = constant - 0.5 * z.square_().sum(1)
            for i, j in angles:
                cosine = torch.cos(y[j] - self.means[:, j, None])
                total = total + self.concentrations[:, i, None] * (cosine - 1)
            return total

        return density

    def sample(self, present: Tensor, context: Tensor | None, generator: torch.Generator) -> Tensor:
        """Draw rows ``(n, d)``, NaN where not ``present``."""
        del context
        n, shares = len(present), self.log_weights.exp()
        chosen = torch.multinomial(shares, n, replacement=True, generator=generator)
        y = torch.empty(n, self.features, dtype=torch.float64)
        if self._line:
            noise = torch.randn(n, len(self._line), dtype=torch.float64, generator=generator)
            for k in range(self.components):
                rows = (chosen == k).nonzero().squeeze(-1)
                value = self.means[k, self._line] + noise[rows] @ self.factors[k].T
                y[rows.unsqueeze(-1), torch.tensor(self._line)] = value
        for i, j in enumerate(self._angle):
            y[:, j] = von_mises(self.means[chosen, j], self.concentrations[chosen, i], generator)
        return y.masked_fill(~present, torch.nan)


def _marginal_factors(factors: Tensor, kept: list[int]) -> Tensor:
    """Return the Cholesky factors of the covariance of some columns."""
    if len(kept) == factors.shape[-1]:
        return factors
    rows = factors[:, kept]
    marginal: Tensor = torch.linalg.cholesky(rows @ rows.mT)
    return marginal
