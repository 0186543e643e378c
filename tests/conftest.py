import os

import pytest
import torch
from hypothesis import settings

# Timing out on a busy machine says nothing about the code.
settings.register_profile("flowkit", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("flowkit")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pytest_configure() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:  # threads of several workers wait for each other
        torch.set_num_threads(1)
