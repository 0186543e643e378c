"""Downloads from a server of our own: broken off, resumed, wrong, and not to be had."""

import hashlib
import http.server
import os
import subprocess
import sys
import threading

import pytest

from tabular_data.dataset import Download
from tabular_data.errors import ChecksumError, MissingDataError
from tabular_data.fetching import data_root, fetch

CONTENT = os.urandom(3_000_000)
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `CONTENT`; under /short it hangs up after a third, under /plain it knows no ranges."""

    asked: list[str | None] = []

    def do_GET(self):
        if self.path == "/none":
            self.send_error(404)
            return
        wanted = self.headers.get("Range") if self.path != "/plain" else None
        self.asked.append(self.headers.get("Range"))
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = start + 1_000_000 if self.path == "/short" else None
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_download_is_checked_and_kept(server, tmp_path):
    file = Download("set/file.bin", f"{server}/whole", SHA256)
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert [p.name for p in (tmp_path / "set").iterdir()] == ["file.bin"]
    Handler.asked.clear()
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert Handler.asked == []  # what is there is not asked for again


@pytest.mark.parametrize("way", ["whole", "plain"])
def test_broken_download_goes_on_where_it_ended(server, tmp_path, way):
    with pytest.raises(MissingDataError, match=r"file\.bin is not there.*will be resumed"):
        fetch(Download("file.bin", f"{server}/short", SHA256), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin.part"]
    have = (tmp_path / "file.bin.part").read_bytes()
    assert 900_000 < len(have) <= 1_000_000
    assert CONTENT.startswith(have)
    Handler.asked.clear()
    path = fetch(Download("file.bin", f"{server}/{way}", SHA256), tmp_path)
    assert Handler.asked == [f"bytes={len(have)}-"]
    assert path.read_bytes() == CONTENT  # from a server without ranges it starts anew


def test_part_that_is_whole_already(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    path = fetch(Download("file.bin", f"{server}/whole", SHA256), tmp_path)
    assert path.read_bytes() == CONTENT


def test_wrong_checksum_shows_both_sums_and_keeps_the_file_aside(server, tmp_path):
    wrong = "sha256:" + "0" * 64
    with pytest.raises(ChecksumError) as caught:
        fetch(Download("file.bin", f"{server}/whole", wrong), tmp_path)
    assert "0" * 64 in str(caught.value)
    assert SHA256.removeprefix("sha256:") in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin.bad"]
    assert (tmp_path / "file.bin.bad").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["{server}/none", "http://127.0.0.1:9/file"])
def test_offline_says_what_to_place_where(server, tmp_path, url):
    url = url.format(server=server)
    with pytest.raises(MissingDataError) as caught:
        fetch(Download("set/file.bin", url, SHA256), tmp_path)
    assert str(tmp_path / "set" / "file.bin") in str(caught.value)
    assert url in str(caught.value)


def test_root_that_cannot_be_written(server, tmp_path):
    (tmp_path / "set").write_text("a file where a folder should be")
    with pytest.raises(MissingDataError, match="cannot be written"):
        fetch(Download("set/file.bin", f"{server}/whole", SHA256), tmp_path)


def test_disk_that_fills_up(server, tmp_path):
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from tabular_data.dataset import Download\n"
        "from tabular_data.fetching import fetch\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "fetch(Download('file.bin', sys.argv[1], sys.argv[2]), Path(sys.argv[3]))\n"
    )
    command = [sys.executable, "-c", code, f"{server}/whole", SHA256, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "MissingDataError" in done.stderr
    assert "cannot be written" in done.stderr
    assert not (tmp_path / "file.bin").exists()
    assert fetch(Download("file.bin", f"{server}/whole", SHA256), tmp_path).read_bytes() == CONTENT


def test_root(tmp_path, monkeypatch):
    monkeypatch.setenv("TABULAR_DATA_HOME", str(tmp_path))
    assert data_root() == tmp_path
    assert data_root("other").name == "other"
    monkeypatch.delenv("TABULAR_DATA_HOME")
    assert data_root().name == "tabular_data"
