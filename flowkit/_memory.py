"""Keeping freed memory at hand."""

import functools

import torch

# The largest block from whose release glibc learns.
_LARGEST = 31 * 2**20


@functools.cache
def keep_freed_memory() -> None:
    """Let the C library keep the memory of freed tensors, instead of giving it back each time.

    A training step allocates and frees the same tensors again and again. By default glibc returns
    those of more than 128 KiB to the kernel, which then clears every page anew, hundreds in each
    step. It raises that limit, and the one above which free memory is returned, to the
    largest block that it has seen freed, up to 32 MiB. So one such block, never written to, is
    allocated and freed, once per process.
    """
    torch.empty(_LARGEST, dtype=torch.uint8)
