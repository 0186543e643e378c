"""Joint distribution of independent groups of columns."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from flowkit._checks import check_mapping, common_context
from flowkit.distributions.base import Distribution, check_distribution_type, sample_part
from flowkit.distributions.standard import Base
from flowkit.errors import ContextError, ShapeError
from flowkit.transforms.columns import Key, read_columns


def parts_of(modules: nn.ModuleList) -> list[Distribution]:
    """Return the distributions of a list of modules."""
    return cast(list[Distribution], [*modules])


def context_width(parts: Sequence[Distribution], argument: str) -> int:
    """Return the width of the context that all parts share; raise if they differ."""
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
        super().__init__(sum(map(len, groups)), context_features=context_width(parts, "bases"))
        self.groups = groups
        self.bases = nn.ModuleList(parts)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``z``, ``(*batch, features)``, as ``(*batch,)``."""
        self.check_input("z", z, context)
        total = z.new_zeros(z.shape[:-1])
        for group, base in zip(self.groups, parts_of(self.bases), strict=True):
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
        for group, base in zip(self.groups, parts_of(self.bases), strict=True):
            part = sample_part(base, sample_shape, context, generator)
            columns.update(zip(group, part.unbind(-1), strict=True))
        return torch.stack([columns[i] for i in range(len(columns))], dim=-1)
