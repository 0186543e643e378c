"""Memory of freed tensors."""

import functools

import torch

# The largest block whose release raises glibc's limit.
_LARGEST = 31 * 2**20


@functools.cache
def keep_freed_memory() -> None:
    """Raise glibc's limit above which the memory of freed tensors returns to the kernel.

    A training step allocates and frees the same tensors again and again. By default glibc returns
    blocks of more than 128 KiB to the kernel, which clears every page again at the next use.
    Whenever a larger block is freed, glibc raises this limit to its size, up to 32 MiB. Therefore
    one such block, never written to, is allocated and freed, once per process.
    """
    torch.empty(_LARGEST, dtype=torch.uint8)
