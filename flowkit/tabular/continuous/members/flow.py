"""Flow member: each column a mixture with parameters computed from the preceding columns."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flowkit.distributions import Flow, StandardNormal
from flowkit.nets import MADE
from flowkit.nets.incremental import parameters_sweep
from flowkit.tabular.continuous.members.base import FlowBasedMember
from flowkit.transforms import Chain, GaussianMixture, MaskedAutoregressive
from flowkit.transforms.conditioning import INPUT_LIMIT, condition

_LOG_2PI = math.log(2 * math.pi)
# Softly, the narrowest and widest component, as log-scale of a standardised column.
_BOUND = 7.0
# Wrapped thrice around the circle, a normal no wider than this has all its mass, to 1e-9.
_WIDEST_ANGLE = 1.0


class FlowMember(FlowBasedMember):
    """A masked autoregressive mixture flow (MADE-MoG) for rows with absent entries and angles.

    ``p(y) = prod_j sum_k w_jk N(y_j; m_jk, s_jk)``. A MADE computes ``w, m, s`` from the columns
    before j. As a transform it is `MaskedAutoregressive` with `GaussianMixture`; the log-density
    is computed here directly, without distribution functions.

    The network receives 0 for an absent entry (angle 0 for an absent angle), and a flag. An absent
    entry has no factor, so the density of the present ones is exact. An angle enters the network
    as cosine and sine. Its components are wrapped normals, the first one uniform: the density is
    continuous around the circle.

    Args:
        features: number of columns d.
        order: the order of the columns in the product.
        hidden: widths of the network.
        components: of each conditional.
        context_features: width of the context, 0 for none.
        flags: whether the network receives which entries are absent.
        circular: which columns are angles, ``(d,)``.
        residual: whether the network has residual blocks, one for each of ``hidden``.

    Reference: Papamakarios, Pavlakou and Murray, *Masked autoregressive flow*, 2017, section 4.
    """

    kind = "flow"

    def __init__(
        self,
        features: int,
        order: Sequence[int],
        hidden: Sequence[int],
        components: int,
        context_features: int,
        flags: bool,
        circular: list[bool],
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.features, self.order, self.hidden = features, list(order), list(hidden)
        self.components, self.context_features = components, context_features
        self.flags, self.circular, self.residual = flags, list(circular), residual
        angles = [j for j in range(features) if circular[j]]
        self._sines = {j: features + i for i, j in enumerate(angles)}
        # The sine comes right after its cosine: a later column sees both or none.
        inputs = [i for j in order for i in ((j, self._sines[j]) if circular[j] else (j,))]
        univariate = GaussianMixture(components, bound=_BOUND)
        made = MADE(
            features + len(angles),
            univariate.parameters,
            hidden,
            context_features=context_features + features * flags,
            order=inputs,
            residual=residual,
        )
        self.layer = MaskedAutoregressive(made, univariate)

    def config(self) -> dict[str, object]:
        """Return the arguments of the constructor."""
        return {
            "features": self.features,
            "order": self.order,
            "hidden": self.hidden,
            "components": self.components,
            "context_features": self.context_features,
            "flags": self.flags,
            "circular": self.circular,
            "residual": self.residual,
        }

    @property
    def flow(self) -> Flow | None:
        """The member as a `Flow`, sharing its tensors; None with circular columns.

        The flow's context is the member's, followed by the flags of absent entries.
        """
        if any(self.circular):
            return None
        return Flow(Chain(self.layer), StandardNormal(self.features).to(self._dtype()))

    def start(self, y: np.ndarray, seed: int) -> None:
        """Initialise: the network at random, the conditionals at the columns' own quantiles."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.layer.made.parameters():
                if parameter.dim() == 2:
                    bound = 1 / math.sqrt(parameter.shape[1])
                    parameter.uniform_(-bound, bound, generator=generator)
            self.layer.made.zero_output_()
            k = self.components
            places = torch.linspace(-1, 1, k) if k > 1 else torch.zeros(1)
            start = torch.zeros(self.layer.features, 3, k)
            for j in range(self.features):
                column = y[~np.isnan(y[:, j]), j]
                if self.circular[j]:
                    start[j, 1] = torch.linspace(-math.pi, math.pi, k + 1)[:-1] - places
                    start[j, 2] = -0.3
                elif len(column):
                    q = np.quantile(column, (np.arange(k) + 0.5) / k)
                    start[j, 1] = torch.tensor(q).float() - places
                    start[j, 2] = math.log(1.5 / k**0.5) if k > 1 else 0.0
            self._output_bias().copy_(start.reshape(-1))

    def _output_bias(self) -> Tensor:
        return [p for p in self.layer.made.net.parameters() if p.dim() == 1][-1]

    def forward(self, x: Tensor, present: Tensor, context: Tensor | None) -> Tensor:
        """Return the log-density ``(n,)`` of entries ``x (n, d)``, zero where not ``present``."""
        network_context = self.network_context(present, context, x.dtype)
        params = condition(self.layer.made, self.inputs(x), network_context)
        log_density = self.column_log_density(x, params[..., : self.features, :])
        return torch.where(present, log_density, 0.0).sum(-1)

    def log_prob(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of the present entries of each row, ``(n,)``."""
        present = ~y.isnan()
        log_prob: Tensor = self(y.nan_to_num(0.0), present, context)
        return log_prob

    def sample(self, present: Tensor, context: Tensor | None, generator: torch.Generator) -> Tensor:
        """Draw rows ``(n, d)``, NaN where not ``present``; each unit is evaluated once."""
        n, dtype = len(present), self._dtype()
        made = self.layer.made
        device = present.device
        # In the order of the MADE.
        seen = torch.zeros(made.features, n, dtype=dtype, device=device)
        y = torch.zeros(n, self.features, dtype=dtype, device=device)
        sweep = parameters_sweep(made, seen, self.network_context(present, context, dtype))
        for k, feature in enumerate(made.order):
            params = sweep.advance(k)  # (P, n)
            if feature >= self.features:  # the sine of the angle before
                continue
            value = self._draw(feature, params, generator)
            y[:, feature] = value = torch.where(present[:, feature], value, 0.0)
            if self.circular[feature]:
                seen[k], seen[k + 1] = value.cos(), value.sin()
            else:
                seen[k] = value.clamp(-INPUT_LIMIT, INPUT_LIMIT)
        return y.masked_fill(~present, torch.nan)

    def _draw(self, feature: int, params: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a column ``(n,)`` from its conditionals' parameters ``(P, n)``."""
        n, dtype, k = params.shape[-1], params.dtype, self.components
        device = params.device
        logits, means, raw = params.unflatten(0, (3, k)).unbind(0)
        weights = (logits - logits.amax(0)).double().exp().cumsum(0)
        u = torch.rand(n, dtype=torch.float64, device=device, generator=generator)
        chosen = (u * weights[-1] > weights).sum(0, keepdim=True).clamp(max=k - 1)
        mean, raw = means.gather(0, chosen)[0], raw.gather(0, chosen)[0]
        if k > 1:
            mean = mean + torch.linspace(-1, 1, k, dtype=dtype, device=device)[chosen[0]]
        log_scale = _BOUND * torch.tanh(raw / _BOUND)
        noise = torch.randn(n, dtype=dtype, device=device, generator=generator)
        if not self.circular[feature]:
            value: Tensor = mean + log_scale.exp() * noise
            return value
        value = mean + log_scale.clamp(max=math.log(_WIDEST_ANGLE)).exp() * noise
        uniform = torch.rand(n, dtype=dtype, device=device, generator=generator)
        uniform = (2 * uniform - 1) * math.pi
        value = torch.where(chosen[0] == 0, uniform, value)
        return torch.remainder(value + math.pi, 2 * math.pi) - math.pi

    def network_context(
        self, present: Tensor, context: Tensor | None, dtype: torch.dtype
    ) -> Tensor | None:
        """Return context and flags of absent entries, ``(n, c)``; None without either."""
        parts = [] if context is None or not self.context_features else [context.to(dtype)]
        if self.flags:
            parts.append((~present).to(dtype))
        return torch.cat(parts, -1) if parts else None

    def inputs(self, x: Tensor) -> Tensor:
        """Return the inputs of the network: columns, an angle as its cosine, then the sines."""
        if not self._sines:
            return x
        angles = list(self._sines)
        circular = torch.tensor(self.circular, device=x.device)
        return torch.cat([torch.where(circular, x.cos(), x), x[..., angles].sin()], -1)

    def _components(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        univariate: GaussianMixture = self.layer.univariate  # type: ignore[assignment]
        return univariate._components(params)

    def column_log_density(self, x: Tensor, params: Tensor) -> Tensor:
        """Return the log-density of each entry, ``(n, d)``."""
        log_weights, means, log_scales = self._components(params)
        u = (x.unsqueeze(-1) - means) * (-log_scales).exp()
        log_density = (log_weights - log_scales - 0.5 * (u * u + _LOG_2PI)).logsumexp(-1)
        if not self._sines:
            return log_density
        log_scales = log_scales.clamp(max=math.log(_WIDEST_ANGLE))
        offset = torch.remainder(x.unsqueeze(-1) - means + math.pi, 2 * math.pi) - math.pi
        turns = torch.tensor([-1.0, 0.0, 1.0], dtype=x.dtype, device=x.device) * (2 * math.pi)
        u = (offset.unsqueeze(-1) + turns) * (-log_scales).exp().unsqueeze(-1)
        wrapped = (-0.5 * (u * u + _LOG_2PI)).logsumexp(-1) - log_scales
        first = torch.arange(self.components, device=x.device) == 0
        wrapped = torch.where(first, -_LOG_2PI, wrapped)
        around = (log_weights + wrapped).logsumexp(-1)
        return torch.where(torch.tensor(self.circular, device=x.device), around, log_density)

    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype
