"""Kernel density estimate: a member that stores rows, used only with ``store_rows=True``."""

import math

import numpy as np
import torch
from torch import Tensor

from flowkit.tabular.continuous.members.base import Member, von_mises

_ROWS = 10_000
_BANDWIDTHS = np.geomspace(0.02, 1.0, 14)
_CHUNK = 512


class KernelMember(Member):
    """Gaussian kernels of one bandwidth around rows; on circular columns von Mises ones.

    Args:
        features: number of columns d.
        rows: number of rows kept.
        circular: which columns are angles, ``(d,)``.

    Missing entries are integrated out. A kept row that lacks an entry counts as uniform in that
    column: within three standard deviations, or around the circle.
    """

    kind = "kernel"
    centers: Tensor
    log_weights: Tensor
    bandwidth: Tensor

    def __init__(self, features: int, rows: int, circular: list[bool]) -> None:
        super().__init__()
        self.features, self.rows, self.circular = features, rows, list(circular)
        self.register_buffer("centers", torch.zeros(rows, features, dtype=torch.float64))
        self.register_buffer("log_weights", torch.zeros(rows, dtype=torch.float64))
        self.register_buffer("bandwidth", torch.ones((), dtype=torch.float64))

    def config(self) -> dict[str, object]:
        """Return the arguments of the constructor."""
        return {"features": self.features, "rows": self.rows, "circular": self.circular}

    @classmethod
    def fit(
        cls, y: np.ndarray, weights: np.ndarray, circular: np.ndarray, *, seed: int = 0
    ) -> "KernelMember":
        """Keep rows ``(n, d)`` of standardised columns, the bandwidth by a held-out tenth."""
        order = np.random.default_rng(seed).permutation(len(y))[:_ROWS]
        tenth = max(len(order) // 10, 1)
        trial = cls._around(y[order[tenth:]], weights[order[tenth:]], circular)
        test = torch.from_numpy(y[order[:tenth]])
        scores = []
        for h in _BANDWIDTHS:
            trial.bandwidth.fill_(float(h))
            scores.append(float(np.average(trial.log_prob(test), weights=weights[order[:tenth]])))
        self = cls._around(y[order], weights[order], circular)
        self.bandwidth.fill_(float(_BANDWIDTHS[int(np.argmax(scores))]))
        return self

    @classmethod
    def _around(cls, y: np.ndarray, weights: np.ndarray, circular: np.ndarray) -> "KernelMember":
        self = cls(y.shape[1], len(y), [bool(c) for c in circular])
        self.centers.copy_(torch.from_numpy(y))
        self.log_weights.copy_(torch.from_numpy(np.log(weights / weights.sum())))
        return self

    def log_prob(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of the present entries of each row, ``(n,)``."""
        del context
        return torch.cat([y.new_zeros(0), *map(self._log_prob, y.split(_CHUNK))])

    def _log_prob(self, y: Tensor) -> Tensor:
        total = self.log_weights.expand(len(y), -1)
        h = self.bandwidth
        for j, circular in enumerate(self.circular):
            offset = y[:, j, None] - self.centers[:, j]
            if circular:
                kappa = h**-2
                constant = math.log(2 * math.pi) + torch.special.i0e(kappa).log()
                term = kappa * (offset.cos() - 1) - constant
                empty = torch.tensor(-math.log(2 * math.pi), dtype=y.dtype)
            else:
                term = -0.5 * (offset / h) ** 2 - h.log() - 0.5 * math.log(2 * math.pi)
                # Of a kernel without the entry: uniform within ± 3.
                empty = torch.where(y[:, j, None].abs() < 3, -math.log(6.0), -math.inf)
            term = torch.where(self.centers[:, j].isnan(), empty, term)
            total = total + torch.where(y[:, j, None].isnan(), 0.0, term)
        return total.logsumexp(-1)

    def sample(self, present: Tensor, context: Tensor | None, generator: torch.Generator) -> Tensor:
        """Draw rows ``(n, d)``, NaN where not ``present``."""
        del context
        n = len(present)
        row = torch.multinomial(self.log_weights.exp(), n, replacement=True, generator=generator)
        centers = self.centers[row]
        normal = torch.randn(centers.shape, dtype=torch.float64, generator=generator)
        angle = von_mises(torch.zeros_like(centers), self.bandwidth**-2, generator)
        circular = torch.tensor(self.circular)
        y = centers + torch.where(circular, angle, self.bandwidth * normal)
        wrapped = torch.remainder(y + math.pi, 2 * math.pi) - math.pi
        y = torch.where(circular, wrapped, y)
        # Of a kept row that lacks the entry: uniform.
        reach = torch.where(circular, math.pi, 3.0)
        uniform = torch.rand(centers.shape, dtype=torch.float64, generator=generator)
        uniform = (2 * uniform - 1) * reach
        return torch.where(centers.isnan(), uniform, y).masked_fill(~present, torch.nan)
