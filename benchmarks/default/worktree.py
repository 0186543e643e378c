"""Worktree of a git revision in a temporary folder."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def revision(repository: Path, name: str = "HEAD") -> str:
    """Return the short hash of a revision, with a plus sign if the present files differ from HEAD.

    Raises:
        ValueError: there is no such revision.
    """
    found = _git(repository, "rev-parse", "--short=7", "--verify", f"{name}^{{commit}}")
    if found.returncode:
        raise ValueError(f"There is no git revision {name!r}: {found.stderr.strip()}")
    changed = name == "HEAD" and _git(repository, "status", "--porcelain", "flowkit").stdout
    return found.stdout.strip() + ("+" if changed else "")


@contextmanager
def worktree(repository: Path, name: str) -> Iterator[Path]:
    """Provide the files of a revision in a temporary folder, and remove them at the end."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "base"
        added = _git(repository, "worktree", "add", "--detach", str(folder), name)
        if added.returncode:
            raise ValueError(f"The worktree of {name!r} cannot be made: {added.stderr.strip()}")
        try:
            yield folder
        finally:
            _git(repository, "worktree", "remove", "--force", str(folder))


def _git(repository: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)
