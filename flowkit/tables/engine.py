"""DuckDB connections that read one file, reach nothing else and keep within a memory limit."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_MEMORY = 600  # MB
# A vector of DuckDB has 2,048 rows, and each thread some of them of each column.
_MEMORY_OF_COLUMN = 0.15  # MB
_MAX_THREADS = 4
_WIDE = 2000


def connect(paths: Iterable[str | os.PathLike[str]], scratch: Path, *, columns: int = 0) -> Any:
    """Return a connection that may read these files, and write to the folder ``scratch`` only.

    No extension is loaded, nothing is fetched, Python's variables are no tables.
    """
    import duckdb

    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "python_enable_replacements": "false",
            "memory_limit": f"{_MEMORY + round(_MEMORY_OF_COLUMN * columns)}MB",
            "threads": 1 if columns > _WIDE else min(_MAX_THREADS, os.cpu_count() or 1),
            "temp_directory": os.fspath(scratch),
            # It turns TRY_CAST of a text column into a cast at the scan, which raises.
            "disabled_optimizers": "type_pushdown",
        }
    )
    allowed = ", ".join(literal(os.fspath(path)) for path in paths)
    connection.execute(f"SET allowed_paths=[{allowed}]")
    connection.execute("SET enable_external_access=false")
    connection.execute("SET TimeZone='UTC'")
    connection.execute("SET lock_configuration=true")
    return connection


def literal(text: str) -> str:
    """Return text as a literal of SQL.

    Example:
        >>> literal("it's")
        "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"
