"""In which mode torch is running."""

import torch
from torch.autograd import forward_ad


def needs_plain_torch() -> bool:
    """Return whether only plain operations will do, no `torch.autograd.Function` of ours.

    So under ``torch.compile``, which does better with them, and under ``torch.func`` and forward
    mode, which see through them.
    """
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )
