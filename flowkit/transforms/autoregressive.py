"""Masked autoregressive layers: each feature moves as the features before it say."""

import torch
from torch import Tensor

from flowkit.errors import ArgumentError
from flowkit.nets import MADE
from flowkit.transforms.base import Transform
from flowkit.transforms.conditioning import check_univariate, condition, zero_output_
from flowkit.transforms.univariate import Univariate


class MaskedAutoregressive(Transform):
    """Transform every feature, with parameters that a MADE computes from the features before it.

    With `Affine` it is the layer of MAF, and of IAF under `Inverse`; with
    `RationalQuadraticSpline` that of autoregressive neural spline flows.

    Args:
        made: the conditioner. Its output layer is set to zero, so that the layer starts as the
            identity.
        univariate: the map; ``made`` must have ``univariate.parameters`` outputs per feature.

    ``forward`` (data -> latent) costs one pass of the MADE, ``inverse`` as many as features.

    Raises:
        ArgumentError: the MADE has another number of outputs per feature.

    Reference: Papamakarios, Pavlakou and Murray, *Masked autoregressive flow for density
    estimation*, 2017, equations 2 to 5.

    Example:
        >>> from flowkit.nets import MADE
        >>> from flowkit.transforms import Affine
        >>> layer = MaskedAutoregressive(MADE(6, parameters=2, hidden=(64, 64)), Affine())
        >>> z, logabsdet = layer(torch.randn(5, 6))
        >>> x, _ = layer.inverse(z)
    """

    def __init__(self, made: MADE, univariate: Univariate) -> None:
        if made.outputs_per_feature != univariate.parameters:
            raise ArgumentError(
                "made",
                f"a MADE with parameters={univariate.parameters}, as the univariate map needs",
                f"parameters={made.outputs_per_feature}",
            )
        super().__init__(
            made.features,
            context_features=made.context_features,
            constant_logabsdet=univariate.constant_derivative,
        )
        check_univariate(univariate, made.features)
        self.made = made
        self.univariate = univariate
        zero_output_(made)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map ``x`` to latent in one pass."""
        self.check_input("x", x, context)
        z, log_derivative = self.univariate(x, condition(self.made, x, context))
        return z, log_derivative.sum(-1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map ``z`` to data, one feature a pass, in the MADE's order."""
        self.check_input("z", z, context)
        features = torch.arange(self.features, device=z.device)
        x = torch.zeros_like(z)
        for i in self.made.order:
            params = condition(self.made, x, context)
            solved, log_derivative = self.univariate.inverse(z, params)
            # Only feature i is right as yet, and what is wrong must not reach the next pass.
            x = torch.where(features == i, solved, x)
        # The parameters of the last pass are right for every feature.
        return x, log_derivative.sum(-1)
