"""A broad product of Student t laws: the member that no gross outlier surprises."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from flowkit.tabular.marginals import location_and_scale


class BroadMember(nn.Module):
    """Independent Student t laws with two degrees of freedom, uniform on circular columns.

    Args:
        features: number of columns d.
        circular: which columns are angles, ``(d,)``.

    It stands in the table's own units: a marginal map may send an outlier anywhere.
    """

    kind = "broad"
    loc: Tensor
    scale: Tensor

    def __init__(self, features: int, circular: list[bool]) -> None:
        super().__init__()
        self.features, self.circular = features, list(circular)
        self.register_buffer("loc", torch.zeros(features, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(features, dtype=torch.float64))

    def config(self) -> dict[str, object]:
        """Return the arguments that make it again."""
        return {"features": self.features, "circular": self.circular}

    @classmethod
    def fit(cls, y: np.ndarray, weights: np.ndarray, circular: np.ndarray) -> "BroadMember":
        """Fit to rows ``(n, d)``, NaN where absent."""
        self = cls(y.shape[1], [bool(c) for c in circular])
        for j in range(y.shape[1]):
            here = ~np.isnan(y[:, j])
            if here.any() and not circular[j]:
                loc, scale = location_and_scale(y[here, j], weights[here])
                self.loc[j], self.scale[j] = loc, scale
        return self

    def log_prob(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of the present entries of each row, ``(n,)``."""
        del context
        u = ((y - self.loc) / self.scale).abs()
        # t with two degrees of freedom: (2 + u²)^(-3/2); log1p and not u² where that overflows.
        log_density = -1.5 * torch.where(
            u > 1e100, 2 * u.clamp(min=1).log(), torch.log(2 + u.clamp(max=1e100) ** 2)
        )
        log_density = log_density - self.scale.log()
        circular = torch.tensor(self.circular)
        log_density = torch.where(circular, -math.log(2 * math.pi), log_density)
        return torch.where(y.isnan(), 0.0, log_density).sum(-1)

    def sample(self, present: Tensor, context: Tensor | None, rng: np.random.Generator) -> Tensor:
        """Draw rows ``(n, d)``, NaN where not ``present``."""
        del context
        shape = (len(present), self.features)
        t = torch.from_numpy(rng.standard_t(2, shape))
        angle = torch.from_numpy(rng.uniform(-math.pi, math.pi, shape))
        y = torch.where(torch.tensor(self.circular), angle, self.loc + self.scale * t)
        return y.masked_fill(~present, torch.nan)
