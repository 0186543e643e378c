"""A flow as a `torch.distributions.Distribution`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

if TYPE_CHECKING:
    from flowkit.flows.flow import Flow


class FlowDistribution(Distribution):
    """A flow at a fixed context, in the clothes of torch's distributions.

    Made by `Flow.as_distribution`. ``rsample`` is reparameterised; ``sample`` detaches.

    Args:
        flow: the flow.
        context: the embedded context, ``(*batch_shape, context_features)``, or None.
        batch_shape: batch shape of a flow without context.
        validate_args: as in torch.

    Example:
        >>> from flowkit.flows import maf
        >>> d = maf(features=2, context_features=3).as_distribution(torch.zeros(5, 3))
        >>> d.batch_shape, d.event_shape, d.sample((7,)).shape
        (torch.Size([5]), torch.Size([2]), torch.Size([7, 5, 2]))
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    has_rsample = True

    def __init__(
        self,
        flow: Flow,
        context: Tensor | None = None,
        batch_shape: Sequence[int] = (),
        validate_args: bool | None = None,
    ) -> None:
        self.flow = flow
        self.context = context
        shape = torch.Size(batch_shape) if context is None else context.shape[:-1]
        super().__init__(shape, flow.event_shape, validate_args=validate_args)

    @property
    def support(self) -> Any:
        """All of the event space."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> FlowDistribution:
        """Return the distribution with its batch expanded to ``batch_shape``."""
        shape = torch.Size(batch_shape)
        context = None if self.context is None else self.context.expand(*shape, -1)
        return FlowDistribution(self.flow, context, shape, validate_args=self._validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw ``(*sample_shape, *batch_shape, *event_shape)`` with gradients."""
        shape = (*sample_shape, *self.batch_shape) if self.context is None else sample_shape
        return self.flow._sample(shape, self.context, None)[0]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value``, which broadcasts with the batch shape."""
        if self._validate_args:
            self._validate_sample(value)
        log_prob = self.flow._log_prob(value, self.context)
        shape = torch.broadcast_shapes(log_prob.shape, self.batch_shape)
        return log_prob.expand(shape)
