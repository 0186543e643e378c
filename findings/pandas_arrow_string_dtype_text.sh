#!/usr/bin/env bash
# Guess: the text of an Arrow-backed pandas dtype names that dtype, so that a file which stores
#   str(dtype) for each column can make the dtype again by pandas.api.types.pandas_dtype.
# So it is: for large_string, string_view, dates and zoned timestamps the text leads back. For the
#   commonest one, pandas.ArrowDtype(pyarrow.string()), the text is "string[pyarrow]", which is
#   another dtype, StringDtype; decimals are refused as "type specific parameters", dictionaries
#   as "not understood".
# Version: pandas 3.1.1, pyarrow 26.0.1.
# Who meets it: whoever stores the schema of a table as text, to give generated rows the types of the
#   table: a join or concat of the two then changes types.
# Source: observed; pandas documents ArrowDtype as a constructor, and the text only for some types.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pandas==3.1.1 pyarrow==26.0.1 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import pandas as pd
import pyarrow as pa

print("pandas", pd.__version__, "pyarrow", pa.__version__)
found = {}
for arrow in (
    pa.string(),
    pa.large_string(),
    pa.date32(),
    pa.decimal128(5, 2),
    pa.dictionary(pa.int32(), pa.string()),
):
    dtype = pd.ArrowDtype(arrow)
    try:
        again = pd.api.types.pandas_dtype(str(dtype))
        found[str(arrow)] = again == dtype
        print(f"{dtype} -> {again!r}, the same: {again == dtype}")
    except (TypeError, NotImplementedError) as error:
        found[str(arrow)] = type(error).__name__
        print(f"{dtype} -> {type(error).__name__}: {error}")
expected = [False, True, True, "NotImplementedError", "TypeError"]
sys.exit(0 if list(found.values()) == expected else 1)
PYTHON
