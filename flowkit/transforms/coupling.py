"""Coupling layers: some features are unchanged, and determine the parameters of the others."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowkit._checks import check_called, kind_of
from flowkit.errors import ArgumentError, ShapeError
from flowkit.transforms.base import Transform
from flowkit.transforms.conditioning import check_map, check_univariate, condition, zero_output_
from flowkit.transforms.univariate import Univariate


class Coupling(Transform):
    """Transform the features under the mask, with parameters computed from the other features.

    The layer of NICE with `Shift`, of Real NVP with `Affine`, and of neural spline flows with
    `RationalQuadraticSpline`.

    Args:
        mask: one boolean per feature, True for transformed features; at least one True and False.
        conditioner: a module that maps the other features, ``(*batch, passed)``, and the context
            to ``(*batch, transformed * parameters)``. For a net of `flowkit.nets` the output layer
            is set to zero, so that the layer is initially the identity.
        univariate: the map. Options per feature refer to the transformed features in order.

    Both directions cost one pass of the conditioner.

    Raises:
        ArgumentError: the mask is all True or all False, the conditioner does not take
            ``(x, context)``, or ``univariate`` is not a univariate map.
        ShapeError: the conditioner returns a wrong number of parameters.

    References: Dinh, Krueger and Bengio, *NICE*, 2014; Dinh, Sohl-Dickstein and Bengio, *Density
    estimation using Real NVP*, 2016, equations 7 and 8.

    Example:
        >>> from flowkit.nets import MLP
        >>> from flowkit.transforms import Affine
        >>> layer = Coupling([True, False, True], MLP(1, 2 * 2), Affine())
        >>> z, logabsdet = layer(torch.randn(5, 3))
    """

    transformed: Tensor
    passed: Tensor
    unsplit: Tensor

    def __init__(
        self, mask: Sequence[bool] | Tensor, conditioner: nn.Module, univariate: Univariate
    ) -> None:
        if not isinstance(mask, Sequence | Tensor) or isinstance(mask, str):
            raise ArgumentError("mask", "a sequence of booleans, one per feature", kind_of(mask))
        check_called("conditioner", conditioner, "f(x, context)", 2)
        check_map(univariate)
        flags = [bool(m) for m in mask]
        if all(flags) or not any(flags):
            raise ArgumentError("mask", "at least one True and one False", flags)
        super().__init__(
            len(flags),
            context_features=getattr(conditioner, "context_features", 0),
            constant_logabsdet=univariate.constant_derivative,
        )
        self.conditioner = conditioner
        self.univariate = univariate
        transformed = [i for i, flag in enumerate(flags) if flag]
        passed = [i for i, flag in enumerate(flags) if not flag]
        check_univariate(univariate, len(transformed))
        self.register_buffer("transformed", torch.tensor(transformed), persistent=False)
        self.register_buffer("passed", torch.tensor(passed), persistent=False)
        # Position of each feature in the concatenation of the two groups.
        unsplit = torch.tensor([*transformed, *passed]).argsort()
        self.register_buffer("unsplit", unsplit, persistent=False)
        zero_output_(conditioner)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map the features under the mask to latent."""
        self.check_input("x", x, context)
        passed = x.index_select(-1, self.passed)
        params = self._params(passed, context)
        z, log_derivative = self.univariate(x.index_select(-1, self.transformed), params)
        return self._join(z, passed), log_derivative.sum(-1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map the features under the mask to data."""
        self.check_input("z", z, context)
        passed = z.index_select(-1, self.passed)
        params = self._params(passed, context)
        x, log_derivative = self.univariate.inverse(z.index_select(-1, self.transformed), params)
        return self._join(x, passed), log_derivative.sum(-1)

    def _params(self, passed: Tensor, context: Tensor | None) -> Tensor:
        params = condition(self.conditioner, passed, context)
        shape = (len(self.transformed), self.univariate.parameters)
        if params.shape[-1] != shape[0] * shape[1]:
            raise ShapeError(
                "conditioner",
                f"{shape[0]} features times {shape[1]} parameters as its last dimension",
                f"shape {tuple(params.shape)}",
            )
        return torch.unflatten(params, -1, shape)  # (*batch, transformed, parameters)

    def _join(self, transformed: Tensor, passed: Tensor) -> Tensor:
        passed = passed.expand(*transformed.shape[:-1], -1)  # context may add batch dimensions
        return torch.cat([transformed, passed], dim=-1).index_select(-1, self.unsplit)
