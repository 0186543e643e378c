"""Progress of a fit: a bar, lines, or calls of a function."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from flowkit.training.options import Progress

# Lines, where there is no terminal to draw a bar on.
_LINES = 10


@contextmanager
def reporter(progress: bool | Progress | None, total_steps: int) -> Iterator[Progress | None]:
    """Yield a function to call with (step, steps, loss) after each step, or None.

    Args:
        progress: True is a bar on a terminal and some lines elsewhere, on standard error.
        total_steps: the number of steps.
    """
    if not progress:
        yield None
    elif callable(progress):
        yield progress
    elif not sys.stderr.isatty():
        yield _print_line
    else:
        from rich import progress as rich
        from rich.console import Console

        columns = (
            rich.TextColumn("fitting"),
            rich.BarColumn(),
            rich.MofNCompleteColumn(),
            rich.TextColumn("loss {task.fields[loss]:.4g}"),
            rich.TimeRemainingColumn(),
        )
        with rich.Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=total_steps, loss=float("nan"))

            def draw(step: int, steps: int, loss: float) -> None:  # noqa: ARG001
                bar.update(task, completed=step, loss=loss)

            yield draw


def _print_line(step: int, steps: int, loss: float) -> None:
    if step * _LINES // steps > (step - 1) * _LINES // steps:
        print(f"step {step} of {steps}: loss {loss:.4g}", file=sys.stderr, flush=True)
