"""Freed memory is kept, where the C library is glibc."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from flowkit._memory import keep_freed_memory
from flowkit.flows import maf

flow, x = maf(43, layers=3, hidden=(512, 512)), torch.randn(512, 43)
optimizer = torch.optim.Adam(flow.parameters(), lr=1e-4, fused=True)
torch.set_num_threads(1)

def step():
    optimizer.zero_grad()
    (-flow.log_prob(x).mean()).backward()
    optimizer.step()

if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""


def faults_per_step(how):
    command = [sys.executable, "-c", SCRIPT, how]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_training_step_does_not_ask_the_kernel_for_every_page_again():
    before, after = faults_per_step("leave"), faults_per_step("keep")
    if before < 100:
        pytest.skip("this C library keeps its memory anyway")
    assert after < before / 10
