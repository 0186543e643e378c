"""Modes of torch and of modules."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.autograd import forward_ad


def needs_plain_torch() -> bool:
    """Return whether plain operations must replace our `torch.autograd.Function` classes.

    True under ``torch.compile``, which optimises plain operations better, and under ``torch.func``
    and forward-mode derivatives.
    """
    return torch.compiler.is_compiling() or differentiates_by_transforms()


def differentiates_by_transforms() -> bool:
    """Return whether ``torch.func`` or forward-mode differentiation is active."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set a model to ``eval`` mode, and restore the mode of each of its modules at the end."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:  # one may have been frozen
            module.training = training
