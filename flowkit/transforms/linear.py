"""Invertible linear maps."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowkit._checks import check_count
from flowkit.transforms.base import Transform


class LULinear(Transform):
    """``z = L U x + b``, L unit lower triangular, U upper triangular with a positive diagonal.

    The log-determinant is the sum of U's log-diagonal. It starts as the identity.

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
        """Return L and U, each ``(D, D)``; the entries on a factor's wrong side are not read."""
        ones = torch.ones_like(self.log_diagonal)
        lower = self.lower.tril(-1) + torch.diag_embed(ones)
        upper = self.upper.triu(1) + torch.diag_embed(self.log_diagonal.exp())
        return lower, upper

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Multiply by L U and add the bias."""
        self.check_input("x", x, None)
        lower, upper = self.factors()
        # Reduced precision would make a map that its inverse does not undo.
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
