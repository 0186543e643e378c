"""Doctests: each starts from a seed, and modules whose library is not installed are left out."""

import importlib.util

import pytest
import torch

collect_ignore = []
if importlib.util.find_spec("skpro") is None:  # the extra [skpro]
    collect_ignore.append("flowkit/interop/skpro.py")


@pytest.fixture(autouse=True)
def _seed_of_examples() -> None:
    torch.manual_seed(0)
