"""Noise by a generator, wherever that is."""

from collections.abc import Sequence

import torch
from torch import Tensor


def normal(shape: Sequence[int], like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw standard normal noise of a shape, in the dtype and on the device of a tensor."""
    noise = torch.randn(
        *shape, dtype=like.dtype, device=_home(like, generator), generator=generator
    )
    return noise.to(like.device)


def uniform(shape: Sequence[int], like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw noise in [0, 1) of a shape, in the dtype and on the device of a tensor."""
    noise = torch.rand(*shape, dtype=like.dtype, device=_home(like, generator), generator=generator)
    return noise.to(like.device)


def below(n: int, count: int, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw integers 0 .. n - 1, ``(count,)``, on the device of a tensor."""
    drawn = torch.randint(n, (count,), device=_home(like, generator), generator=generator)
    return drawn.to(like.device)


def _home(like: Tensor, generator: torch.Generator | None) -> torch.device:
    """Return where to draw: a generator draws on its own device only."""
    return like.device if generator is None else generator.device
