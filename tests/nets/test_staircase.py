"""Products that skip the zeros of a mask, against those that do not."""

import pytest
import torch
from recorded_graphs import compiled_with_graphs

from flowkit.flows import maf
from flowkit.nets import MADE, linear, matmul, staircase
from flowkit.nets.linear import Linear
from flowkit.nets.staircase import runs_of, staircase_product


def masks():
    made = MADE(40, 2, (300, 300), order=torch.randperm(40).tolist())
    first, second, output = (layer.mask for layer in (*made.net.hidden, made.net.output))
    return {
        "first": first,
        "second": second,
        "output": output,
        "lower": torch.ones(300, 300).tril(),
        "upper": torch.ones(300, 300).triu(1),
        "empty rows": torch.cat([torch.zeros(130, 7), torch.ones(20, 7)]),
        "random": torch.rand(150, 90).round(),
    }


@pytest.mark.parametrize("name", masks())
@pytest.mark.parametrize("biased", [True, False])
def test_product_and_gradients_are_those_of_the_masked_weight(name, biased):
    mask = masks()[name].double()
    out_features, in_features = mask.shape
    x = torch.randn(17, in_features, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(out_features, in_features, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(out_features, dtype=torch.float64, requires_grad=True) if biased else None
    inputs = [t for t in (x, weight, bias) if t is not None]
    ours = staircase_product(x, weight, bias, mask, runs_of(mask))
    plain = torch.nn.functional.linear(x, mask * weight, bias)
    assert torch.allclose(ours, plain, rtol=0, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(ours.sin().sum(), inputs),
        torch.autograd.grad(plain.sin().sum(), inputs),
        strict=True,
    ):
        assert torch.allclose(a, b, rtol=0, atol=1e-12)


def test_second_derivatives():
    mask = torch.ones(5, 4, dtype=torch.float64).tril()
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(
        lambda a, w: staircase_product(a, w, None, mask, runs_of(mask)), (x, weight)
    )


def test_half_of_a_staircase_is_skipped():
    runs = runs_of(torch.ones(1024, 1024).tril())
    assert staircase.share_of(runs, torch.Size([1024, 1024])) == 0.5625
    dense = runs_of(torch.rand(1024, 1024).round())
    assert staircase.share_of(dense, torch.Size([1024, 1024])) == 1.0


def test_layers_take_the_fast_path_when_it_pays_and_say_the_same(monkeypatch):
    """Wide layers on large batches go by runs; values and gradients do not notice."""
    flow = maf(30, layers=2, hidden=(256, 256))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    x = torch.randn(512, 30)

    def results():
        log_prob = flow.log_prob(x)
        return log_prob, torch.autograd.grad(log_prob.mean(), [*flow.parameters()])

    calls = 0
    product = linear.staircase_product

    def counting(*args):
        nonlocal calls
        calls += 1
        return product(*args)

    monkeypatch.setattr(linear, "staircase_product", counting)
    monkeypatch.setattr(staircase, "_WORTHWHILE_ON_FASTER_ROUTE", 2**28)  # whatever machine it is
    plain = results()
    assert calls == 0
    for limit in ("_WORTHWHILE", "_WORTHWHILE_ON_FASTER_ROUTE"):
        monkeypatch.setattr(staircase, limit, 2**24)
    fast = results()
    assert calls == 2  # the square layers; the others are too small
    assert torch.allclose(fast[0], plain[0], atol=1e-4)
    for a, b in zip(fast[1], plain[1], strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_what_is_behind_the_mask_has_no_influence_and_no_gradient(monkeypatch):
    monkeypatch.setattr(staircase, "_WORTHWHILE", 2**24)
    mask = torch.ones(256, 256).tril()
    layer = Linear(256, 256, mask=mask)
    x = torch.randn(512, 256)
    with torch.no_grad():
        before = layer(x)
        layer.weight.add_(100 * (1 - mask))
        assert torch.equal(layer(x), before)
    layer(x).square().sum().backward()
    assert (layer.weight.grad[mask == 0] == 0).all()
    assert (layer.weight.grad[mask == 1] != 0).all()


@pytest.mark.parametrize("faster_route", [True, False])
def test_compiled_products_skip_what_is_zero_too(monkeypatch, faster_route):
    monkeypatch.setattr(matmul, "_onednn_is_better", lambda: faster_route)
    # Without the faster route, only what is larger is worth it.
    monkeypatch.setattr(staircase, "_WORTHWHILE", 2**30 if faster_route else 2**24)
    layer = Linear(256, 256, mask=torch.ones(256, 256).tril())
    x = torch.randn(512, 256, requires_grad=True)
    compiled, graphs = compiled_with_graphs(layer)
    inputs = (x, *layer.parameters())
    ours = torch.autograd.grad(compiled(x).sin().sum(), inputs)
    monkeypatch.setattr(staircase, "_WORTHWHILE", float("inf"))
    plain = torch.autograd.grad(layer(x).sin().sum(), inputs)
    assert "flowkit.staircase" in graphs[0]
    for a, b in zip(ours, plain, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)


def test_autocast_and_torch_func_go_the_plain_way(monkeypatch):
    monkeypatch.setattr(staircase, "_WORTHWHILE", 2**24)
    layer = Linear(256, 256, mask=torch.ones(256, 256).tril())
    x = torch.randn(512, 256)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    stacked = torch.func.vmap(layer)(x.expand(3, 512, 256))
    assert torch.allclose(stacked[1], layer(x), atol=1e-4)


def test_the_matmul_setting_is_put_back(monkeypatch):
    monkeypatch.setattr(matmul, "_onednn_is_better", lambda: True)
    before = torch.get_float32_matmul_precision()
    try:
        for setting in ("highest", "high"):
            torch.set_float32_matmul_precision(setting)
            with matmul.fast_matmul():
                assert torch.get_float32_matmul_precision() == "medium"
            assert torch.get_float32_matmul_precision() == setting
        with pytest.raises(KeyError), matmul.fast_matmul():
            raise KeyError
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_exactness_is_measured():
    assert matmul.is_exact("highest")


def test_a_route_that_rounds_is_found_out(monkeypatch):
    matmul_ = torch.Tensor.__matmul__

    def rounding(a, b):
        if a.dtype == torch.float32:
            return matmul_(a.bfloat16(), b.bfloat16()).float()
        return matmul_(a, b)

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounding)
    assert not matmul.is_exact("medium")


def test_the_first_product_of_a_process_may_be_a_transformed_one(monkeypatch):
    """On CPUs not made by Intel the first call probes a product, which `vmap` cannot decide by."""
    monkeypatch.setattr(matmul, "_made_by_intel", lambda: False)
    matmul._onednn_is_better.cache_clear()
    layer = Linear(256, 256, mask=torch.ones(256, 256).tril())
    x = torch.randn(3, 512, 256)
    try:
        stacked = torch.func.vmap(layer)(x)
    finally:
        matmul._onednn_is_better.cache_clear()
    assert torch.allclose(stacked, layer(x), atol=1e-4)
