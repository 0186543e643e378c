import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import several_processes
import torch

from flowkit.errors import ArgumentError
from flowkit.files import read_file
from flowkit.flows import maf
from flowkit.training import fit
from flowkit.training.processes import Processes, device_of


def test_two_processes_train_as_one_and_do_not_outlive_each_other(tmp_path):
    """Both in one launch, as starting takes the longest."""
    out = tmp_path / "out.json"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What torchrun sets; but torchrun would end the other process itself.
    common = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "test",
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, Path(several_processes.__file__), out],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [1, 3]
    assert "TrainingError: another process of this fit has died" in errors[0]
    loss, validation, log_prob = json.loads(out.read_text())

    torch.manual_seed(0)
    alone = several_processes.run()
    assert loss == pytest.approx(alone[0], abs=1e-5)
    assert [score for _, score in validation] == pytest.approx(
        [score for _, score in alone[1]], abs=1e-5
    )
    assert log_prob == pytest.approx(alone[2], abs=1e-3)
    assert read_file(out.with_suffix(".safetensors"))[1]["loop"]["finished"]


def test_shares_cover_a_batch_in_order():
    for size in (1, 2, 3, 7):
        for rows in (7, 8, 100):
            shares = [Processes(torch.device("cpu"), r, size).share(rows) for r in range(size)]
            assert [i for share in shares for i in range(rows)[share]] == list(range(rows))
            assert max(s.stop - s.start for s in shares) <= -(-rows // size)


def test_devices():
    flow = maf(2, layers=1)
    assert device_of(flow, "cpu") == torch.device("cpu")
    if not torch.cuda.is_available():
        assert device_of(flow, "auto") == torch.device("cpu")
        with pytest.raises(ArgumentError, match="device: expected a device of this machine"):
            fit(flow, torch.randn(9, 2), device="cuda")
