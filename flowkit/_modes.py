"""In which mode torch, or a model, is running."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.autograd import forward_ad


def needs_plain_torch() -> bool:
    """Return whether only plain operations will do, no `torch.autograd.Function` of ours.

    So under ``torch.compile``, which does better with them, and where derivatives are transforms.
    """
    return torch.compiler.is_compiling() or differentiates_by_transforms()


def differentiates_by_transforms() -> bool:
    """Return whether ``torch.func`` or forward mode is at work, which see through operations."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Have a model in its ``eval`` mode, and then each of its modules in the one that it was in."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:  # one may have been frozen
            module.training = training
