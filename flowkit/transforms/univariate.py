"""Univariate maps: families of increasing scalar functions with a vector of parameters.

A univariate map has no weights. A layer (`Elementwise`, `Coupling`, `MaskedAutoregressive`)
supplies the parameters, which are learned, or computed by a network.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from flowkit._checks import check_positive


class Univariate(ABC):
    """An increasing map of each feature, with ``parameters`` numbers per feature.

    ``x`` is ``(*batch, features)`` and ``params`` is ``(*batch, features, parameters)``, or they
    broadcast; both results are ``(*batch, features)``. Zero parameters give the identity, so a
    layer with zero initial parameters is initially the identity. Mixtures are an exception.
    """

    parameters: int
    """Number of parameters per feature."""

    @property
    def features(self) -> int | None:
        """Number of features that the options are for; None for any number."""
        return None

    constant_derivative: ClassVar[bool] = False
    """Whether the derivative is the same for every ``x``, for every context."""

    law: ClassVar[str | None] = None
    """The law that `log_density` assumes, "normal" or "logistic"; None without `log_density`."""

    @abstractmethod
    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``y = f(x)`` and ``log f'(x)``, both per feature."""

    @abstractmethod
    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``x = f⁻¹(y)`` and the logarithm of the inverse's derivative, ``-log f'(x)``."""

    def log_density(self, x: Tensor, params: Tensor) -> Tensor:
        """Return the log-density of ``x``, per feature, if ``f(x)`` follows `law`.

        The result equals the log-density of ``f(x)`` plus ``log f'(x)``, at a lower cost.
        """
        raise NotImplementedError

    def step(self, y: Tensor, params: Tensor) -> tuple[Tensor, ...]:
        """Return ``x = f⁻¹(y)`` of a single feature, and what `step_log_derivative` takes.

        One step of an autoregressive inverse, without gradients. Parameters come first: ``y`` is
        ``(batch,)``, ``params`` is ``(parameters, batch)``, and all results are ``(batch,)``.
        """
        x, log_derivative = self.inverse(y.unsqueeze(-1), params.t().unsqueeze(-2))
        return x.squeeze(-1), log_derivative.squeeze(-1)

    def step_log_derivative(self, *results: Tensor) -> Tensor:
        """Return ``-log f'(x)`` from the results of `step` but x, those of all features at once."""
        (log_derivative,) = results
        return log_derivative

    def select(self, features: Sequence[int]) -> "Univariate":
        """Return the map with the options of some of the features."""
        del features
        return self

    def __call__(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """`forward`."""
        return self.forward(x, params)


@dataclass(frozen=True)
class Shift(Univariate):
    """``y = x + t``, which preserves volume: with `Coupling`, the additive coupling of NICE.

    Example:
        >>> y, log_derivative = Shift()(torch.zeros(2, 1), torch.full((2, 1, 1), 3.0))
        >>> y.flatten()
        tensor([3., 3.])
    """

    parameters = 1
    constant_derivative = True

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Add the shift."""
        y = x + params[..., 0]
        return y, torch.zeros_like(y)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Subtract the shift."""
        x = y - params[..., 0]
        return x, torch.zeros_like(x)


@dataclass(frozen=True)
class Affine(Univariate):
    """``y = x exp(s) + t`` with parameters ``(t, s)``, the map of MAF, IAF and Real NVP.

    Args:
        bound: the log-scale is ``bound tanh(s / bound)``, softly within ``± bound``, as a large
            log-scale overflows for outliers. None for no bound.

    Raises:
        ArgumentError: ``bound`` is not positive.

    Example:
        >>> y, log_derivative = Affine()(torch.ones(1), torch.tensor([[2.0, 0.0]]))
        >>> y, log_derivative
        (tensor([3.]), tensor([0.]))
    """

    bound: float | None = 5.0
    parameters = 2

    def __post_init__(self) -> None:
        if self.bound is not None:
            check_positive("bound", self.bound)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Scale, then shift."""
        shift, raw = params.unbind(-1)
        log_scale = self._log_scale(raw)
        # Fused if supported: without rounding of the product, which may be much larger than y.
        y = torch.addcmul(shift, x, log_scale.exp())
        return y, log_scale.expand_as(y)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Shift back, then scale back."""
        shift, raw = params.unbind(-1)
        log_scale = self._log_scale(raw)
        scale = log_scale.exp()
        x = (y - shift) / scale
        # A Newton step removes the rounding error of y - shift for large shifts. The difference of
        # two infinities is NaN, and then there is no step.
        x = x - ((torch.addcmul(shift, x, scale) - y) / scale).nan_to_num(0.0)
        return x, -log_scale.expand_as(x)

    def solve(self, y: Tensor, params: Tensor) -> Tensor:
        """Return ``x = f⁻¹(y)`` without the Newton step and the derivative of `inverse`.

        For a single feature, with parameters first: ``y (batch,)``, ``params (2, batch)``.
        """
        shift, raw = params.unbind()
        return (y - shift) / self._log_scale(raw).exp()

    def _log_scale(self, raw: Tensor) -> Tensor:
        if self.bound is None:
            return raw
        return self.bound * torch.tanh(raw / self.bound)


@dataclass(frozen=True)
class Gate(Univariate):
    """``y = g x + (1 - g) m`` with ``g = sigmoid(s + bias)`` and parameters ``(m, s)``.

    The update of the IAF paper: y is a weighted mean of x and m, and so stays bounded in deep
    stacks. Zero parameters give a scale of ``sigmoid(bias)``, not the identity.

    Args:
        bias: bias of the gate; if positive, the gate is initially open. The paper uses 1 to 2.

    Reference: Kingma et al., *Improved variational inference with inverse autoregressive flow*,
    2016, equations 10 to 14.

    Example:
        >>> y, log_derivative = Gate(bias=0.0)(torch.ones(1), torch.tensor([[3.0, 0.0]]))
        >>> y, log_derivative
        (tensor([2.]), tensor([-0.6931]))
    """

    bias: float = 2.0
    parameters = 2

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Move x towards m."""
        mean, gate = params.unbind(-1)
        gate = gate + self.bias
        y = torch.sigmoid(gate) * x + torch.sigmoid(-gate) * mean
        return y, F.logsigmoid(gate).expand_as(y)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Move y away from m."""
        mean, gate = params.unbind(-1)
        gate = gate + self.bias
        x = mean + (y - mean) * (1 + (-gate).exp())
        return x, -F.logsigmoid(gate).expand_as(x)
