"""The C++ kernels of masked networks, against torch's operators."""

import copy
import functools
import warnings

import pytest
import torch
from recorded_graphs import compiled_with_graphs

from flowkit.flows import maf
from flowkit.nets import MADE, KernelError, build_kernels, kernels
from flowkit.nets.linear import Linear
from flowkit.transforms import Affine
from flowkit.transforms.autoregressive_inverse import one_pass


@functools.cache
def _loaded() -> bool:
    try:
        build_kernels()
    except KernelError:
        return False
    kernels._built = False  # other tests are of torch's operators
    return True


@pytest.fixture
def use(monkeypatch):
    """Return a function that turns the kernels on and off, on at first."""
    if not _loaded():
        pytest.skip("no C++ compiler")

    def switch(on):
        monkeypatch.setattr(kernels, "available", lambda: on)

    switch(True)
    return switch


@pytest.fixture
def calls(monkeypatch):
    """Return a list that grows by one entry for each network that the kernels compute."""
    done = []
    original = kernels.masked_mlp
    monkeypatch.setattr(kernels, "masked_mlp", lambda *args: done.append(1) or original(*args))
    return done


def perturbed(module):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * p.shape[-1] ** -0.5 * torch.randn_like(p))
    return module


def error(a, b):
    return ((a.double() - b).norm() / b.norm().clamp(min=1e-3)).item()


NETWORKS = {
    "wide": (lambda: MADE(63, 2, (512, 512)), 100),
    "several chunks of rows": (lambda: MADE(9, 2, (40, 70)), 1100),
    "unsorted inputs": (lambda: MADE(40, 3, (100, 33), order=torch.randperm(40).tolist()), 77),
    "reversed": (lambda: MADE(6, 2, (100, 100), order=range(6)[::-1]), 512),
    "context": (lambda: MADE(5, 2, (30, 30), context_features=3), 50),
    "one hidden layer": (lambda: MADE(4, 1, (17,)), 13),
    "deep": (lambda: MADE(8, 2, (64, 50, 40, 64)), 25),
    "residual": (lambda: MADE(10, 2, (48, 48), residual=True), 30),
    "tanh": (lambda: MADE(10, 2, (48, 48), activation="tanh"), 30),
    "direct connections": (lambda: MADE(30, 2, (8, 8)), 20),
    "one feature": (lambda: MADE(1, 2, (5, 5)), 3),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_values_and_gradients_are_those_of_torch(use, calls, name):
    make, batch = NETWORKS[name]
    made = perturbed(make())
    x = torch.randn(batch, made.features)
    context = torch.randn(batch, made.context_features) if made.context_features else None

    def results(made, *inputs):
        given = [t.requires_grad_() for t in inputs if t is not None]
        out = made(*inputs)
        return [out, *torch.autograd.grad(out.sin().sum(), [*given, *made.parameters()])]

    ours = results(made, x, context)
    assert calls
    use(on=False)
    exact = results(
        copy.deepcopy(made).double(),
        *(t if t is None else t.detach().double() for t in (x, context)),
    )
    for a, b in zip(ours, exact, strict=True):
        assert error(a, b) < 3e-6


def test_a_row_of_context_is_broadcast(use):
    made = perturbed(MADE(4, 2, (20, 20), context_features=2))
    x, context = torch.randn(1, 4), torch.randn(7, 1, 2)
    ours = made(x, context)
    use(on=False)
    assert ours.shape == (7, 1, 4, 2)
    assert torch.allclose(ours, made(x, context), atol=1e-6)


@pytest.mark.parametrize("context_features", [0, 3])
@pytest.mark.parametrize(("features", "width"), [(2, 9), (6, 100), (43, 200)])
@pytest.mark.parametrize("batch", [1, 33, 200])
def test_inverse_is_that_of_the_sweep(use, features, width, context_features, batch):
    options = {"context_features": context_features, "hidden": (width, width)}
    flow = perturbed(maf(features, layers=2, **options)).double().float()
    context = torch.randn(batch, context_features) if context_features else None
    z = torch.randn(batch, features)
    x, logabsdet = flow.transform.inverse(z, context)
    gradients = torch.autograd.grad(x.square().sum() + logabsdet.sum(), [*flow.parameters()])
    use(on=False)
    plain, plain_logabsdet = flow.transform.inverse(z, context)
    loss = plain.square().sum() + plain_logabsdet.sum()
    assert torch.allclose(x, plain, rtol=1e-4, atol=1e-5)
    assert torch.allclose(logabsdet, plain_logabsdet, rtol=1e-4, atol=1e-5)
    for a, b in zip(gradients, torch.autograd.grad(loss, [*flow.parameters()]), strict=True):
        assert error(a, b.double()) < 1e-4


@torch.no_grad()
def test_inverse_without_a_bound_and_of_outliers(use):
    made = perturbed(MADE(5, 2, (30, 30), order=(3, 1, 4, 0, 2)))
    z = torch.randn(40, 5) * 10.0 ** torch.arange(40)[:, None].div(5)
    for affine in (Affine(), Affine(bound=None), Affine(bound=0.5)):
        use(on=True)
        x, logabsdet = one_pass(made, affine, z, None)
        use(on=False)
        plain, plain_logabsdet = one_pass(made, affine, z, None)
        ok = plain.isfinite()
        assert ok.any(1).all()
        assert torch.allclose(x[:5], plain[:5], rtol=1e-4, atol=1e-5)
        assert torch.equal(x.isfinite(), ok)
        assert torch.allclose(logabsdet[:5], plain_logabsdet[:5], rtol=1e-4, atol=1e-5)


def test_nan_stays_in_its_row(use):
    flow = perturbed(maf(6, layers=2, hidden=(40, 40)))
    x = torch.randn(64, 6)
    whole, latent = flow.log_prob(x), flow.transform.inverse(x)[0]
    x[17, 0] = float("nan")
    others = torch.arange(64) != 17
    for now, before in ((flow.log_prob(x), whole), (flow.transform.inverse(x)[0], latent)):
        assert now[17].isnan().any()
        assert torch.equal(now[others], before[others])


def test_what_is_behind_the_mask_has_no_influence_and_no_gradient(use):
    layer = Linear(256, 256, mask=torch.ones(256, 256).tril())
    x = torch.randn(50, 256)
    before = layer(x).detach()
    with torch.no_grad():
        layer.weight.add_(100 * (1 - layer.mask))
    assert torch.equal(layer(x), before)
    layer(x).square().sum().backward()
    assert (layer.weight.grad[layer.mask == 0] == 0).all()
    assert (layer.weight.grad[layer.mask == 1] != 0).all()


def test_second_derivatives(use):
    made = perturbed(MADE(5, 2, (20, 20)))
    x = torch.randn(8, 5)

    def penalty(made, x):
        x = x.requires_grad_()
        (slope,) = torch.autograd.grad(made(x).sin().sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), [x, *made.parameters()])

    ours = penalty(made, x)
    use(on=False)
    for a, b in zip(ours, penalty(copy.deepcopy(made).double(), x.detach().double()), strict=True):
        assert error(a, b) < 1e-5


