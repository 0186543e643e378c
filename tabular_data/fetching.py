"""Downloads of files: resumable, verified and atomic."""

import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pooch
import requests
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

from tabular_data.dataset import Download
from tabular_data.errors import ChecksumError, MissingDataError

_BLOCK = 1 << 16  # bytes written at once; an interrupted download loses less than that
_SECONDS = 30  # timeout without data


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of all data: the argument, ``TABULAR_DATA_HOME``, or the user's cache."""
    chosen = root or os.environ.get("TABULAR_DATA_HOME") or pooch.os_cache("tabular_data")
    return Path(chosen).expanduser()


def fetch(file: Download, root: Path) -> Path:
    """Return the path of a file; a missing file is downloaded first.

    The download is written to a ``.part`` file, and renamed once the checksum is verified. An
    interrupted download is resumed. A file with a wrong checksum is kept as ``.bad``.

    Raises:
        MissingDataError: the file is missing and cannot be downloaded.
        ChecksumError: the checksum is not the published one.
    """
    target = root / file.path
    if target.exists():
        return target
    if file.url is None:
        raise MissingDataError(f"{target} is not there. It has no download: place it by hand.")
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _download(file.url, part)
    except requests.RequestException as error:
        raise MissingDataError(
            f"{target} is not there, and {file.url} could not be read ({error}). Place the file by "
            "hand, or try again: the download will be resumed."
        ) from error
    except OSError as error:
        raise MissingDataError(f"{part} cannot be written: {error}") from error
    check(part, file.checksum, kept_as=target.with_name(target.name + ".bad"))
    os.replace(part, target)
    return target


def check(path: Path, checksum: str | None, *, kept_as: Path) -> None:
    """Raise `ChecksumError` and rename the file if the checksum of a file is wrong."""
    if checksum is None:
        return
    algorithm, _, expected = checksum.partition(":")
    actual = pooch.file_hash(str(path), alg=algorithm)
    if actual != expected:
        os.replace(path, kept_as)
        raise ChecksumError(
            f"{kept_as.with_suffix('')}: expected {algorithm} {expected}, got {actual}; the "
            f"download is kept as {kept_as}"
        )


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar archive into a new folder, atomically.

    Raises:
        ChecksumError: the archive is truncated, or not a tar archive.
    """
    if folder.exists():
        return
    aside = folder.with_name(folder.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(aside, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise ChecksumError(f"{archive} cannot be unpacked: {error}") from error
    os.replace(aside, folder)


def _download(url: str, part: Path) -> None:
    """Download the rest of the file at ``url`` that is not yet in ``part``."""
    have = part.stat().st_size if part.exists() else 0
    header = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=header, stream=True, timeout=_SECONDS) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            return  # the part file is complete
        answer.raise_for_status()
        resumed = answer.status_code == requests.codes.partial_content
        left = answer.headers.get("Content-Length")
        total = None if left is None else int(left) + have * resumed
        with _bar() as bar, part.open("ab" if resumed else "wb") as file:
            task = bar.add_task(part.stem, total=total, completed=have * resumed)
            for block in answer.iter_content(_BLOCK):
                file.write(block)
                bar.advance(task, len(block))
        if total is not None and part.stat().st_size < total:
            raise requests.ConnectionError(
                f"ended after {part.stat().st_size:,} of {total:,} bytes"
            )


def _bar() -> Any:
    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=Console(stderr=True))
