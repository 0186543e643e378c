#!/usr/bin/env bash
# Guess: a polars column of any integer dtype can be handed to Arrow by to_arrow(); one of 128 bits
#   becomes a decimal, as Arrow has no such integer.
# So it is: polars 2.1.0 exports Int128 as a private extension format of its own. With pyarrow
#   26.0.1 to_arrow() raises ArrowInvalid, for values that fit 64 bits too.
# Version: polars 2.1.0, pyarrow 26.0.1.
# Who meets it: sums of large counts and hashed keys are Int128 in polars; every library that takes
#   polars frames by way of Arrow fails on them.
# Source: observed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check polars==2.1.0 pyarrow==26.0.1 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import polars as pl
import pyarrow as pa

print("polars", pl.__version__, "pyarrow", pa.__version__)
try:
    found = str(pl.Series([1, 2], dtype=pl.Int128).to_arrow().type)
except pa.ArrowInvalid as error:
    found = type(error).__name__
print("Int128 to Arrow:", found)
sys.exit(0 if found == "ArrowInvalid" else 1)
PYTHON
