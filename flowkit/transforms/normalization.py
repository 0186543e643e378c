"""Normalisation layers: invertible batch norm, and act norm."""

import torch
from torch import Tensor, nn

from flowkit._checks import check_count, check_event, check_positive
from flowkit.errors import ArgumentError, DirectionError, ShapeError
from flowkit.transforms.base import Transform
from flowkit.transforms.elementwise import Elementwise
from flowkit.transforms.standardize import mean_and_scale
from flowkit.transforms.univariate import Affine


class BatchNorm(Transform):
    """``z = exp(γ) (x - m) / sqrt(v + ε) + β``, with mean m and variance v of a batch or data set.

    In training mode, m and v are those of the batch, and carry gradients. The variance is biased,
    for which the log-determinant is exact. In ``eval()``, m and v are running averages of batches,
    unless `calibrate` has replaced these by the exact values of a data set.

    Args:
        features: number of features.
        momentum: weight of the newest batch in the running averages.
        eps: ε.

    Both directions are elementwise. ``inverse`` needs ``eval()``: in training mode the map depends
    on the unknown data.

    Raises:
        ShapeError: in training mode, the batch has a single row.
        DirectionError: ``inverse`` is called in training mode.

    Reference: Papamakarios, Pavlakou and Murray, *Masked autoregressive flow for density
    estimation*, 2017, appendix B.

    Example:
        >>> layer = BatchNorm(3)
        >>> z, _ = layer(5 + 2 * torch.randn(100, 3))
        >>> torch.allclose(z.mean(0), torch.zeros(3), atol=1e-4)
        True
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__(check_count("features", features), constant_logabsdet=True)
        self.momentum = check_positive("momentum", momentum)
        if self.momentum > 1:
            raise ArgumentError("momentum", "a number of at most 1", momentum)
        self.eps = check_positive("eps", eps)
        self.log_gamma = nn.Parameter(torch.zeros(features))
        self.beta = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))
        self._calibrating = False

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Normalise ``x``."""
        self.check_input("x", x, None)
        mean, var = self.running_mean, self.running_var
        if self.training or self._calibrating:
            mean, var = self._batch_statistics(x)
            with torch.no_grad():
                for running, new in ((self.running_mean, mean), (self.running_var, var)):
                    if self._calibrating:
                        running.copy_(new)
                    else:
                        running.lerp_(new.detach(), self.momentum)
        log_scale = self.log_gamma - 0.5 * torch.log(var + self.eps)
        z = (x - mean) * log_scale.exp() + self.beta
        return z, self.zero_logabsdet(x) + log_scale.sum()

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo the normalisation, in ``eval()``."""
        self.check_input("z", z, None)
        if self.training or self._calibrating:
            raise DirectionError(
                "BatchNorm has no inverse while training, as the statistics are those of the "
                "unknown data; call eval() first"
            )
        log_scale = self.log_gamma - 0.5 * torch.log(self.running_var + self.eps)
        x = (z - self.beta) * (-log_scale).exp() + self.running_mean
        return x, self.zero_logabsdet(z) - log_scale.sum()

    def _batch_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rows = x.reshape(-1, self.features)
        if len(rows) == 1:
            raise ShapeError("x", "at least two rows in a training batch", tuple(x.shape))
        if len(rows) == 0:
            return self.running_mean, self.running_var
        mean = rows.mean(0)
        return mean, (rows - mean).square().mean(0)


def calibrate(module: nn.Module, x: Tensor, context: Tensor | None = None) -> None:
    """Set every `BatchNorm` in a flow or transform to the exact statistics of a data set.

    One pass of the data: each layer takes the statistics of its input, and normalises with them.
    Afterwards, the mean log-likelihood of the data in ``eval()`` is that in training mode with all
    data as one batch.

    Args:
        module: a flow or a transform.
        x: at least two rows of data, ``(n, *event_shape)``.
        context: ``(n, context_features)`` for a conditional module.

    Raises:
        ShapeError: ``x`` has fewer than two rows.
        DirectionError: a batch norm is inside an `Inverse`.

    Example:
        >>> from flowkit.flows import maf
        >>> flow = maf(2, batch_norm=True).eval()
        >>> calibrate(flow, 3 + torch.randn(100, 2))
    """
    if len(x) < 2:
        raise ShapeError("x", "at least two rows", tuple(x.shape))
    layers = [m for m in module.modules() if isinstance(m, BatchNorm)]
    for layer in layers:
        layer._calibrating = True
    try:
        with torch.no_grad():
            module(x, context)
    finally:
        for layer in layers:
            layer._calibrating = False


class ActNorm(Elementwise):
    """A learned scale and shift per feature, which `initialize` sets from data.

    Args:
        features: number of features.

    Both directions are elementwise. Before `initialize`, the layer is the identity.

    Reference: Kingma and Dhariwal, *Glow*, 2018, section 3.1.

    Example:
        >>> layer = ActNorm(3)
        >>> x = 5 + 2 * torch.randn(100, 3)
        >>> layer.initialize(x)
        >>> torch.allclose(layer(x)[0].std(0, correction=0), torch.ones(3))
        True
    """

    def __init__(self, features: int) -> None:
        super().__init__(features, Affine(bound=None))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set scale and shift so that the image of ``x (*batch, features)`` is standardised.

        A constant column is shifted to zero and not scaled.

        Raises:
            ShapeError: ``x`` has no rows, or other features.
        """
        check_event("x", x, self.event_shape)
        rows = x.reshape(-1, self.features)
        if len(rows) == 0:
            raise ShapeError("x", "at least one row", tuple(x.shape))
        mean, scale = mean_and_scale(rows)
        log_scale = -scale.log()
        self.params.copy_(torch.stack([-mean * log_scale.exp(), log_scale], dim=-1))
