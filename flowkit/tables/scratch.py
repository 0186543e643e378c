"""Scratch folders: copies of files for reading, removed even where their process was killed."""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO

if sys.platform != "win32":
    import fcntl

_PREFIX, _LOCK = "flowkit-", "lock"


class ScratchFolder:
    """A folder in the folder for temporary files, locked by the process that made it.

    The lock ends with the process, however that ends: unlocked folders of earlier processes of
    the same user are removed first.

    Attributes:
        path: the folder.
    """

    def __init__(self) -> None:
        _remove_abandoned(Path(tempfile.gettempdir()))
        self._folder = tempfile.TemporaryDirectory(prefix=_PREFIX)
        self.path = Path(self._folder.name)
        self._lock = _locked(self.path)

    def remove(self) -> None:
        """Remove the folder."""
        self._folder.cleanup()
        if self._lock is not None:
            self._lock.close()


def _locked(folder: Path) -> IO[bytes] | None:
    """Return a locked file in a folder, None where there are no locks."""
    if sys.platform == "win32":
        return None
    file = open(folder / "unlocked", "wb")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    # Renamed once it is locked, so that no other process finds it before.
    os.rename(folder / "unlocked", folder / _LOCK)
    return file


def _remove_abandoned(parent: Path) -> None:
    """Remove this user's folders whose process is gone."""
    if sys.platform == "win32":
        return
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
                continue
            with open(folder / _LOCK, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # in use, no scratch folder, or removed by another process meanwhile
            continue
