"""Seeds of a fit: pure functions of its seed, and of the purpose and step of a random number.

So a fit that continues from a checkpoint needs no state of a generator, and any number of
processes have the same order of rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

# Purposes of random numbers. The streams of one seed are independent of each other.
SPLIT, ORDER, STEP, VALIDATION, CALIBRATION = range(5)

_BLOCK = 1024


def mixed(seed: int, *key: int, count: int = 1) -> list[int]:
    """Return ``count`` seeds that depend on every bit of ``seed`` and of ``key``.

    They have 32 bits, as torch's generator on the CPU ignores the others.
    """
    state = np.random.SeedSequence(seed, spawn_key=key).generate_state(count)
    return [int(word) for word in state]


def generator_of(seed: int, *key: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a generator that is seeded by ``seed`` and ``key``."""
    return torch.Generator(device).manual_seed(mixed(seed, *key)[0])


class StepSeeds:
    """The seed of each step, mixed in blocks, as mixing one takes longer than drawing from it."""

    def __init__(self, seed: int, *key: int) -> None:
        self._seed, self._key = seed, key
        self._block, self._seeds = -1, [0]

    def __call__(self, step: int) -> int:
        """Return the seed of step ``step``."""
        block, position = divmod(step, _BLOCK)
        if block != self._block:
            self._seeds = mixed(self._seed, *self._key, block, count=_BLOCK)
            self._block = block
        return self._seeds[position]


def reseed(generator: torch.Generator, seed: int) -> None:
    """Seed a generator, and torch's own too, which layers like dropout draw from.

    The caller has forked torch's random state, and restores it in the end.
    """
    generator.manual_seed(seed)
    torch.default_generator.manual_seed(seed)
    if generator.device.type == "cuda":
        index = generator.device.index or 0
        torch.cuda.default_generators[index].manual_seed(seed)


@contextmanager
def random_state_restored(device: torch.device) -> Iterator[None]:
    """Restore torch's random state at the end."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield
