#!/usr/bin/env bash
# Guess: null_count and is_null() of an Arrow array agree, so null_count == 0 means that no value is
#   missing.
# So it is: a dictionary array may have its null in the dictionary. pyarrow 26.0.1 then gives
#   null_count 0, while is_null() marks the entry and to_pylist() has None.
# Version: pyarrow 26.0.1.
# Who meets it: readers of categorical columns that take null_count for "no missing values", as
#   when deciding whether a column needs a flag of missingness.
# Source: observed; the format counts nulls of the indices alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pyarrow==26.0.1 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import pyarrow as pa

print("pyarrow", pa.__version__)
array = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["north", None]))
found = array.null_count, array.is_null().to_pylist(), array.to_pylist()
print("null_count, is_null, values:", *found)
sys.exit(0 if found == (0, [False, True], ["north", None]) else 1)
PYTHON
