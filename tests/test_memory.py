"""Freed memory is kept, where the C library is glibc."""

import platform

import pytest
import torch

from flowkit._memory import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_loop_that_allocates_does_not_ask_the_kernel_for_every_page():
    resource = pytest.importorskip("resource")
    keep_freed_memory()

    def allocate():
        return torch.ones(2**18) + torch.ones(2**18)  # 1 MiB each: 256 pages

    for _ in range(5):
        allocate()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        allocate()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    assert after - before < 10_000  # of 76,800
