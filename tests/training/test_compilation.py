import warnings

import pytest
import torch

from flowkit.flows import maf
from flowkit.training import Step, fit
from flowkit.training.options import Options


def test_without_a_compiler_there_is_one_warning_and_the_same_fit(monkeypatch):
    def no_compiler(loss, **options):
        def compiled(batch, generator):
            raise FileNotFoundError("no C++ compiler")

        return compiled

    monkeypatch.setattr(torch, "compile", no_compiler)
    x, flow = torch.randn(50, 2), maf(2, layers=1)
    start = {k: t.clone() for k, t in flow.state_dict().items()}
    expected = fit(flow, x, steps=5).loss
    flow.load_state_dict(start)
    with pytest.warns(UserWarning, match="not compiled") as warned:
        losses = fit(flow, x, steps=5, compile=True).loss
    assert losses == expected
    assert [str(w.message) for w in warned] == [
        "the loss is not compiled, but computed as it stands: FileNotFoundError: no C++ compiler"
    ]


def test_an_error_of_the_loss_is_no_error_of_the_compiler(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda loss, **_: loss)
    flow = maf(2, layers=1)

    def loss(batch, generator):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"), warnings.catch_warnings():
        warnings.simplefilter("error")
        step = Step(flow.parameters(), loss)
        fit(flow, torch.randn(9, 2), objective={"a": step}, steps=1, compile=True)


def test_what_is_traced_gives_the_same_losses(monkeypatch):
    """Traced as by the compiler, and run without one."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **o: compile_(f, backend="eager", **o))
    x, flow = torch.randn(50, 2), maf(2, layers=1)
    start = {k: t.clone() for k, t in flow.state_dict().items()}
    expected = fit(flow, x, steps=5).loss
    flow.load_state_dict(start)
    assert fit(flow, x, steps=5, compile=True).loss == pytest.approx(expected, abs=1e-5)


def test_auto_compiles_only_what_takes_long():
    assert not Options(compile="auto").compiles(9_999)
    assert Options(compile="auto").compiles(10_000)
    assert Options(compile=True).compiles(1)
    assert not Options().compiles(10**6)
