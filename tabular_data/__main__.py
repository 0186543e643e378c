"""Command line: ``python -m tabular_data list | fetch NAME | describe NAME``."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import tabular_data
from flowkit.errors import FlowkitError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Data sets by name.")
Root = Annotated[Path | None, typer.Option(help="Folder of all data.")]


@app.command("list")
def list_() -> None:
    """List all data sets."""
    for name in tabular_data.names():
        print(f"{name:32}{tabular_data.card(name).about}")


@app.command()
def fetch(name: str, root: Root = None) -> None:
    """Download missing files of a data set, and read the data set."""
    print(tabular_data.load(name, root))


@app.command()
def describe(name: str) -> None:
    """Print source, licence, citation and files of a data set."""
    card = tabular_data.card(name)
    print(f"{card.name}: {card.about}")
    for field in ("source", "licence", "citation"):
        if getattr(card, field):
            print(f"{field}: {getattr(card, field)}")
    for file in card.files:
        print(f"file: {file.path} from {file.url} ({file.checksum or 'no checksum published'})")


def main() -> None:
    """Run the command; the exit code is 3 for errors of data."""
    try:
        app()
    except FlowkitError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(3) from (error if os.environ.get("TABULAR_DATA_DEBUG") else None)


if __name__ == "__main__":
    main()
