"""Student t member: a broad product density that keeps gross outliers possible."""

import math

import numpy as np
import torch
from torch import Tensor

from flowkit.schema.statistics import location_and_scale
from flowkit.tabular.continuous.members.base import Member


class StudentMember(Member):
    """Independent Student t densities with two degrees of freedom; uniform on circular columns.

    The member has no standardiser: a marginal map may send an outlier anywhere.

    Args:
        features: number of columns d.
        circular: which columns are angles, ``(d,)``.
    """

    kind = "broad"  # as model files have it
    loc: Tensor
    scale: Tensor

    def __init__(self, features: int, circular: list[bool]) -> None:
        super().__init__()
        self.features, self.circular = features, list(circular)
        self.register_buffer("loc", torch.zeros(features, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(features, dtype=torch.float64))

    def config(self) -> dict[str, object]:
        """Return the arguments of the constructor."""
        return {"features": self.features, "circular": self.circular}

    @classmethod
    def fit(cls, y: np.ndarray, weights: np.ndarray, circular: np.ndarray) -> "StudentMember":
        """Fit to rows ``(n, d)``, NaN where absent, with weights ``(n,)``."""
        self = cls(y.shape[1], [bool(c) for c in circular])
        for j in range(y.shape[1]):
            present = ~np.isnan(y[:, j])
            if present.any() and not circular[j]:
                loc, scale = location_and_scale(y[present, j], weights[present])
                self.loc[j], self.scale[j] = loc, scale
        return self

    def log_prob(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of the present entries of each row, ``(n,)``."""
        del context
        u = ((y - self.loc) / self.scale).abs()
        # t with two degrees of freedom: (2 + u²)^(-3/2), by the root; |u| where u*u overflows.
        root = torch.maximum((u.clamp(max=1e100).square() + 2).sqrt(), u)
        log_density = -3 * root.log()
        log_density = log_density - self.scale.log()
        circular = torch.tensor(self.circular)
        log_density = torch.where(circular, -math.log(2 * math.pi), log_density)
        return torch.where(y.isnan(), 0.0, log_density).sum(-1)

    def sample(self, present: Tensor, context: Tensor | None, generator: torch.Generator) -> Tensor:
        """Draw rows ``(n, d)``, NaN where not ``present``."""
        del context
        shape = (len(present), self.features)
        # A normal over the root of half a chi-squared with two degrees: an exponential.
        normal = torch.randn(shape, dtype=torch.float64, generator=generator)
        exponential = torch.empty(shape, dtype=torch.float64).exponential_(generator=generator)
        t = normal / exponential.sqrt()
        angle = torch.rand(shape, dtype=torch.float64, generator=generator) * 2 * math.pi - math.pi
        y = torch.where(torch.tensor(self.circular), angle, self.loc + self.scale * t)
        return y.masked_fill(~present, torch.nan)
