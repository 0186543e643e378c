"""Noise: normal, uniform and integer draws, by a generator on any device."""

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from flowkit._checks import kind_of
from flowkit.errors import ArgumentError


class _Source(TypedDict, total=False):
    generator: torch.Generator


def source(generator: torch.Generator | None) -> _Source:
    """Return the keyword ``generator`` for a draw by torch, or no keyword if it is None.

    Under ``torch.compile`` draws with ``generator=None`` have no overload for symbolic sizes.
    """
    if generator is None:
        return {}
    check_generator(generator)
    return {"generator": generator}


def check_generator(generator: object) -> None:
    """Raise unless ``generator`` is a `torch.Generator`.

    Raises:
        ArgumentError: ``generator`` is a seed or another object.
    """
    if not isinstance(generator, torch.Generator):
        expected = "a torch.Generator, such as torch.Generator().manual_seed(0), or None"
        raise ArgumentError("generator", expected, kind_of(generator))


def normal(shape: Sequence[int], like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw standard normal noise of a shape, in the dtype and on the device of a tensor."""
    device = _device(like, generator)
    return torch.randn(*shape, dtype=like.dtype, device=device, **source(generator)).to(like.device)


def uniform(shape: Sequence[int], like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw noise in [0, 1) of a shape, in the dtype and on the device of a tensor."""
    device = _device(like, generator)
    return torch.rand(*shape, dtype=like.dtype, device=device, **source(generator)).to(like.device)


def below(n: int, count: int, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw integers 0 .. n - 1, ``(count,)``, on the device of a tensor."""
    device = _device(like, generator)
    return torch.randint(n, (count,), device=device, **source(generator)).to(like.device)


def _device(like: Tensor, generator: torch.Generator | None) -> torch.device:
    """Return the device of the draw: that of the generator, or else that of ``like``."""
    if generator is None:
        return like.device
    check_generator(generator)
    return generator.device
