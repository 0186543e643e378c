#!/usr/bin/env bash
# Guess: read_csv(comment='#') leaves out lines that begin with #, and a # within a row is data.
# So it is: with DuckDB 2.0.1 the mark ends a row wherever it stands outside of quotes. A table of
#   colours such as #ff0000 loses all that follows in each row. With the separator left to the
#   sniffer it becomes one column named "id,colour,mass" with the values "1," and "2,", without
#   an error; with the separator given, the rows are refused for their number of columns.
# Version: duckdb 2.0.1.
# Who meets it: tables of instruments with # headers, and colours, channels, issue numbers or ids with
#   a # in the rows.
# Source: observed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check duckdb==2.0.1 2>/dev/null
printf '# made by lab 3\nid,colour,mass\n1,#ff0000,2.5\n2,#00ff00,3.5\n' > "$folder/table.csv"
"$folder/venv/bin/python" - "$folder/table.csv" <<'PYTHON'
import sys

import duckdb

print("duckdb", duckdb.__version__)
query = "SELECT * FROM read_csv(?, comment='#'{})"
connection = duckdb.connect()
cursor = connection.execute(query.format(""), [sys.argv[1]])
names, rows = [column[0] for column in cursor.description], cursor.fetchall()
print("sniffed:", names, rows)
try:
    given = connection.execute(query.format(", sep=','"), [sys.argv[1]]).fetchall()
except duckdb.Error as error:
    given = type(error).__name__
print("separator given:", given)
sys.exit(0 if names == ["id,colour,mass"] and rows == [("1,",), ("2,",)] else 1)
PYTHON
