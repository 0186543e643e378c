"""Elementwise transforms: the contract, and univariate maps with learned parameters."""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from flowkit.transforms.base import Transform
from flowkit.transforms.conditioning import check_map, check_univariate
from flowkit.transforms.univariate import Univariate


class ElementwiseTransform(Transform):
    """A transform that maps each feature separately, so that its Jacobian is diagonal.

    A subclass writes `map` and `unmap`, which return one log-derivative per feature. `forward` and
    `inverse` sum the log-derivatives; `map_present` takes rows with missing entries.
    """

    @abstractmethod
    def map(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map data to latent: return ``z`` and ``log dz/dx`` of each feature, shaped as ``x``."""

    @abstractmethod
    def unmap(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map latent to data: return ``x`` and ``log dx/dz`` of each feature, shaped as ``z``."""

    def map_present(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map rows whose missing entries are NaN; these remain NaN, and add 0 to the sum."""
        z, log_derivative = self.map(x)
        return z, torch.where(x.isnan(), 0.0, log_derivative).sum(-1)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map each feature of ``x``."""
        self.check_input("x", x, None)
        z, log_derivative = self.map(x)
        return z, log_derivative.sum(-1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map each feature of ``z`` back."""
        self.check_input("z", z, None)
        x, log_derivative = self.unmap(z)
        return x, log_derivative.sum(-1)


class Elementwise(ElementwiseTransform):
    """Apply a univariate map to each feature, with learned parameters per feature.

    A bias with `Shift`, the learned scale at the end of NICE with `Affine`, and a marginal spline
    with `RationalQuadraticSpline`. Initially the identity.

    Args:
        features: number of features.
        univariate: the map.

    Both directions cost one evaluation of the map.

    Raises:
        ArgumentError: ``features`` is not a positive integer, or ``univariate`` not such a map.

    Example:
        >>> from flowkit.transforms import Affine
        >>> layer = Elementwise(3, Affine())
        >>> z, logabsdet = layer(torch.randn(5, 3))
        >>> z.shape, logabsdet.shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    def __init__(self, features: int, univariate: Univariate) -> None:
        check_map(univariate)
        super().__init__(features, constant_logabsdet=univariate.constant_derivative)
        check_univariate(univariate, features)
        self.univariate = univariate
        self.params = nn.Parameter(torch.zeros(features, univariate.parameters))

    def map(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map each feature of ``x`` by the univariate map."""
        return self.univariate(x, self.params)

    def unmap(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map each feature of ``z`` back."""
        return self.univariate.inverse(z, self.params)

    @property
    def law(self) -> str | None:
        """The law of the univariate map."""
        return self.univariate.law

    def log_density(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Sum the log-densities of the features."""
        self.check_input("x", x, None)
        return self.univariate.log_density(x, self.params).sum(-1)
