"""Matrix products in float32 on the CPU, by the fastest exact route.

By default torch computes float32 products by MKL. On CPUs of other makers than Intel, MKL reaches
half the rate of oneDNN, which torch uses if the matmul precision is "medium". On some CPUs that
setting also *allows* products in bfloat16. Therefore the setting is used only if the CPU is of
another maker *and* one product per process agrees with float64. The setting applies to our own
products only, and is restored afterwards.
"""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def fast_matmul() -> Iterator[None]:
    """Compute float32 products in this context by the fastest exact route."""
    if not has_faster_route():
        yield
        return
    _Route.enter()
    try:
        yield
    finally:
        _Route.leave()


class _Route:
    """The setting, which all threads share: the last one that leaves a context restores it."""

    _lock = threading.Lock()
    _inside = 0
    _before = ""

    @classmethod
    def enter(cls) -> None:
        with cls._lock:
            if cls._inside == 0:
                cls._before = torch.get_float32_matmul_precision()
                torch.set_float32_matmul_precision("medium")
            cls._inside += 1

    @classmethod
    def leave(cls) -> None:
        with cls._lock:
            cls._inside -= 1
            if cls._inside == 0:
                torch.set_float32_matmul_precision(cls._before)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def has_faster_route() -> bool:
    """Return whether oneDNN's products are faster and exact, decided once per process.

    The decision is by the maker of the CPU, not by timing, so that results are reproducible.
    """
    return _onednn_is_better()


@functools.cache
def _onednn_is_better() -> bool:
    return torch.backends.mkldnn.is_available() and not _made_by_intel() and is_exact("medium")


def _made_by_intel() -> bool:
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux, where no rates were measured
        return True


def is_exact(precision: str) -> bool:
    """Return whether products at a matmul precision of torch are accurate to float32."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=generator, dtype=torch.float32) for _ in range(2))
    exact = a.double() @ b.double()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        error = (a @ b - exact).norm() / exact.norm()
    finally:
        torch.set_float32_matmul_precision(before)
    return bool(error < 1e-6)
