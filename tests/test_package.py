"""What importing does, and does not do."""

import subprocess
import sys

import pytest

import flowkit


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_importing_flowkit_imports_no_torch():
    assert run("import sys, flowkit; print('torch' in sys.modules, 'numpy' in sys.modules)") == (
        "False False"
    )


def test_reading_a_table_imports_no_torch(tmp_path):
    (tmp_path / "t.csv").write_text("x;y\n1,5;a\n2,5;b\n")
    code = f"import sys, flowkit; r = flowkit.read_table({str(tmp_path / 't.csv')!r}); "
    assert run(code + "print(r.table['x'][1], 'torch' in sys.modules)") == "2.5 False"


def test_importing_every_room_changes_nothing_global_in_torch():
    state = """
def state():
    d = torch.distributions
    return (
        d.Distribution._validate_args, torch.get_default_dtype(), torch.get_num_threads(),
        torch.is_grad_enabled(), torch.random.get_rng_state().tolist(), torch.is_deterministic(),
        torch.get_float32_matmul_precision(), torch.get_printoptions() if 0 else None,
        {n: id(v) for n, v in vars(torch).items() if not n.startswith('_')},
        {n: id(v) for n, v in vars(d).items()}, {n: id(v) for n, v in vars(torch.Tensor).items()},
        {n: id(v) for n, v in vars(torch.nn.Module).items()},
    )
"""
    code = f"""
import torch, torch.distributions, torch.func, warnings
{state.replace("torch.is_deterministic()", "torch.are_deterministic_algorithms_enabled()")}
import torch._dynamo
before = state()
import flowkit, flowkit.flows, flowkit.nets, flowkit.transforms, flowkit.testing, flowkit.training
import flowkit.cli, flowkit.errors, flowkit.estimators, flowkit.images, flowkit.metrics, flowkit.vae
after = state()
print(before == after)
"""
    assert run(code) == "True"


def test_names_are_loaded_when_asked_for():
    from flowkit.flows import Flow

    assert flowkit.Flow is Flow
    assert flowkit.transforms.Chain.__name__ == "Chain"
    assert "Flow" in dir(flowkit)
    with pytest.raises(AttributeError, match="no attribute 'flows_of_fancy'"):
        flowkit.flows_of_fancy  # noqa: B018


def test_command_line_says_what_is_installed():
    out = subprocess.run(
        [sys.executable, "-m", "flowkit.cli", "info"], capture_output=True, text=True
    )
    assert out.returncode == 0, out.stderr
    assert flowkit.__version__ in out.stdout
    assert "torch" in out.stdout


def test_command_line_help_does_not_wait_for_torch():
    code = """
import sys
from typer.testing import CliRunner
from flowkit.cli import app
result = CliRunner().invoke(app, ['--help'])
print(result.exit_code, 'info' in result.output, 'torch' in sys.modules)
"""
    assert run(code) == "0 True False"
