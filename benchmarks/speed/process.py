"""Worker processes, and their interface in the main process."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

BENCHMARKS = Path(__file__).parent.parent


class Worker(Protocol):
    """A server of requests: a `Process`, or a `speed.worker.Bench` in the main process."""

    def ask(self, request: dict, timeout: float) -> dict:
        """Return the answer, or ``{"error": reason}``."""


class Process:
    """A library in a separate process, started at the first request and after a timeout.

    Libraries change global settings, and their thread pools slow each other down. Processes are
    therefore separate, and only one computes at a time.
    """

    def __init__(
        self,
        library: str,
        python: str = sys.executable,
        *,
        module: str = "speed.worker",
        folder: Path | None = None,
    ) -> None:
        """Prepare a process.

        Args:
            library: first argument of the worker.
            python: its interpreter.
            module: of the worker.
            folder: where a build of flowkit is, first on the worker's path and its last argument.
        """
        self.command = [python, "-m", module, library, *([str(folder)] if folder else [])]
        self.folder = folder
        self.process: subprocess.Popen | None = None

    def ask(self, request: dict, timeout: float) -> dict:
        """Return the answer, or an error after ``timeout`` seconds."""
        if self.process is None:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd=BENCHMARKS,
                env={**os.environ, "PYTHONPATH": _path(os.environ, self.folder)},
            )
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            if not select.select([self.process.stdout], [], [], timeout)[0]:
                self.close()
                return {"error": f"no answer within {timeout:.0f} s"}
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self.process.wait()
            self.process = None
            return {"error": f"its process ended with status {code}"}
        return json.loads(line)

    def close(self) -> None:
        """Terminate the process, if it is running."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def _path(environment: Mapping[str, str], folder: Path | None = None) -> str:
    """Return the Python path of a worker: its build, this folder, and the present path."""
    before = environment.get("PYTHONPATH")
    first = [str(folder)] if folder else []
    return os.pathsep.join([*first, str(BENCHMARKS), *([before] if before else [])])


def has_flowjax(python: str) -> bool:
    """Return whether an interpreter can import flowjax."""
    probe = [python, "-c", "import flowjax.flows, optax"]
    return subprocess.run(probe, capture_output=True, check=False, timeout=300).returncode == 0