def test_gradients_of_a_part_of_the_parameters(use):
    made = perturbed(MADE(5, 2, (20, 20)))
    made.net.hidden[0].weight.requires_grad_(False)
    x = torch.randn(8, 5)
    made(x).sum().backward()
    assert made.net.hidden[0].weight.grad is None
    bias = made.net.hidden[0].bias.grad
    use(on=False)
    made.zero_grad()
    made(x).sum().backward()
    assert torch.allclose(bias, made.net.hidden[0].bias.grad, rtol=1e-4, atol=1e-5)


def test_compiled_networks_take_the_kernels(use):
    made = perturbed(MADE(20, 2, (64, 64)))
    x = torch.randn(64, 20, requires_grad=True)
    compiled, graphs = compiled_with_graphs(made)
    inputs = (x, *made.parameters())
    ours = torch.autograd.grad(compiled(x).sin().sum(), inputs)
    assert "flowkit_kernels.masked_mlp" in graphs[0]
    assert torch.allclose(compiled(x), made(x), atol=1e-6)
    use(on=False)
    for a, b in zip(ours, torch.autograd.grad(made(x).sin().sum(), inputs), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)


def test_operators_keep_the_promises_of_torch(use):
    layers = [*MADE(4, 2, (10, 10)).net.hidden]
    operands = (
        [p.detach() for p in some]
        for some in kernels.Operands(
            [m.weight for m in layers],
            [m.bias for m in layers],
            [m.mask for m in layers],
            [m.bounds for m in layers],
        )
    )
    x = torch.randn(6, 4, requires_grad=True)
    tests = ("test_schema", "test_faketensor", "test_autograd_registration")
    op = torch.ops.flowkit_kernels.masked_mlp.default
    torch.library.opcheck(op, (x, *operands, []), test_utils=tests)


def test_other_ways_to_compute_are_those_of_torch(use, calls):
    made = perturbed(MADE(6, 2, (20, 20)))
    x = torch.randn(8, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert made(x).dtype == torch.bfloat16
    torch.func.vmap(made)(x.expand(3, 8, 6))
    torch.func.jacrev(lambda x: made(x))(x)
    copy.deepcopy(made).double()(x.double())
    made(x[:0])
    assert not calls
    seen = []
    made.net.hidden[0].register_forward_hook(lambda *_: seen.append(1))
    made(x)
    assert seen  # layer by layer, as hooks expect
    assert len(calls) == 3


def test_results_are_equal_bit_by_bit_for_any_number_of_threads(use):
    made = perturbed(MADE(43, 2, (256, 256)))
    x = torch.randn(700, 43)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 1):
            torch.set_num_threads(threads)
            out = made(x)
            gradients = torch.autograd.grad(out.sin().sum(), [*made.parameters()])
            results.append([out, *gradients, made.affine_sweep(x, None, 5.0)])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


def test_bounds_of_a_mask():
    mask = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 1]])
    assert kernels.bounds_of(mask).tolist() == [1, 3, 0, 0, 0, 4, 2, 3, 0, 1, 0, 1, 2, 3]


def test_without_a_compiler_there_is_an_error_or_one_warning(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setattr(kernels, "_built", False)
    kernels._built_by_environment.cache_clear()
    made, x = MADE(3, 2, (8, 8)), torch.randn(4, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(x)  # nothing is built unasked
    with pytest.raises(KernelError, match="compiler|clang"):
        build_kernels()
    monkeypatch.setenv(kernels.VARIABLE, "1")
    try:
        with pytest.warns(UserWarning, match="cannot be built") as caught:
            made(torch.cat([made(x).detach()[..., 0], x]))
    finally:
        kernels._built_by_environment.cache_clear()
    assert len(caught) == 1
