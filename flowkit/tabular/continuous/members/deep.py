"""Deep flow member: affine autoregressive layers over a mixture flow."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flowkit.distributions import Flow
from flowkit.flows import maf
from flowkit.tabular.continuous.members.base import FlowBasedMember
from flowkit.tabular.continuous.members.flow import FlowMember
from flowkit.transforms import Chain


class DeepMember(FlowBasedMember):
    """A MAF whose base is a `FlowMember`; no column may be absent or an angle.

    Args:
        features: number of columns d.
        order: the order of the columns in the base.
        layers: number of affine layers before it.
        hidden: widths of the networks.
        components: of the base's mixtures.
        context_features: width of the context, 0 for none.
        residual: whether the networks have residual blocks, one for each of ``hidden``.

    Reference: Papamakarios, Pavlakou and Murray, *Masked autoregressive flow*, 2017, section 4.
    """

    kind = "deep flow"

    def __init__(
        self,
        features: int,
        order: Sequence[int],
        layers: int,
        hidden: Sequence[int],
        components: int,
        context_features: int,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.features, self.layers, self.context_features = features, layers, context_features
        self.circular = [False] * features
        self.transform = maf(
            features,
            layers=layers,
            hidden=list(hidden),
            context_features=context_features,
            residual=residual,
        ).transform
        self.base = FlowMember(
            features, order, hidden, components, context_features, False, self.circular, residual
        )

    def config(self) -> dict[str, object]:
        """Return the arguments of the constructor."""
        return {
            "features": self.features,
            "order": self.base.order,
            "layers": self.layers,
            "hidden": self.base.hidden,
            "components": self.base.components,
            "context_features": self.context_features,
            "residual": self.base.residual,
        }

    @property
    def flow(self) -> Flow | None:
        """The member as a `Flow`, sharing its tensors."""
        last = self.base.flow
        return None if last is None else Flow(Chain(self.transform, last.transform), last.base)

    def start(self, y: np.ndarray, seed: int) -> None:
        """Initialise: the networks at random, the layers as the identity, the base as its own."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.transform.parameters():
                if parameter.dim() == 2 and parameter.any():  # the last of a network are zero
                    bound = 1 / parameter.shape[1] ** 0.5
                    parameter.uniform_(-bound, bound, generator=generator)
        self.base.start(y, seed)

    def forward(self, x: Tensor, present: Tensor, context: Tensor | None) -> Tensor:
        """Return the log-density ``(n,)`` of rows ``x (n, d)``; all entries must be present."""
        z, logabsdet = self.transform(x, context if self.context_features else None)
        log_prob: Tensor = self.base(z, present, context) + logabsdet
        return log_prob

    def log_prob(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of each row, ``(n,)``; NaN for rows with an absent entry."""
        log_prob: Tensor = self(y, torch.ones_like(y, dtype=torch.bool), context)
        return log_prob

    def network_context(
        self, present: Tensor, context: Tensor | None, dtype: torch.dtype
    ) -> Tensor | None:
        """Return the context of the networks, ``(n, c)``, or None."""
        return self.base.network_context(present, context, dtype)

    def sample(self, present: Tensor, context: Tensor | None, generator: torch.Generator) -> Tensor:
        """Draw rows ``(n, d)``, NaN where not ``present``."""
        z = self.base.sample(torch.ones_like(present), context, generator)
        c = context.to(z.dtype) if context is not None and self.context_features else None
        y: Tensor = self.transform.inverse(z, c)[0]
        drawn: Tensor = y.masked_fill(~present, torch.nan)
        return drawn
