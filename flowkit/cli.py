"""The ``flowkit`` command. It imports torch only when a command needs it."""

import platform
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import flowkit

app = typer.Typer(
    help="Normalizing-flow density estimation.", no_args_is_help=True, add_completion=False
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(flowkit.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version


@app.command()
def info() -> None:
    """Say what runs here: versions, threads and devices. Put it into a bug report."""
    import torch

    table = Table(show_header=False, box=None)
    table.add_row("flowkit", flowkit.__version__)
    table.add_row("python", platform.python_version())
    table.add_row("torch", torch.__version__)
    table.add_row("platform", platform.platform())
    table.add_row("threads", str(torch.get_num_threads()))
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    table.add_row("devices", ", ".join(["cpu", *devices]))
    Console().print(table)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
