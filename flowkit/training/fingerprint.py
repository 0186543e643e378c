"""Which data a fit was given, so that it does not go on with other data."""

import hashlib

import torch
from torch import Tensor

# Rows that share a digest.
_BLOCK = 1_024


def digests(tensor: Tensor) -> Tensor:
    """Return 64 bits for each 1,024 rows of a tensor, ``(blocks,)``."""
    flat = tensor.detach().contiguous().cpu().view(len(tensor), -1).view(torch.uint8)
    sums = [
        hashlib.blake2b(flat[i : i + _BLOCK].numpy().data, digest_size=8).digest()
        for i in range(0, len(flat), _BLOCK)
    ]
    return torch.tensor([int.from_bytes(s, "little", signed=True) for s in sums])


def difference(name: str, before: Tensor, tensor: Tensor) -> str | None:
    """Return which rows of a tensor differ from those whose digests are given, None if none do."""
    differing = (digests(tensor) != before).nonzero()
    if len(differing) == 0:
        return None
    first = int(differing[0]) * _BLOCK
    last = min(first + _BLOCK, len(tensor)) - 1
    return f"rows {first} to {last} of {name} differ"
