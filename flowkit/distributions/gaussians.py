"""Gaussian bases with learned parameters: diagonal, full, mixtures, and conditional."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowkit._checks import check_context, check_count, check_event, check_shape
from flowkit.distributions.registry import named
from flowkit.distributions.standard import Base
from flowkit.errors import ArgumentError, ShapeError
from flowkit.nets import MLP
from flowkit.nets.linear import Linear

_LOG_2PI = math.log(2 * math.pi)


def _standard_log_density(y: Tensor) -> Tensor:
    """Return the log-density of a standard normal vector, ``(*batch, D)`` to ``(*batch,)``."""
    return -0.5 * (y * y + _LOG_2PI).sum(-1)


@named
class DiagonalNormal(Base):
    """Independent normals with learned means and scales, initially standard.

    Args:
        features: number of features.

    Example:
        >>> DiagonalNormal(2).log_prob(torch.zeros(3, 2))
        tensor([-1.8379, -1.8379, -1.8379], grad_fn=<AddBackward0>)
    """

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.loc = nn.Parameter(torch.zeros(features))
        self.log_scale = nn.Parameter(torch.zeros(features))

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``z``, ``(*batch, features)``, as ``(*batch,)``."""
        self.check_input("z", z, context)
        y = (z - self.loc) * (-self.log_scale).exp()
        return _standard_log_density(y) + -self.log_scale.sum()

    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw ``(*sample_shape, features)``."""
        sample_shape = self.draw_shape(sample_shape, context)
        noise = self._noise("normal", (*sample_shape, *self.event_shape), generator)
        return self.loc + noise * self.log_scale.exp()


@named
class NormalMixture(Base):
    """A mixture of full Gaussians: fitted by EM, then trained together with a transform.

    Each component has a mean and the lower triangular factor P of its precision ``Pᵀ P``. Entries
    of P above the diagonal are never read, so ``log|det P|`` is always the sum of the log-diagonal.

    Args:
        features: number of features D.
        components: number of components K; if K > 1, initial means are standard normal draws.

    ``sample`` selects components at random. Samples carry gradients to the means and precisions,
    but not to the weights.

    Raises:
        ArgumentError: ``components`` is less than 1.

    Example:
        >>> x = torch.cat([torch.randn(100, 2) - 4, torch.randn(100, 2) + 4])
        >>> base = NormalMixture.fit(x, components=2, seed=0)
        >>> base.sample((3,)).shape
        torch.Size([3, 2])
    """

    def __init__(self, features: int, components: int) -> None:
        super().__init__(features)
        k = check_count("components", components)
        self.logits = nn.Parameter(torch.zeros(k))
        self.means = nn.Parameter(torch.randn(k, features) if k > 1 else torch.zeros(k, features))
        self.lower = nn.Parameter(torch.zeros(k, features, features))
        self.log_diagonal = nn.Parameter(torch.zeros(k, features))

    @classmethod
    def fit(cls, x: Tensor, components: int, *, seed: int = 0) -> "NormalMixture":
        """Fit to rows ``(n, features)`` by scikit-learn's EM; the result has the dtype of ``x``.

        Raises:
            ShapeError: ``x`` is not a matrix, or has fewer rows than components.
        """
        from sklearn.mixture import GaussianMixture

        if x.dim() != 2 or len(x) < max(2, check_count("components", components)):
            expected = f"at least {max(2, components)} rows of features"
            raise ShapeError("x", expected, f"shape {tuple(x.shape)}")
        check_event("x", x, x.shape[1:])
        em = GaussianMixture(components, random_state=seed)
        em.fit(x.detach().double().cpu().numpy())
        # scikit-learn: precision = U Uᵀ with U upper triangular, so P = Uᵀ.
        factor = torch.tensor(em.precisions_cholesky_).mT
        base = cls(x.shape[1], components).to(x.dtype)
        with torch.no_grad():
            base.logits.copy_(torch.tensor(em.weights_).log())
            base.means.copy_(torch.tensor(em.means_))
            base.lower.copy_(factor.tril(-1))
            base.log_diagonal.copy_(factor.diagonal(dim1=-2, dim2=-1).log())
        return base.to(x.device)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``z``, ``(*batch, features)``, as ``(*batch,)``."""
        self.check_input("z", z, context)
        offset = z.unsqueeze(-2) - self.means  # (*batch, K, D)
        # A product and a sum: autocast would reduce the precision of a matrix product.
        y = (self._factors() * offset.unsqueeze(-2)).sum(-1)
        terms = _standard_log_density(y) + self.log_diagonal.sum(-1)
        return torch.logsumexp(self.logits.log_softmax(-1) + terms, dim=-1)

    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw ``(*sample_shape, features)``."""
        sample_shape = self.draw_shape(sample_shape, context)
        noise = self._noise("normal", (*sample_shape, *self.event_shape), generator)
        rows = noise.reshape(-1, 1, self.event_shape[0])
        chosen = self._choice(self.logits, (len(rows),), generator)
        factors = self._factors()[chosen]
        solved = torch.linalg.solve_triangular(factors, rows.mT, upper=False).squeeze(-1)
        drawn: Tensor = self.means[chosen] + solved
        return drawn.reshape(noise.shape)

    def _factors(self) -> Tensor:
        return self.lower.tril(-1) + torch.diag_embed(self.log_diagonal.exp())


@named
class FullNormal(NormalMixture):
    """A normal with a learned mean and a learned full covariance, initially standard.

    Args:
        features: number of features.

    Example:
        >>> FullNormal(2).sample((3,)).shape
        torch.Size([3, 2])
    """

    def __init__(self, features: int, components: int = 1) -> None:
        super().__init__(features, components)


@named
class ConditionalNormal(Base):
    """Independent normals whose means and scales a network computes from the context.

    Args:
        features: number of features.
        context_features: width of the context.
        hidden: widths of the network's hidden layers; ``()`` for a linear layer. None for no
            network: the context itself consists of the means, then the log-scales.

    With a network, the distribution is initially standard for every context.

    Raises:
        ArgumentError: ``hidden`` is None and ``context_features`` is not ``2 * features``.

    Example:
        >>> base = ConditionalNormal(2, context_features=3)
        >>> base.sample((7,), torch.zeros(5, 3)).shape
        torch.Size([7, 5, 2])
    """

    def __init__(
        self, features: int, *, context_features: int, hidden: Sequence[int] | None = (64, 64)
    ) -> None:
        check_count("context_features", context_features)
        super().__init__(features, context_features=context_features)
        self.net: nn.Module | None = None
        if hidden is None:
            if context_features != 2 * features:
                expected = f"{2 * features} if hidden is None (means, then log-scales)"
                raise ArgumentError("context_features", expected, context_features)
        elif len(hidden):
            self.net = mlp = MLP(context_features, 2 * features, hidden)
            mlp.zero_output_()
        else:
            self.net = linear = Linear(context_features, 2 * features)
            linear.zero_()

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``z``, ``(*batch, features)``, as ``(*batch,)``."""
        check_event("z", z, self.event_shape)
        loc, log_scale = self.parts(context)
        y = (z - loc) * (-log_scale).exp()
        return _standard_log_density(y) - log_scale.sum(-1)

    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw ``(*sample_shape, *context_batch, features)``."""
        sample_shape = check_shape("sample_shape", sample_shape)
        loc, log_scale = self.parts(context)
        noise = self._noise("normal", (*sample_shape, *loc.shape), generator)
        return loc + noise * log_scale.exp()

    def parts(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return means and log-scales, each ``(*context_batch, features)``."""
        check_context(context, self.context_features)
        assert context is not None  # noqa: S101  for the type checker: it was checked
        out: Tensor = context if self.net is None else self.net(context)
        loc, log_scale = out.chunk(2, dim=-1)
        return loc, 7 * torch.tanh(log_scale / 7)  # softly within ±7, as a row may be an outlier
