"""Householder reflections, and the Sylvester map based on them."""

import torch
from torch import Tensor, nn

from flowkit._checks import check_count
from flowkit.errors import ArgumentError
from flowkit.transforms.amortised import Amortised
from flowkit.transforms.base import Transform
from flowkit.transforms.root_finding import solve_increasing


def reflect(x: Tensor, v: Tensor) -> Tensor:
    """Reflect ``x`` in the plane orthogonal to ``v``: ``x - 2 v (v·x) / (v·v)``."""
    squared = (v * v).sum(-1, keepdim=True).clamp(min=torch.finfo(v.dtype).tiny)
    return x - v * (2 * (v * x).sum(-1, keepdim=True) / squared)


class Householder(Transform):
    """An orthogonal map: a product of reflections. D reflections give any such map up to sign.

    Args:
        features: number of features D.
        reflections: number of reflections, D by default.

    Both directions cost ``reflections`` inner products per row. The map preserves volume, and is
    initially random.

    Reference: Tomczak and Welling, *Improving variational auto-encoders using Householder flow*,
    2016, equation 8.

    Example:
        >>> x = torch.randn(5, 3)
        >>> z, _ = Householder(3)(x)
        >>> torch.allclose(z.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
        True
    """

    def __init__(self, features: int, reflections: int | None = None) -> None:
        super().__init__(check_count("features", features), constant_logabsdet=True)
        n = features if reflections is None else check_count("reflections", reflections)
        self.vectors = nn.Parameter(torch.randn(n, features))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Reflect ``x`` in each plane in turn."""
        self.check_input("x", x, None)
        for v in self.vectors.unbind():
            x = reflect(x, v)
        return x, self.zero_logabsdet(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Reflect ``z`` in each plane, last to first."""
        self.check_input("z", z, None)
        for v in reversed(self.vectors.unbind()):
            z = reflect(z, v)
        return z, self.zero_logabsdet(z)


class Sylvester(Transform):
    """``z = x + Q R tanh(S Qᵀ x + b)``: a planar map of rank M, the number of columns of Q.

    Q has orthonormal columns (Householder reflections), R and S are upper triangular with
    diagonals within ±1, so that ``r_ii s_ii > -1`` and the map can be inverted.

    Args:
        features: number of features D.
        rank: number of columns M of Q, at most D.
        context_features: width of the context that determines Q, R, S and b; 0 for learned
            parameters.

    ``forward`` is closed form; ``inverse`` finds M roots per row, one after the other. For a
    posterior that is sampled, use ``Inverse(Sylvester(...))``.

    Raises:
        ArgumentError: ``rank`` is not between 1 and ``features``.

    Reference: van den Berg, Hasenclever, Tomczak and Welling, *Sylvester normalizing flows for
    variational inference*, 2018, equations 13 to 17.

    Example:
        >>> z, logabsdet = Sylvester(4, rank=2)(torch.randn(5, 4))
        >>> z.shape, logabsdet.shape
        (torch.Size([5, 4]), torch.Size([5]))
    """

    def __init__(self, features: int, rank: int, *, context_features: int = 0) -> None:
        super().__init__(features, context_features=context_features)
        if check_count("rank", rank) > features:
            raise ArgumentError("rank", f"at most {features}, the number of features", rank)
        self.rank = rank
        self._sizes = [rank * features, rank * rank, rank * rank, rank]
        start = torch.cat([torch.randn(self._sizes[0]), 0.1 * torch.randn(sum(self._sizes[1:]))])
        self.params = Amortised(start, context_features)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Evaluate in closed form."""
        self.check_input("x", x, context)
        q, r, s, b = self._parts(context)
        y = (q * x.unsqueeze(-2)).sum(-1)  # Qᵀ x, (*batch, M)
        h = torch.tanh(_apply(s, y) + b)
        z = x + (q * _apply(r, h).unsqueeze(-1)).sum(-2)
        return z, self._logabsdet(h, r, s)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Solve for ``Qᵀ x``, from its last entry to the first."""
        self.check_input("z", z, context)
        q, r, s, b = self._parts(context)
        target = (q * z.unsqueeze(-2)).sum(-1)  # Qᵀ z = y + R tanh(S y + b)
        solved: list[Tensor] = []  # y_i ... y_M
        bends: list[Tensor] = []  # their tanh
        for i in reversed(range(self.rank)):
            inner, outer = b[..., i], target[..., i]
            for j, (y_j, h_j) in enumerate(zip(solved, bends, strict=True), start=i + 1):
                inner = inner + s[..., i, j] * y_j
                outer = outer - r[..., i, j] * h_j
            r_ii, s_ii = r[..., i, i], s[..., i, i]

            def function(
                y: Tensor, r_ii: Tensor = r_ii, s_ii: Tensor = s_ii, inner: Tensor = inner
            ) -> tuple[Tensor, Tensor]:
                h = torch.tanh(s_ii * y + inner)
                return y + r_ii * h, 1 + r_ii * s_ii * (1 - h * h)

            y = solve_increasing(function, outer, outer - r_ii.abs(), outer + r_ii.abs())
            solved.insert(0, y)
            bends.insert(0, torch.tanh(s_ii * y + inner))
        h = torch.stack(bends, dim=-1)
        x = z - (q * _apply(r, h).unsqueeze(-1)).sum(-2)
        return x, -self._logabsdet(h, r, s)

    def _parts(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return Qᵀ ``(*batch, M, D)``, R and S ``(*batch, M, M)``, and b ``(*batch, M)``."""
        m, d = self.rank, self.features
        vectors, r, s, b = self.params(context).split(self._sizes, dim=-1)
        vectors = torch.unflatten(vectors, -1, (m, d))
        q = torch.eye(m, d, dtype=vectors.dtype, device=vectors.device)
        for v in vectors.unbind(-2):
            q = reflect(q, v.unsqueeze(-2))
        r, s = (_triangle(torch.unflatten(matrix, -1, (m, m))) for matrix in (r, s))
        return q, r, s, b

    @staticmethod
    def _logabsdet(h: Tensor, r: Tensor, s: Tensor) -> Tensor:
        diagonal = r.diagonal(dim1=-2, dim2=-1) * s.diagonal(dim1=-2, dim2=-1)
        return torch.log1p(diagonal * (1 - h * h)).sum(-1)


def _triangle(matrix: Tensor) -> Tensor:
    """Return the upper triangle, with the diagonal softly within ±0.999."""
    diagonal = 0.999 * torch.tanh(matrix.diagonal(dim1=-2, dim2=-1))
    return matrix.triu(1) + torch.diag_embed(diagonal)


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """Multiply ``(*batch, M, M)`` by ``(*batch, M)``, in full precision also under autocast."""
    return (matrix * vector.unsqueeze(-2)).sum(-1)
