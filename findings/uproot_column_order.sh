#!/usr/bin/env bash
# Guess: file["t"] = {"mass": ..., "charge": ...} writes a table whose columns stand in the order of
#   the dictionary, as a TTree's branches do and as CSV and Parquet writers keep it.
# So it is: uproot 5.7.7 writes an RNTuple for this assignment, and reading it back lists the
#   columns in alphabetical order.
# Version: uproot 5.7.7, awkward 2.14.0.
# Who meets it: whoever writes a table to ROOT and reads it as an array by position: columns have
#   changed places without an error.
# Source: observed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check uproot==5.7.7 awkward==2.14.0 2>/dev/null
"$folder/venv/bin/python" - "$folder/t.root" <<'PYTHON'
import sys

import numpy as np
import uproot

print("uproot", uproot.__version__)
with uproot.recreate(sys.argv[1]) as file:
    file["t"] = {"mass": np.array([1.5, 2.5]), "charge": np.array([-1.0, 1.0])}
with uproot.open(sys.argv[1]) as file:
    table = file["t"]
    names = list(table.keys())
    print(type(table).__name__, names)
sys.exit(0 if names == ["charge", "mass"] else 1)
PYTHON
