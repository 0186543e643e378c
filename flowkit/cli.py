"""The ``flowkit`` command. It imports torch only when a command needs it."""

import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import flowkit
from flowkit.commands.reading_options import reads_a_table

# As shells say that SIGTERM ended a process.
_TERMINATED = 128 + signal.SIGTERM

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
    """Print versions, threads and devices, for a bug report."""
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
Device = Annotated[str, typer.Option(help="Device of the flows, such as cpu or cuda.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]
Model = Annotated[Path, typer.Argument(help="Model file written by `flowkit fit`.")]
TableFile = Annotated[
    Path, typer.Argument(help="Table: CSV, Parquet, Excel, JSON lines, FITS, ..., also compressed.")
]


Column = Annotated[
    list[str] | None,
    typer.Option(help="NAME=KIND: kind of a column, instead of the inferred one; may be repeated."),
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
    out: Annotated[Path, typer.Option(help="Path of the model file, .safetensors.")],
    effort: Annotated[str, typer.Option(help="Amount of work: fast, default or best.")] = "default",
    column: Column = None,
    schema: Annotated[
        Path | None, typer.Option(help="Schema file written by `flowkit schema --out`.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Column to predict: fit its density given all other columns."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Column with the weights of the rows.")
    ] = None,
    holdout: Annotated[float, typer.Option(help="Share of held-out rows.")] = 0.1,
    store_rows: Annotated[
        bool,
        typer.Option("--store-rows", help="Allow rows of the table in the model."),
    ] = False,
    max_seconds: Annotated[float | None, typer.Option(help="Approximate time limit.")] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
    *,
    reading: dict[str, Any],
) -> None:
    """Fit the density of TABLE, or with --target that of one column given the others."""
    with _exit_codes():
        from flowkit.commands.fit import fit as run

        if target is not None:
            _fit_target(
                table,
                out,
                target=target,
                columns=_kinds(column),
                reading=reading,
                holdout=holdout,
                force=force,
                weights_column=weights,
                schema_file=schema,
                store_rows=store_rows,
                options={
                    "effort": effort,
                    "max_seconds": max_seconds,
                    "random_state": seed,
                    "device": device,
                },
            )
            return

        run(
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
            device=device,
        )


def _fit_target(
    table: Path, out: Path, *, schema_file: Path | None, store_rows: bool, **options: Any
) -> None:
    """Fit a conditional density; refuse the options that it does not have."""
    from flowkit.commands.conditional import fit_target
    from flowkit.errors import ArgumentError

    for name, value in (("schema", schema_file), ("store-rows", store_rows)):
        if value:
            raise ArgumentError(name, f"--{name} cannot be combined with --target; leave it out")
    fit_target(table, out, **options)


@app.command()
@reads_a_table
def predict(
    model: Annotated[Path, typer.Argument(help="Model file of `flowkit fit --target`.")],
    table: TableFile,
    out: Annotated[Path, typer.Option(help="Path of the table with predictions.")],
    quantiles: Annotated[
        str, typer.Option(help="Quantiles to add, separated by commas.")
    ] = "0.05,0.5,0.95",
    force: Force = False,
    *,
    reading: dict[str, Any],
) -> None:
    """Add to each row of TABLE the mean and quantiles of the target.

    If TABLE has the target too, its log-density is added.
    """
    with _exit_codes():
        from flowkit.commands.conditional import predict as run

        run(model, table, out, quantiles=_numbers(quantiles), force=force, reading=reading)


def _numbers(text: str) -> tuple[float, ...]:
    """Return numbers from a text with commas."""
    from flowkit.errors import ArgumentError

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ArgumentError("quantiles", "numbers separated by commas", repr(text)) from error


@app.command()
@reads_a_table
def schema(
    table: TableFile,
    out: Annotated[
        Path | None,
        typer.Option(help="Path of the schema file, .toml, for --schema."),
    ] = None,
    column: Column = None,
    force: Force = False,
    *,
    reading: dict[str, Any],
) -> None:
    """Print kind, range and missing values of each column of TABLE, and each guess."""
    with _exit_codes():
        from flowkit.commands.schema import schema as run

        run(table, columns=_kinds(column), out=out, force=force, reading=reading)


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
    out: Annotated[Path, typer.Option(help="Path of the scored table.")],
    device: Device = "cpu",
    force: Force = False,
    *,
    reading: dict[str, Any],
) -> None:
    """Add to each row of TABLE its log-density, and its percentile among the training rows."""
    with _exit_codes():
        from flowkit.commands import use

        use.score(model, table, out, device=device, force=force, reading=reading)


@app.command()
def sample(
    model: Model,
    out: Annotated[Path, typer.Option(help="Path of the new rows.")],
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="Number of rows.")] = 1000,
    given: Annotated[
        list[str] | None,
        typer.Option(help="COLUMN=VALUE: condition on a column, see below; may be repeated."),
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Draw new rows, with --given those of the other columns given conditions on some.

    Numbers and times: a value (age=61), a range with its ends (age=30..60,
    age=60.., age=..30) or a set (rooms=2,3). Times are written as 2024-01-31,
    2024-01-31T18:00 and 8:30.

    Texts: a value (region=north) or a set (region=north,east). Dots are part of
    a text. In a set, a text with a comma or a quote stands in double quotes, as
    in CSV. A single text needs none.

    An empty value (income=) is a missing one. `flowkit inspect` prints the kind
    of each column.
    """
    with _exit_codes():
        from flowkit.commands import use

        use.sample(model, rows, out, given=given or (), seed=seed, device=device, force=force)


@app.command()
@reads_a_table
def impute(
    model: Model,
    table: TableFile,
    out: Annotated[Path, typer.Option(help="Path of the table without missing cells.")],
    mean: Annotated[
        bool,
        typer.Option("--mean", help="Fill in means, and commonest categories, in place of draws."),
    ] = False,
    draws: Annotated[
        int,
        typer.Option(
            "--draws",
            "-n",
            min=1,
            help="Number of draws of each cell. Several are written one table after the other, "
            "with the number of the draw in an additional last column, draw.",
        ),
    ] = 1,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
    *,
    reading: dict[str, Any],
) -> None:
    """Fill the missing cells of TABLE, given the other cells of their row.

    All other cells stay as they are. Identifiers, and columns that the model
    does not have, are not filled.
    """
    with _exit_codes():
        from flowkit.commands.impute import impute as run

        run(
            model,
            table,
            out,
            mean=mean,
            draws=draws,
            seed=seed,
            device=device,
            force=force,
            reading=reading,
        )


@app.command()
@reads_a_table
def report(
    model: Model,
    table: TableFile,
    out: Annotated[Path, typer.Option(help="Path of the report, .html; numbers beside, .json.")],
    seed: Seed = 0,
    force: Force = False,
    *,
    reading: dict[str, Any],
) -> None:
    """Evaluate a model on TABLE and write an HTML report.

    If TABLE is the one the model was fitted to, scores and calibration are those
    of the held-out rows. The list of unlikely rows covers all rows, but that of
    a model of `fit --target` the held-out ones.
    """
    with _exit_codes():
        from flowkit.commands.report import report as run

        run(model, table, out, seed=seed, force=force, reading=reading)


@app.command()
def inspect(
    model: Model,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the columns, members, weights and history of a model."""
    with _exit_codes():
        from flowkit.commands import use

        use.inspect(model, as_json=as_json)


def _terminate(*_: object) -> None:
    raise SystemExit(_TERMINATED)


def main() -> None:
    """Run the command line.

    SIGTERM ends it as an error does, so that unfinished files and copies of tables are removed.
    """
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    app()


if __name__ == "__main__":
    main()
