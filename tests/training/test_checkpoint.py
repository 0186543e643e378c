import subprocess
import sys
from pathlib import Path

import pytest
import resumable
import torch

from flowkit.errors import ArgumentError, ModelFileError, TrainingError
from flowkit.files import read_file, save
from flowkit.flows import maf, nice
from flowkit.training import fit


def state_of(models):
    return [dict(model.state_dict()) for model in models]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A folder with the checkpoints of fits that were killed."""
    folder = tmp_path_factory.mktemp("killed")
    program = Path(resumable.__file__)
    subprocess.run([sys.executable, program, folder], check=True, timeout=120)
    return folder


@pytest.mark.parametrize("name", resumable.KILLED)
def test_a_killed_fit_ends_as_if_nothing_had_happened(name, killed):
    done = read_file(killed / name)[1]["loop"]["step"]
    last = resumable.KILLED[name][-1]
    assert 0 < done < last <= done + 7
    expected, histories = resumable.run(name)
    taken = []
    models, resumed = resumable.run(
        name, checkpoint=killed / name, callbacks=[lambda state: taken.append(state.step)]
    )
    assert resumed == histories
    assert taken[0] == done + 1
    for before, after in zip(state_of(expected), state_of(models), strict=True):
        assert before.keys() == after.keys()
        for key in before:
            assert torch.equal(before[key], after[key]), key
    # And once it has ended, nothing is done again.
    models, again = resumable.run(name, checkpoint=killed / name, callbacks=[taken.clear])
    assert again == histories
    assert all(
        torch.equal(before[key], after[key])
        for before, after in zip(state_of(expected), state_of(models), strict=True)
        for key in before
    )


def test_one_of_them_would_have_ended_early():
    history = resumable.run("everything")[1][0]
    assert history.stopped == "patience"
    assert history.best_step < resumable.KILLED["everything"][-1] < len(history.loss)


@pytest.fixture
def started(tmp_path):
    """A fit that its callback ended before its time, and its arguments."""
    x = torch.arange(6000.0).reshape(3000, 2) / 1000
    arguments = {
        "data": x,
        "context": x[:, :1].clone(),
        "weights": torch.ones(3000),
        "validation": (x[:10] + 1, x[:10, :1]),
        "steps": 4,
        "learning_rate": 1e-3,
        "checkpoint": tmp_path / "run.safetensors",
    }
    now = iter(range(10))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.monotonic", lambda: next(now))
        history = fit(maf(2, layers=1, context_features=1), **arguments, max_seconds=1)
    assert history.stopped == "max_seconds"
    assert len(history.loss) == 2
    return arguments


def changed(tensor, row):
    other = tensor.clone()
    other[row] += 1
    return other


@pytest.mark.parametrize(
    ("argument", "message", "change"),
    [
        ("data", "rows 2048 to 2999 of data differ", lambda a: {"data": changed(a["data"], 2999)}),
        ("data", "rows 1024 to 2047 of data differ", lambda a: {"data": changed(a["data"], 1024)}),
        (
            "data",
            r"data of shape \(2999, 2\)",
            lambda a: {
                "data": a["data"][1:],
                "context": a["context"][1:],
                "weights": a["weights"][1:],
            },
        ),
        (
            "data",
            "rows 0 to 1023 of context differ",
            lambda a: {"context": changed(a["context"], 5)},
        ),
        ("data", "weights of no rows", lambda _: {"weights": None}),
        (
            "data",
            "rows 0 to 9 of validation differ",
            lambda a: {"validation": (a["validation"][0] + 1, a["validation"][1])},
        ),
        ("learning_rate", "expected 0.001, as in the checkpoint", lambda _: {"learning_rate": 0.1}),
        ("steps", "expected 4, as in the checkpoint", lambda _: {"steps": 9}),
        ("seed", "expected .0., as in the checkpoint", lambda _: {"seed": 3}),
        ("average", "expected None, as in the checkpoint", lambda _: {"average": 0.9}),
        ("schedule", "expected 'cosine'", lambda _: {"schedule": abs}),
    ],
)
def test_other_data_and_other_arguments_are_refused(argument, message, change, started):
    content = started["checkpoint"].read_bytes()
    with pytest.raises(ArgumentError, match=f"^{argument}: .*{message}"):
        fit(maf(2, layers=1, context_features=1), **{**started, **change(started)})
    assert started["checkpoint"].read_bytes() == content


@pytest.mark.parametrize(
    ("model", "difference"),
    [
        (lambda: maf(2, layers=2, context_features=1), "transform"),
        (
            lambda: maf(2, layers=1, hidden=(9, 9), context_features=1),
            "out_features=128.* in the file",
        ),
        (lambda: nice(2, context_features=1), " is .* in the file, and .* in the model. Give"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(model, difference, started):
    with pytest.raises(ModelFileError, match=f"a checkpoint of another model: .*{difference}"):
        fit(model(), **started)


def test_what_time_ended_goes_on_where_it_was(started):
    torch.manual_seed(5)
    flow = maf(2, layers=1, context_features=1)
    assert len(fit(flow, **started).loss) == 4


def test_other_files_are_refused(tmp_path):
    x, path = torch.randn(20, 2), tmp_path / "file"
    flow = maf(2, layers=1)
    save(flow, path)
    with pytest.raises(ModelFileError, match="holds a 'flow', not a 'checkpoint'"):
        fit(flow, x, steps=2, checkpoint=path)
    fit(flow, x, steps=2, checkpoint=path, resume=False)
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(ModelFileError, match="truncated"):
        fit(flow, x, steps=2, checkpoint=path)
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ModelFileError, match="not a safetensors file"):
        fit(flow, x, steps=2, checkpoint=path)


def test_a_failed_fit_keeps_its_checkpoint(tmp_path):
    flow, path = maf(2, layers=1), tmp_path / "run"

    def spoil(state):
        if state.step == 9:
            with torch.no_grad():
                next(flow.parameters()).fill_(torch.inf)

    with pytest.raises(TrainingError, match="step 10 is"):
        fit(
            flow, torch.randn(50, 2), steps=20, checkpoint=path, checkpoint_every=4,
            callbacks=[spoil],
        )  # fmt: skip
    assert read_file(path)[1]["loop"]["step"] == 8
