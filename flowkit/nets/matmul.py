"""The fastest exact matrix product of this machine, for float32 on the CPU.

Torch sends float32 products to MKL, which on CPUs not made by Intel runs at half the rate that
oneDNN, in the same torch, reaches. Torch goes to oneDNN when its matmul precision is "medium", a
setting which also *allows* products in bfloat16 on CPUs that have them. So it is used only where
the CPU is of another make *and* a product compared with float64, once per process, shows that
nothing was rounded; only around our own products; and whatever was set before is set again.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def fast_matmul() -> Iterator[None]:
    """Let float32 products within take the fastest route that is exact."""
    if not has_faster_route():
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def has_faster_route() -> bool:
    """Return whether oneDNN's products are worth taking, and exact. Decided once per process.

    By the CPU's make and not by a stopwatch: the same program must give the same digits each time.
    """
    return _onednn_is_better()


@functools.cache
def _onednn_is_better() -> bool:
    return torch.backends.mkldnn.is_available() and not _made_by_intel() and is_exact("medium")


def _made_by_intel() -> bool:
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:  # no Linux; then nothing was measured either
        return True


def is_exact(precision: str) -> bool:
    """Return whether float32 products under a torch matmul precision keep float32's digits."""
    generator = torch.Generator().manual_seed(0)
    shape = {"size": (256, 256), "generator": generator, "dtype": torch.float32}
    a, b = torch.randn(**shape), torch.randn(**shape)  # type: ignore[call-overload]
    exact = a.double() @ b.double()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        error = (a @ b - exact).norm() / exact.norm()
    finally:
        torch.set_float32_matmul_precision(before)
    return bool(error < 1e-6)
