"""Invertible linear maps."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowkit._checks import check_count
from flowkit.transforms.amortised import Amortised
from flowkit.transforms.base import Transform


class LULinear(Transform):
    """``z = L U x + b``, L unit lower triangular, U upper triangular with a positive diagonal.

    The log-determinant is the sum of the log-diagonal of U. The map is initially the identity.

    Args:
        features: number of features D.

    ``forward`` costs one matrix product; ``inverse`` two triangular solves, about the same.

    Reference: Kingma and Dhariwal, *Glow*, 2018, section 3.2; Oliva et al., *Transformation
    autoregressive networks*, 2018.

    Example:
        >>> layer = LULinear(3)
        >>> z, logabsdet = layer(torch.randn(5, 3))
        >>> x, _ = layer.inverse(z)
    """

    def __init__(self, features: int) -> None:
        super().__init__(check_count("features", features), constant_logabsdet=True)
        self.lower = nn.Parameter(torch.zeros(features, features))
        self.upper = nn.Parameter(torch.zeros(features, features))
        self.log_diagonal = nn.Parameter(torch.zeros(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def factors(self) -> tuple[Tensor, Tensor]:
        """Return L and U, each ``(D, D)``; entries outside the triangles are not read."""
        ones = torch.ones_like(self.log_diagonal)
        lower = self.lower.tril(-1) + torch.diag_embed(ones)
        upper = self.upper.triu(1) + torch.diag_embed(self.log_diagonal.exp())
        return lower, upper

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Multiply by L U and add the bias."""
        self.check_input("x", x, None)
        lower, upper = self.factors()
        # In reduced precision the inverse would not undo the map.
        with torch.autocast(x.device.type, enabled=False):
            z = F.linear(x, lower @ upper, self.bias)
        return z, self.zero_logabsdet(x) + self.log_diagonal.sum()

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Subtract the bias and solve with L, then with U."""
        self.check_input("z", z, None)
        lower, upper = self.factors()
        rows = (z - self.bias).reshape(-1, self.features)  # row by row: x = (z - b) L^-T U^-T
        rows = torch.linalg.solve_triangular(
            lower.mT, rows, upper=True, left=False, unitriangular=True
        )
        rows = torch.linalg.solve_triangular(upper.mT, rows, upper=False, left=False)
        return rows.reshape(z.shape), self.zero_logabsdet(z) - self.log_diagonal.sum()


class UnitTriangular(Transform):
    """``z = L x``, L unit lower triangular, learned or a linear function of the context.

    The map preserves volume. Applied to a Gaussian of independent features, `forward` gives any
    Gaussian. The map is initially the identity.

    Args:
        features: number of features D.
        context_features: width of the context that determines L; 0 for a learned L.

    ``forward`` costs a matrix product per row; ``inverse`` a triangular solve, about the same.

    Reference: Kingma and Welling, *An introduction to variational autoencoders*, 2019, section 2.5.

    Example:
        >>> layer = UnitTriangular(4, context_features=2)
        >>> z, logabsdet = layer(torch.randn(5, 4), torch.ones(5, 2))
        >>> z.shape, logabsdet.shape
        (torch.Size([5, 4]), torch.Size([5]))
    """

    def __init__(self, features: int, *, context_features: int = 0) -> None:
        super().__init__(
            check_count("features", features),
            context_features=context_features,
            constant_logabsdet=True,
        )
        below = torch.ones(features, features).tril(-1).bool().nonzero()
        self.register_buffer("below", below[:, 0] * features + below[:, 1], persistent=False)
        self.params = Amortised(torch.zeros(len(below)), context_features)

    below: Tensor

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Multiply by L."""
        self.check_input("x", x, context)
        # A product and a sum: autocast would reduce the precision of a matrix product.
        mixed = (self._lower(context) * x.unsqueeze(-2)).sum(-1)
        return x + mixed, self.zero_logabsdet(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Solve with L."""
        self.check_input("z", z, context)
        lower = self._lower(context)
        lower = lower.expand(*z.shape[:-1], *lower.shape[-2:])
        x = torch.linalg.solve_triangular(lower, z.unsqueeze(-1), upper=False, unitriangular=True)
        return x.squeeze(-1), self.zero_logabsdet(z)

    def _lower(self, context: Tensor | None) -> Tensor:
        """Return the part of L below the diagonal, ``(*batch, D, D)``."""
        d, entries = self.features, self.params(context)
        flat = entries.new_zeros(*entries.shape[:-1], d * d).index_copy(-1, self.below, entries)
        return torch.unflatten(flat, -1, (d, d))
