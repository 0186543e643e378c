"""Columns: a separate transform for each group of columns."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from flowkit._checks import check_mapping, common_context
from flowkit.errors import ArgumentError, ShapeError
from flowkit.transforms.base import Transform, check_transform_type

Key = int | Sequence[int]


def read_columns(sizes: Mapping[Key, int]) -> list[tuple[int, ...]]:
    """Return the columns of each key, after a check that every column occurs exactly once.

    Args:
        sizes: number of features of the part at each key.

    Raises:
        ArgumentError: a column is named twice, or missing.
        ShapeError: the columns of a key are not as many as the features of the part.
    """
    for key in sizes:
        parts = (key,) if isinstance(key, int) else key
        if not isinstance(parts, tuple) or not all(isinstance(part, int) for part in parts):
            raise ArgumentError("columns", "keys that are integers or tuples of them", repr(key))
    groups = [(key,) if isinstance(key, int) else tuple(key) for key in sizes]
    flat = [column for group in groups for column in group]
    twice = sorted({c for c in flat if flat.count(c) > 1})
    if twice:
        raise ArgumentError("columns", f"expected each column once, and {twice} are named twice")
    missing = sorted(set(range(len(flat))) - set(flat))
    if not flat or missing:
        expected = f"every column from 0 to {max([*flat, 0])}"
        raise ArgumentError("columns", f"expected {expected}, and {missing or 'all'} are missing")
    for group, size in zip(groups, sizes.values(), strict=True):
        if len(group) != size:
            raise ShapeError("columns", f"{size} columns for a part of {size} features", group)
    return groups


class Columns(Transform):
    """Apply a transform to each group of columns.

    Args:
        transforms: ``{column: transform}`` or ``{(column, ...): transform}``; every column once.

    Raises:
        ArgumentError: ``transforms`` is not a mapping to transforms, a column is named twice or
            missing, or context widths differ.
        ShapeError: the features of a transform are not as many as its columns.

    Example:
        >>> from flowkit.transforms import Identity, Interval, Log
        >>> columns = Columns({0: Log(1), 1: Interval(1, 0, 1), (2, 3): Identity(2)})
        >>> z, logabsdet = columns(torch.tensor([1.0, 0.5, 3.0, -4.0]))
        >>> z
        tensor([ 0.,  0.,  3., -4.])
    """

    split: Tensor
    unsplit: Tensor

    def __init__(self, transforms: Mapping[Key, Transform]) -> None:
        check_mapping("transforms", transforms, "Identity(1)")
        for key, transform in transforms.items():
            check_transform_type(f"transforms[{key!r}]", transform)
        groups = read_columns({key: t.features for key, t in transforms.items()})
        super().__init__(
            sum(map(len, groups)),
            context_features=common_context(
                "columns", (t.context_features for t in transforms.values())
            ),
            constant_logabsdet=all(t.constant_logabsdet for t in transforms.values()),
        )
        self.groups = groups
        self.transforms = nn.ModuleList(transforms.values())
        flat = torch.tensor([column for group in groups for column in group])
        self.register_buffer("split", flat, persistent=False)
        self.register_buffer("unsplit", flat.argsort(), persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map each group of columns to latent."""
        context = self._needed(context)
        self.check_input("x", x, context)
        return self._apply_each("forward", x, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map each group of columns to data."""
        context = self._needed(context)
        self.check_input("z", z, context)
        return self._apply_each("inverse", z, context)

    def _apply_each(
        self, direction: str, x: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        parts, logabsdet = [], self.zero_logabsdet(x)
        columns = x.index_select(-1, self.split).split([len(g) for g in self.groups], dim=-1)
        for part, transform in zip(columns, self.transforms, strict=True):
            function = getattr(transform, direction)
            part, term = function(part, context if transform.context_features else None)
            parts.append(part)
            logabsdet = logabsdet + term
        batch = logabsdet.shape  # context may have added batch dimensions to some parts
        joined = torch.cat([part.expand(*batch, -1) for part in parts], dim=-1)
        return joined.index_select(-1, self.unsplit), logabsdet
