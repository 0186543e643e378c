"""Masked autoregressive layers.

Each feature is transformed with parameters computed from the preceding features.
"""

import torch
from torch import Tensor

from flowkit._checks import check_called, kind_of
from flowkit._training_mode import needs_plain_torch
from flowkit.errors import ArgumentError
from flowkit.nets import MADE
from flowkit.transforms.autoregressive_inverse import by_passes, solve
from flowkit.transforms.base import Transform
from flowkit.transforms.conditioning import check_map, check_univariate, condition, zero_output_
from flowkit.transforms.univariate import Univariate

_ATTRIBUTES = ("features", "outputs_per_feature", "context_features")


class MaskedAutoregressive(Transform):
    """Transform every feature, with parameters that a MADE computes from the features before it.

    With `Affine` it is the layer of MAF, and of IAF under `Inverse`; with
    `RationalQuadraticSpline` that of autoregressive neural spline flows.

    Args:
        made: the conditioner, a `MADE`. Its output layer is set to zero, so that the layer starts
            as the identity.
        univariate: the map; ``made`` must have ``univariate.parameters`` outputs per feature.

    ``forward`` (data -> latent) costs one pass of the MADE, and ``inverse`` about one and a half:
    each of its hidden units is evaluated once, as soon as the features that it sees are known.
    ``inverse`` is differentiable, by the implicit function theorem. Under ``torch.compile`` and
    ``torch.func`` it makes as many passes as features.

    A conditioner that is no `MADE`, but has its attributes ``features``, ``outputs_per_feature``
    and ``context_features`` and is autoregressive in some order, is inverted by sweeps of the
    whole network until the result is constant. The attribute ``sweeps`` is the number of sweeps
    of the last inverse, at most one per feature.

    Raises:
        ArgumentError: no MADE, or one with another number of outputs per feature; no univariate
            map.

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
        if not all(hasattr(made, name) for name in _ATTRIBUTES):
            expected = f"a MADE, or a module with its {', '.join(_ATTRIBUTES)}"
            raise ArgumentError("made", expected, kind_of(made))
        check_called("made", made, "f(x, context)", 2)
        check_map(univariate)
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
        self._sweeps: int | None = None
        zero_output_(made)

    @property
    def sweeps(self) -> int | None:
        """Number of sweeps of the last inverse; None if it took none, as with a `MADE`."""
        return self._sweeps

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map ``x`` to latent in one pass."""
        self.check_input("x", x, context)
        z, log_derivative = self.univariate(x, condition(self.made, x, context))
        return z, log_derivative.sum(-1)

    @property
    def law(self) -> str | None:
        """That of the univariate map."""
        return self.univariate.law

    def log_density(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Evaluate the conditionals' own densities in one pass."""
        self.check_input("x", x, context)
        return self.univariate.log_density(x, condition(self.made, x, context)).sum(-1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map ``z`` to data, at the price of about one pass."""
        self.check_input("z", z, context)
        if needs_plain_torch():
            return by_passes(self.made, self.univariate, z, context)
        batch = z.shape[:-1]
        if context is not None:
            batch = torch.broadcast_shapes(batch, context.shape[:-1])
            context = context.expand(*batch, -1).reshape(-1, self.context_features)
        flat_z = z.expand(*batch, -1).reshape(-1, self.features)
        with torch.autocast(z.device.type, enabled=False):
            x, logabsdet, self._sweeps = solve(self.made, self.univariate, flat_z, context)
        return x.view(*batch, self.features), logabsdet.view(batch)
