#!/usr/bin/env bash
# Guess: comparing a uint8 tensor with a Python number that uint8 cannot hold gives the answer of
#   arithmetic, as in NumPy 2: no byte equals 456, and every byte is below 300.
# So it is: with torch 2.13.0 the number is first wrapped modulo 256. A byte of 200 equals 456, and
#   neither 200 nor 100 is below 300, which has become 44.
# Version: torch 2.13.0 (CPU), numpy 2.4.6 beside it.
# Who meets it: densities of pixels and counts in bytes. A check that levels lie below their number,
#   or a mask of values above a bound, is wrong in silence once the bound exceeds 255.
# Source: observed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 numpy==2.4.6 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import torch

print("torch", torch.__version__, "numpy", np.__version__)
levels = torch.tensor([200, 100], dtype=torch.uint8)
equal, below = (levels == 456).tolist(), (levels < 300).tolist()
print("torch: == 456", equal, "< 300", below)
array = np.array([200, 100], dtype=np.uint8)
print("numpy: == 456", (array == 456).tolist(), "< 300", (array < 300).tolist())
sys.exit(0 if equal == [True, False] and below == [False, False] else 1)
PYTHON
