#!/usr/bin/env bash
# Guess: TRY_CAST of an ISO time with an offset to TIMESTAMP gives the same instant in UTC, or
#   NULL, as a TIMESTAMP has no zone.
# So it is: with DuckDB 2.0.1 the wall-clock digits are kept and the offset is dropped: midnight at
#   +02:00 becomes midnight, two hours from the instant. A cast to TIMESTAMPTZ keeps the instant.
# Version: duckdb 2.0.1.
# Who meets it: tables of events with offsets (logs, instruments, summer time) that are typed as
#   TIMESTAMP: differences of times across offsets are wrong by hours.
# Source: observed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check duckdb==2.0.1 pytz==2025.2 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import duckdb

print("duckdb", duckdb.__version__)
text = "2023-01-01T00:00:00+02:00"
plain, zoned = duckdb.connect().execute(
    """SELECT epoch(TRY_CAST(? AS TIMESTAMP)), epoch(TRY_CAST(? AS TIMESTAMPTZ))""", [text, text]
).fetchall()[0]
print("seconds since 1970, TIMESTAMP:", plain, "| TIMESTAMPTZ:", zoned)
print("hours between them:", None if plain is None else (plain - zoned) / 3600)
sys.exit(0 if plain is not None and plain - zoned == 7200 else 1)
PYTHON
