"""Freed memory is kept, where the C library is glibc."""

import platform
import subprocess
import sys

import pytest

# Blocks each larger than all before it: left alone, glibc asks the kernel for every one of them.
SCRIPT = """
import resource, sys, torch
from flowkit._memory import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for mebibytes in range(1, 25):
    torch.ones(mebibytes * 2**20, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    command = [sys.executable, "-c", SCRIPT, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_not_asked_of_the_kernel_again():
    left, kept = faults("leave"), faults("keep")
    if left < 1_000:
        pytest.skip("this C library keeps its memory anyway")
    assert kept < left / 3
