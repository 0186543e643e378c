"""Permutations of the features."""

from collections.abc import Sequence

import torch
from torch import Tensor

from flowkit._checks import check_count, check_permutation
from flowkit.transforms.base import Transform


class Permutation(Transform):
    """Reorder the features: ``z[..., i] = x[..., order[i]]``.

    Args:
        order: a permutation of 0 .. features - 1.

    Both directions cost one copy.

    Raises:
        ArgumentError: ``order`` is not a permutation.

    Example:
        >>> Permutation([2, 0, 1])(torch.tensor([10.0, 11.0, 12.0]))[0]
        tensor([12., 10., 11.])
    """

    order: Tensor
    inverse_order: Tensor

    def __init__(self, order: Sequence[int] | Tensor) -> None:
        indices = check_permutation("order", order)
        super().__init__(len(indices), constant_logabsdet=True)
        # In the state dict, as a random order is stored nowhere else.
        self.register_buffer("order", torch.tensor(indices))
        self.register_buffer("inverse_order", torch.tensor(indices).argsort())

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Reorder the features."""
        self.check_input("x", x, None)
        return x.index_select(-1, self.order), self.zero_logabsdet(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Put the features back."""
        self.check_input("z", z, None)
        return z.index_select(-1, self.inverse_order), self.zero_logabsdet(z)


class Reverse(Permutation):
    """The features in reverse order.

    Args:
        features: number of features.

    Example:
        >>> Reverse(3)(torch.tensor([10.0, 11.0, 12.0]))[0]
        tensor([12., 11., 10.])
    """

    def __init__(self, features: int) -> None:
        super().__init__(range(check_count("features", features))[::-1])


class RandomPermutation(Permutation):
    """The features in a random order, drawn once and saved with the weights.

    Args:
        features: number of features.
        generator: source of randomness; torch's global generator by default.

    Example:
        >>> layer = RandomPermutation(5, generator=torch.Generator().manual_seed(0))
        >>> sorted(layer.order.tolist())
        [0, 1, 2, 3, 4]
    """

    def __init__(self, features: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__(torch.randperm(check_count("features", features), generator=generator))
