"""Compositions: independent groups of columns, and mixtures."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from flowkit._checks import check_mapping, common_context, kind_of
from flowkit.distributions.base import Distribution, check_distribution_type, sample_part
from flowkit.distributions.registry import named
from flowkit.distributions.standard import Base
from flowkit.errors import ArgumentError, ContextError, ShapeError
from flowkit.transforms.columns import Key, read_columns


def _parts(modules: nn.ModuleList) -> list[Distribution]:
    return cast(list[Distribution], [*modules])


def _context_width(parts: Sequence[Distribution], argument: str) -> int:
    if any(getattr(part, "embedding", None) is not None for part in parts):
        raise ContextError(
            argument, "expected flows without an embedding; give the embedding to the outer Flow"
        )
    return common_context(argument, (part.context_features for part in parts))


class JointBase(Base):
    """Independent groups of columns, each with a separate base.

    For example, a circular column needs a uniform base, while other columns have normal bases.

    Args:
        bases: ``{column: base}`` or ``{(column, ...): base}``; every column once.

    Raises:
        ArgumentError: ``bases`` is not a mapping to distributions, a column is named twice or
            missing, or context widths differ.
        ShapeError: the features of a base are not as many as its columns.

    Example:
        >>> from flowkit.flows import BoxUniform, StandardNormal
        >>> base = JointBase({(0, 2): StandardNormal(2), 1: BoxUniform(-3.0, 3.0)})
        >>> base.sample((5,)).shape
        torch.Size([5, 3])
    """

    def __init__(self, bases: Mapping[Key, Distribution]) -> None:
        check_mapping("bases", bases, "StandardNormal(1)")
        for key, base in bases.items():
            check_distribution_type(f"bases[{key!r}]", base)
            if len(base.event_shape) != 1:
                got = f"event shape {tuple(base.event_shape)}"
                raise ShapeError("bases", "bases over vectors", got)
        groups = read_columns({key: base.event_shape.numel() for key, base in bases.items()})
        parts = list(bases.values())
        super().__init__(sum(map(len, groups)), context_features=_context_width(parts, "bases"))
        self.groups = groups
        self.bases = nn.ModuleList(parts)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``z``, ``(*batch, features)``, as ``(*batch,)``."""
        self.check_input("z", z, context)
        total = z.new_zeros(z.shape[:-1])
        for group, base in zip(self.groups, _parts(self.bases), strict=True):
            part = torch.stack([z[..., column] for column in group], dim=-1)
            total = total + base.log_prob(part, context if base.context_features else None)
        return total

    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw ``(*sample_shape, *context_batch, features)``."""
        self.draw_shape(sample_shape, context)  # errors are raised before any draw
        columns: dict[int, Tensor] = {}
        for group, base in zip(self.groups, _parts(self.bases), strict=True):
            part = sample_part(base, sample_shape, context, generator)
            columns.update(zip(group, part.unbind(-1), strict=True))
        return torch.stack([columns[i] for i in range(len(columns))], dim=-1)


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
        super().__init__(shapes.pop(), context_features=_context_width(flows, "flows"))
        self.flows = nn.ModuleList(flows)
        self.logits = nn.Parameter(torch.zeros(len(flows)))

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``z``, ``(*batch, *event_shape)``, as ``(*batch,)``."""
        self.check_input("z", z, context)
        terms = [f.log_prob(z, context if f.context_features else None) for f in _parts(self.flows)]
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
        parts = _parts(self.flows)
        draws = [sample_part(flow, sample_shape, context, generator) for flow in parts]
        chosen = self._choice(self.logits, drawn, generator)
        shape = (*chosen.shape, *[1] * len(self.event_shape))
        result: Tensor = draws[0]
        for i, draw in enumerate(draws[1:], start=1):
            result = torch.where((chosen == i).reshape(shape), draw, result)
        return result
