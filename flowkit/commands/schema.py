"""The command ``flowkit schema``; torch is not imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowkit.commands.shared import check_out, console, explicit, inspect_batches
from flowkit.errors import ArgumentError
from flowkit.schema import write_schema


def schema(
    path: Path,
    *,
    columns: Mapping[str, str],
    out: Path | None,
    force: bool,
    reading: Mapping[str, Any] | None = None,
) -> None:
    """Print the schema of a table, and write it to a file for editing."""
    if out is not None:
        if out.suffix != ".toml":
            raise ArgumentError("out", "a name ending in .toml", out.name)
        check_out(out, force)
    inferred, settings = inspect_batches(path, columns, reading)
    if out is not None:
        write_schema(out, inferred, {**explicit(reading), **settings})
        console.print(f"{out}: edit it, and fit with --schema {out}")
