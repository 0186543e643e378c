"""Planar and radial maps, mainly for variational posteriors."""

import torch
import torch.nn.functional as F
from torch import Tensor

from flowkit.transforms.amortised import Amortised
from flowkit.transforms.base import Transform
from flowkit.transforms.root_finding import solve_increasing

# Lower limit of the quantities that must be positive for an invertible map.
_FLOOR = 1e-3


class Planar(Transform):
    """``z = x + u tanh(w·x + b)``, with ``w·u > -1`` so that it can be inverted.

    Args:
        features: number of features.
        context_features: width of the context that determines u, w and b; 0 for learned ones.

    ``forward`` is closed form; ``inverse`` finds one root per row in 60 safeguarded steps. For a
    posterior that is sampled, use ``Inverse(Planar(...))``.

    Reference: Rezende and Mohamed, *Variational inference with normalizing flows*, 2015,
    equations 10 to 12 and appendix A.

    Example:
        >>> z, logabsdet = Planar(3)(torch.randn(5, 3))
        >>> z.shape, logabsdet.shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    def __init__(self, features: int, *, context_features: int = 0) -> None:
        super().__init__(features, context_features=context_features)
        start = torch.randn(2 * features + 1) / features**0.5  # directions of about unit length
        start[-1] = 0
        self.params = Amortised(start, context_features)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Evaluate in closed form."""
        self.check_input("x", x, context)
        u, w, b, wu = self._parts(context)
        h = torch.tanh((w * x).sum(-1) + b)
        return x + u * h.unsqueeze(-1), torch.log1p(wu * (1 - h * h))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Solve ``a + w·u tanh(a + b) = w·z`` for ``a = w·x``."""
        self.check_input("z", z, context)
        u, w, b, wu = self._parts(context)

        def function(a: Tensor) -> tuple[Tensor, Tensor]:
            h = torch.tanh(a + b)
            return a + wu * h, 1 + wu * (1 - h * h)

        wz = (w * z).sum(-1)
        a = solve_increasing(function, wz, wz - wu.abs(), wz + wu.abs())
        h = torch.tanh(a + b)
        return z - u * h.unsqueeze(-1), -torch.log1p(wu * (1 - h * h))

    def _parts(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the constrained u, then w, b and w·u."""
        sizes = [self.features, self.features, 1]
        u, w, b = self.params(context).split(sizes, dim=-1)
        raw = (w * u).sum(-1, keepdim=True)
        wu = F.softplus(raw) - 1 + _FLOOR
        squared = (w * w).sum(-1, keepdim=True).clamp(min=torch.finfo(w.dtype).tiny)
        u = u + (wu - raw) * w / squared
        return u, w, b.squeeze(-1), wu.squeeze(-1)


class Radial(Transform):
    """``z = x + β (x - c) / (α + |x - c|)``, with ``β > -α`` so that it can be inverted.

    Args:
        features: number of features.
        context_features: width of the context that determines c, α and β; 0 for learned ones.

    Both directions are closed form.

    Reference: Rezende and Mohamed, *Variational inference with normalizing flows*, 2015,
    equation 14 and appendix A.

    Example:
        >>> z, logabsdet = Radial(3)(torch.randn(5, 3))
        >>> z.shape, logabsdet.shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    def __init__(self, features: int, *, context_features: int = 0) -> None:
        super().__init__(features, context_features=context_features)
        start = torch.cat([torch.randn(features), torch.tensor([0.0, 1.0])])
        self.params = Amortised(start, context_features)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Move ``x`` away from the centre or towards the centre."""
        self.check_input("x", x, context)
        centre, alpha, total = self._parts(context)
        offset = x - centre
        r = torch.linalg.vector_norm(offset, dim=-1)
        stretch = 1 + (total - alpha) / (r + alpha)  # α + β is the total
        return centre + offset * stretch.unsqueeze(-1), self._logabsdet(r, alpha, total)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Solve a quadratic equation, whose positive root is ``|x - c|``."""
        self.check_input("z", z, context)
        centre, alpha, total = self._parts(context)
        offset = z - centre
        distance = torch.linalg.vector_norm(offset, dim=-1)
        half = 0.5 * (total - distance)
        root = torch.sqrt(half * half + alpha * distance)
        positive = half >= 0
        safe = torch.where(positive, half + root, 1.0)  # the form without cancellation, by sign
        r = torch.where(positive, alpha * distance / safe, root - half)
        shrink = (r + alpha) / (r + total)
        return centre + offset * shrink.unsqueeze(-1), -self._logabsdet(r, alpha, total)

    def _parts(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the centre, α > 0, and α + β > 0."""
        centre, raw = self.params(context).split([self.features, 2], dim=-1)
        alpha, total = (F.softplus(raw) + _FLOOR).unbind(-1)
        return centre, alpha, total

    def _logabsdet(self, r: Tensor, alpha: Tensor, total: Tensor) -> Tensor:
        around = torch.log1p((total - alpha) / (r + alpha))
        along = torch.log1p((total - alpha) * alpha / (r + alpha) ** 2)
        return (self.features - 1) * around + along
