"""The ``flowkit`` command. It imports torch only when a command needs it."""

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import flowkit
from flowkit.reading_options import reads_a_table

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


Force = Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]
Model = Annotated[Path, typer.Argument(help="A file that `flowkit fit` wrote.")]
TableFile = Annotated[
    Path, typer.Argument(help="CSV, Parquet, Excel, JSON lines, FITS, ...; .gz too.")
]


Column = Annotated[
    list[str] | None,
    typer.Option(help="NAME=KIND where the kind of a column is not to be inferred."),
]


@contextmanager
def _exit_codes() -> Iterator[None]:
    """End with 2 for bad usage, 3 for bad data, 4 for a bad model file, and say why."""
    from flowkit.errors import ArgumentError, DataError, ModelFileError

    try:
        yield
    except (DataError, ModelFileError, ArgumentError) as error:
        print(f"flowkit: {error}", file=sys.stderr)
        code = 3 if isinstance(error, DataError) else 4 if isinstance(error, ModelFileError) else 2
        raise typer.Exit(code) from error
    except KeyboardInterrupt as interrupt:
        print("flowkit: interrupted, nothing was written", file=sys.stderr)
        raise typer.Exit(130) from interrupt


@app.command()
@reads_a_table
def fit(
    table: TableFile,
    out: Annotated[Path, typer.Option(help="Where the model goes, .safetensors.")],
    effort: Annotated[str, typer.Option(help="fast, default or best.")] = "default",
    column: Column = None,
    schema: Annotated[
        Path | None, typer.Option(help="A file that `flowkit schema --out` wrote.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="A column with the weights of the rows.")
    ] = None,
    holdout: Annotated[float, typer.Option(help="Share of rows to score and not fit.")] = 0.1,
    store_rows: Annotated[
        bool, typer.Option("--store-rows", help="Let the model hold rows of the table.")
    ] = False,
    max_seconds: Annotated[float | None, typer.Option(help="About how long it may take.")] = None,
    seed: Seed = 0,
    force: Force = False,
    *,
    reading: dict[str, Any],
) -> None:
    """Fit the density of TABLE."""
    with _exit_codes():
        from flowkit import commands

        commands.fit(
            table,
            out,
            effort=effort,
            seed=seed,
            columns=_kinds(column),
            holdout=holdout,
            store_rows=store_rows,
            max_seconds=max_seconds,
            force=force,
            reading=reading,
            schema_file=schema,
            weights_column=weights,
        )


@app.command()
@reads_a_table
def schema(
    table: TableFile,
    out: Annotated[
        Path | None, typer.Option(help="Where the schema goes, .toml: edit it, fit with --schema.")
    ] = None,
    column: Column = None,
    force: Force = False,
    *,
    reading: dict[str, Any],
) -> None:
    """Show what each column of TABLE is taken to be, and why."""
    with _exit_codes():
        from flowkit import commands

        commands.schema(table, columns=_kinds(column), out=out, force=force, reading=reading)


def _kinds(items: list[str] | None) -> dict[str, str]:
    """Return the kinds of columns from NAME=KIND."""
    from flowkit.errors import ArgumentError

    pairs = [item.rpartition("=") for item in items or ()]
    for name, equals, kind in pairs:
        if not (name and equals and kind):
            raise ArgumentError("column", "NAME=KIND", name + equals + kind)
    return {name: kind for name, _, kind in pairs}


@app.command()
@reads_a_table
def score(
    model: Model,
    table: TableFile,
    out: Annotated[Path, typer.Option(help="Where the scored table goes.")],
    force: Force = False,
    *,
    reading: dict[str, Any],
) -> None:
    """Add to each row of TABLE its log-density, and its percentile among the training rows."""
    with _exit_codes():
        from flowkit import commands

        commands.score(model, table, out, force=force, reading=reading)


@app.command()
def sample(
    model: Model,
    out: Annotated[Path, typer.Option(help="Where the new rows go.")],
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many.")] = 1000,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Draw new rows."""
    with _exit_codes():
        from flowkit import commands

        commands.sample(model, rows, out, seed=seed, force=force)


@app.command()
@reads_a_table
def report(
    model: Model,
    table: TableFile,
    out: Annotated[Path, typer.Option(help="Where the page goes, .html; numbers beside, .json.")],
    seed: Seed = 0,
    force: Force = False,
    *,
    reading: dict[str, Any],
) -> None:
    """Hold a model against TABLE: the rows of it that the fit did not see, if it is the same."""
    with _exit_codes():
        from flowkit import commands

        commands.report(model, table, out, seed=seed, force=force, reading=reading)


@app.command()
def inspect(
    model: Model,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show what a model is: columns, members and their weights, how it came about."""
    with _exit_codes():
        from flowkit import commands

        commands.inspect(model, as_json=as_json)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
