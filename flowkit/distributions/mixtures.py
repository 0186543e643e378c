"""Mixture of distributions with learned weights."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowkit._checks import kind_of
from flowkit.distributions.base import Distribution, check_distribution_type, sample_part
from flowkit.distributions.joint import context_width, parts_of
from flowkit.distributions.registry import named
from flowkit.distributions.standard import Base
from flowkit.errors import ArgumentError, ShapeError


@named
class MixtureOfFlows(Base):
    """A mixture of flows (or bases) over the same events, with learned weights.

    Args:
        flows: at least one flow or base.

    ``sample`` draws from every flow and selects one draw, without gradients to the weights.

    Raises:
        ArgumentError: ``flows`` is empty, contains another type, or context widths differ.
        ShapeError: event shapes differ.

    Example:
        >>> from flowkit.flows import maf
        >>> mixture = MixtureOfFlows([maf(2), maf(2)])
        >>> mixture.log_prob(torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    def __init__(self, flows: Sequence[Distribution]) -> None:
        if not isinstance(flows, Sequence | nn.ModuleList):
            raise ArgumentError("flows", "a list of flows or bases", kind_of(flows))
        for i, flow in enumerate(flows):
            check_distribution_type(f"flows[{i}]", flow)
        if len(flows) == 0:
            raise ArgumentError("flows", "at least one flow", "none")
        shapes = {tuple(flow.event_shape) for flow in flows}
        if len(shapes) > 1:
            raise ShapeError("flows", "equal event shapes", sorted(shapes))
        super().__init__(shapes.pop(), context_features=context_width(flows, "flows"))
        self.flows = nn.ModuleList(flows)
        self.logits = nn.Parameter(torch.zeros(len(flows)))

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``z``, ``(*batch, *event_shape)``, as ``(*batch,)``."""
        self.check_input("z", z, context)
        terms = [
            f.log_prob(z, context if f.context_features else None) for f in parts_of(self.flows)
        ]
        stacked = torch.stack(torch.broadcast_tensors(*terms), dim=-1)
        # Outside the support of every flow, logsumexp has no gradient.
        nowhere = (stacked == -torch.inf).all(-1)
        stacked = torch.where(nowhere.unsqueeze(-1), 0.0, stacked)
        log_prob = torch.logsumexp(self.logits.log_softmax(-1) + stacked, dim=-1)
        return torch.where(nowhere, -torch.inf, log_prob)

    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw ``(*sample_shape, *context_batch, *event_shape)``."""
        drawn = self.draw_shape(sample_shape, context)
        parts = parts_of(self.flows)
        draws = [sample_part(flow, sample_shape, context, generator) for flow in parts]
        chosen = self._choice(self.logits, drawn, generator)
        shape = (*chosen.shape, *[1] * len(self.event_shape))
        result: Tensor = draws[0]
        for i, draw in enumerate(draws[1:], start=1):
            result = torch.where((chosen == i).reshape(shape), draw, result)
        return result
