"""Scratch folders are removed: by SIGTERM, by the next process after SIGKILL, not while in use."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flowkit.tables.scratch import ScratchFolder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no locks, no signals")

HOLDS_A_TABLE = """
import sys, time
from flowkit import cli
from flowkit.commands import schema
from flowkit.tables import TableFile

def hold(path, **_):
    with TableFile(path):
        print("open", flush=True)
        time.sleep(100)

schema.schema = hold
sys.argv = ["flowkit", "schema", "t.csv"]
cli.main()
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return an empty folder that is the one for temporary files, of this process too."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def holding(home: Path) -> subprocess.Popen:
    (home.parent / "t.csv").write_text("a,b\n1,2\n3,4\n")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS_A_TABLE],
        cwd=home.parent,
        env={**os.environ, "TMPDIR": str(home)},
        stdout=subprocess.PIPE,
        text=True,
    )
    opened = process.stdout.readline() == "open\n"
    if not (opened and folders(home)):
        process.kill()
        process.communicate()
        pytest.fail("the table was not opened")
    return process


def folders(home: Path) -> list[Path]:
    return list(home.glob("flowkit-*"))


def test_sigterm_removes_the_folder(home):
    process = holding(home)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert not folders(home)


def test_the_next_process_removes_the_folder_of_a_killed_one(home):
    process = holding(home)
    (old,) = folders(home)
    ours = ScratchFolder()
    assert old.is_dir()  # its process lives
    process.kill()
    process.communicate(timeout=60)
    assert old.is_dir()
    ScratchFolder().remove()
    assert folders(home) == [ours.path]
    ours.remove()
    assert not folders(home)


def test_folders_that_are_no_scratch_folders_stay(home, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    for folder in (home / "flowkit-data", elsewhere):
        folder.mkdir()
        (folder / "kept").write_text("x")
    (elsewhere / "lock").touch()
    (home / "flowkit-link").symlink_to(elsewhere)
    (home / "flowkit-file").touch()
    ScratchFolder().remove()
    assert len(folders(home)) == 3
    assert (elsewhere / "kept").exists()
    assert (home / "flowkit-data" / "kept").exists()
