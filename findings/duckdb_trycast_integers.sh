#!/usr/bin/env bash
# Guess: TRY_CAST of text to BIGINT is NULL unless the text is a whole number in plain digits, so
#   that counting NULLs tells a column of integers from one of codes or decimals.
# So it is: with DuckDB 2.0.1 '1_000' is 1000, '0x10' is 16, '1e3' is 1000, and '1.5' is 2: decimals
#   are rounded in silence, and no NULL is counted.
# Version: duckdb 2.0.1.
# Who meets it: whoever infers types of a table of text by TRY_CAST, most specific type first: hex
#   identifiers, part numbers with underscores and reals all pass as integers.
# Source: observed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check duckdb==2.0.1 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import duckdb

print("duckdb", duckdb.__version__)
texts = ["1_000", "0x10", "1e3", "1.5", "abc"]
query = "SELECT " + ", ".join("TRY_CAST(? AS BIGINT)" for _ in texts)
found = duckdb.connect().execute(query, texts).fetchall()[0]
for text, value in zip(texts, found):
    print(f"{text!r} -> {value}")
sys.exit(0 if found == (1000, 16, 1000, 2, None) else 1)
PYTHON
