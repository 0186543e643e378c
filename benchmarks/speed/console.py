"""What a benchmark prints, and the command that it records."""

import shlex
import sys
from pathlib import Path


def command(script: str) -> str:
    """Return the command of this process, without paths of this machine."""
    shown = ["PATH" if Path(a).is_absolute() else a for a in sys.argv[1:]]
    return shlex.join(["python", script, *shown])


def log(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)
