"""The inverse of a masked autoregressive layer, against the plain one of D passes."""

import gc

import pytest
import torch
from torch import nn

from flowkit.flows import iaf, maf
from flowkit.nets import MADE
from flowkit.transforms import (
    Affine,
    GaussianMixture,
    MaskedAutoregressive,
    RationalQuadraticSpline,
    Shift,
    autoregressive_inverse,
)
from flowkit.transforms.autoregressive_inverse import by_passes

MAPS = {
    "shift": Shift(),
    "affine": Affine(),
    "spline": RationalQuadraticSpline(bins=4),
    "mixed tails": RationalQuadraticSpline(
        bins=4, bound=(2.0, 3.0, 4.0, 5.0, 6.0), tails=("linear", "circular") * 2 + ("linear",)
    ),
    "mixture": GaussianMixture(2),
}


def made_layer(univariate, features=5, hidden=(12, 12), *, context=0, dtype=torch.float64, **made):
    """Return a layer with random weights, and its features in a random order."""
    net = MADE(
        features,
        univariate.parameters,
        hidden,
        context_features=context,
        order=torch.randperm(features).tolist(),
        **made,
    )
    layer = MaskedAutoregressive(net, univariate).to(dtype)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(0, 0.3)
    return layer


def plain_inverse(layer, z, context):
    return by_passes(layer.made, layer.univariate, z, context)


def points(layer, rows=9, dtype=torch.float64):
    z = torch.randn(rows, layer.features, dtype=dtype, requires_grad=True)
    if layer.context_features == 0:
        return z, None
    return z, torch.randn(rows, layer.context_features, dtype=dtype, requires_grad=True)


def assert_close(ours, plain, tolerance):
    for a, b in zip(ours, plain, strict=True):
        a = torch.zeros_like(b) if a is None else a
        assert ((a - b).abs() <= tolerance * b.abs().clamp(min=1)).all()


def derivatives(result, layer, z, context, **options):
    x, logabsdet = result
    scalar = (x * x).sum() + (logabsdet.sin()).sum()
    inputs = [t for t in (z, context, *layer.parameters()) if t is not None]
    return torch.autograd.grad(scalar, inputs, materialize_grads=True, **options)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("hidden", [(12, 12), (3, 3)], ids=["wide", "narrow"])
def test_one_pass_equals_d_passes_with_its_gradients(name, residual, context, hidden):
    layer = made_layer(MAPS[name], hidden=hidden, context=context, residual=residual)
    z, c = points(layer)
    ours, plain = layer.inverse(z, c), plain_inverse(layer, z, c)
    assert_close(ours, plain, 1e-10)
    assert_close(derivatives(ours, layer, z, c), derivatives(plain, layer, z, c), 1e-8)


@pytest.mark.parametrize("activation", ["relu", "tanh", "elu", "silu", "gelu"])
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("features", [1, 2, 40])
def test_many_features_in_several_blocks(features, residual, activation):
    layer = made_layer(Affine(), features, (64, 64), residual=residual, activation=activation)
    with torch.no_grad():  # or forty features of random weights blow up
        layer.made.net.output.weight.mul_(0.1)
    z, _ = points(layer)
    ours, plain = layer.inverse(z), plain_inverse(layer, z, None)
    assert_close(ours, plain, 1e-10)
    assert_close(derivatives(ours, layer, z, None), derivatives(plain, layer, z, None), 1e-8)


def test_float32_to_rounding():
    layer = made_layer(Affine(), 20, (64, 64), dtype=torch.float32)
    with torch.no_grad():
        layer.made.net.output.weight.mul_(0.1)
    z, _ = points(layer, 1000, torch.float32)
    assert_close(layer.inverse(z), plain_inverse(layer, z, None), 1e-5)


def test_second_derivatives():
    layer = made_layer(Affine(), 4, (8,), activation="tanh")
    z, _ = points(layer)

    def second(result):
        first = derivatives(result, layer, z, None, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), [*layer.parameters(), z])

    assert_close(second(layer.inverse(z)), second(plain_inverse(layer, z, None)), 1e-7)


@pytest.mark.parametrize("name", ["shift", "affine"])
def test_frozen_weights_leave_the_gradient_of_the_latent(name):
    layer = made_layer(MAPS[name]).requires_grad_(False)
    z, _ = points(layer)
    (ours,) = torch.autograd.grad(layer.inverse(z)[0].sin().sum(), z)
    (plain,) = torch.autograd.grad(plain_inverse(layer, z, None)[0].sin().sum(), z)
    assert_close([ours], [plain], 1e-10)


def test_second_derivatives_of_a_map_that_keeps_volume():
    layer = made_layer(Shift(), 4, (8,), activation="tanh")
    z, _ = points(layer)

    def second(x):
        (first,) = torch.autograd.grad(x.sin().sum(), z, create_graph=True)
        return torch.autograd.grad(first.square().sum(), [*layer.parameters(), z])

    assert_close(
        second(layer.inverse(z)[0]),
        second(plain_inverse(layer, z, None)[0]),
        1e-7,
    )


def test_gradcheck():
    layer = made_layer(RationalQuadraticSpline(bins=3), 3, (8,), context=2, activation="tanh")
    assert torch.autograd.gradcheck(layer.inverse, points(layer, 4))


def test_all_steps_together_multiply_less_than_one_pass(monkeypatch):
    """Each unit once: no more multiply-adds than one dense pass, whatever the features."""
    layer = made_layer(Affine(), 50, (128, 128))
    spent = 0
    addmm = torch.addmm

    def counting(pre, weight, values, **options):
        nonlocal spent
        spent += weight.shape[0] * weight.shape[1] * values.shape[1]
        return addmm(pre, weight, values, **options)

    monkeypatch.setattr(torch, "addmm", counting)
    with torch.no_grad():
        layer.inverse(torch.randn(10, 50, dtype=torch.float64))
    dense = 10 * (50 * 128 + 128 * 128 + 128 * 100)
    staircase = 10 * sum(int(m.mask.sum()) for m in layer.modules() if hasattr(m, "mask"))
    assert staircase <= spent < 0.7 * dense


@pytest.mark.parametrize("residual", [False, True])
def test_an_inverse_and_its_gradient_leave_no_reference_cycles(residual):
    """Freed when the last name goes: memory does not wait for the garbage collector."""
    layer = made_layer(Affine(), 5, (12, 12, 12), residual=residual)
    z, _ = points(layer, 37)  # no width of the layer, so that its tensors are known by it
    layer.inverse(z)[0].sum().backward()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        layer.inverse(z)[0].sum().backward()
        gc.collect()
        assert not [part for part in gc.garbage if type(part) is torch.Tensor and 37 in part.shape]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_batches_larger_than_a_tile(monkeypatch):
    layer = made_layer(Affine(), context=3)
    z, c = points(layer, 1000)
    whole = layer.inverse(z, c)
    monkeypatch.setattr(autoregressive_inverse, "_TILE_BYTES", 1)
    assert_close(layer.inverse(z, c), whole, 1e-12)


def test_batch_shapes_and_broadcast_context():
    layer = made_layer(Affine(), context=3)
    c = torch.randn(7, 3, dtype=torch.float64)
    for shape in ((4, 7, 5), (4, 1, 5), (5,), (0, 7, 5)):
        z = torch.randn(shape, dtype=torch.float64)
        assert_close(layer.inverse(z, c), plain_inverse(layer, z, c), 1e-10)


@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
def test_a_single_row_and_the_weights_left_alone(residual):
    layer = made_layer(Affine(), residual=residual)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    z = torch.randn(3, 5, dtype=torch.float64)
    whole, _ = layer.inverse(z)
    for row, expected in zip(z, whole, strict=True):
        assert_close(layer.inverse(row)[:1], [expected], 1e-12)
    for name, tensor in layer.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_nan_stays_in_its_row_and_an_outlier_finite():
    layer = made_layer(Affine(), 20, (64, 64))
    z = torch.randn(4, 20, dtype=torch.float64)
    expected, _ = layer.inverse(z)
    z[1, 3] = float("nan")
    z[2] = 1e6
    x, logabsdet = layer.inverse(z)
    assert torch.equal(x[[0, 3]], expected[[0, 3]])
    assert logabsdet[1].isnan()
    assert x[2].isfinite().all()


class Plain(nn.Module):
    """A conditioner that is autoregressive, backwards, and that flowkit knows nothing of."""

    features, outputs_per_feature, context_features = 6, 2, 0

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(12, 6, dtype=torch.float64))

    def forward(self, x, context=None):
        mask = torch.ones(6, 6, dtype=x.dtype).triu(1).repeat_interleave(2, 0)
        return torch.tanh(x @ (mask * self.weight).T).unflatten(-1, (6, 2))


def test_another_conditioner_is_inverted_by_sweeps():
    layer = MaskedAutoregressive(Plain(), Affine())
    z, _ = points(layer)
    ours, plain = layer.inverse(z), plain_inverse(layer, z, None)
    assert_close(ours, plain, 1e-12)
    assert_close(layer(ours[0])[0:1], [z], 1e-12)
    assert_close(derivatives(ours, layer, z, None), derivatives(plain, layer, z, None), 1e-10)
    assert 2 <= layer.sweeps <= 6
    with torch.no_grad():
        layer.made.weight.zero_()
        layer.inverse(z)
    assert layer.sweeps == 2  # one to solve, one to see that nothing moves


def test_changed_weights_are_seen_and_weights_changed_before_backward_refused():
    layer = made_layer(Affine())
    z, _ = points(layer)
    before, _ = layer.inverse(z)
    with torch.no_grad():
        layer.made.net.output.weight.mul_(1.5)
    after, _ = layer.inverse(z)
    assert not torch.equal(before, after)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        before.sum().backward()


def test_torch_func_sees_through_the_inverse():
    layer = made_layer(Affine())
    z, _ = points(layer, 3)
    z = z.detach()
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: layer.inverse(row)[0]))(z)
    expected = torch.stack([torch.autograd.functional.jacobian(by_value(layer), row) for row in z])
    assert_close([jacobian], [expected], 1e-10)
    doubled = {name: 2 * p.detach() for name, p in layer.named_parameters()}
    x = torch.func.functional_call(
        Inverted(layer), {f"layer.{k}": v for k, v in doubled.items()}, z
    )
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(2)
    assert_close([x], [layer.inverse(z)[0]], 1e-12)


class Inverted(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, z):
        return self.layer.inverse(z)[0]


def by_value(layer):
    return lambda row: plain_inverse(layer, row, None)[0]


def test_iaf_trains_by_its_slow_direction():
    """The likelihood of data under an IAF goes through the inverse, gradients and all."""
    flow = iaf(3, layers=2, hidden=(16, 16))
    x = torch.randn(512, 3) @ torch.tensor([[1.0, 0.8, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 0.2]])
    optimizer = torch.optim.Adam(flow.parameters(), 1e-2)
    first = None
    for _ in range(150):
        optimizer.zero_grad()
        loss = -flow.log_prob(x).mean()
        first = first or loss.item()
        loss.backward()
        optimizer.step()
    covariance = x.T.cov()
    gaussian = 1.5 * (1 + torch.log(torch.tensor(2 * torch.pi))) + 0.5 * covariance.logdet()
    assert loss.item() < first - 0.5
    assert abs(loss.item() - gaussian.item()) < 0.1


def test_rsample_of_a_maf_has_the_gradient_of_the_plain_inverse():
    flow = maf(4, layers=3, hidden=(16, 16)).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.normal_(0, 0.2)
    generator = torch.Generator().manual_seed(1)
    x = flow.sample((64,), generator=generator)
    (-0.5 * x.square().sum(-1)).mean().backward()
    ours = [p.grad.clone() for p in flow.parameters()]
    z = flow.base.sample((64,), None, torch.Generator().manual_seed(1)).double()
    flow.zero_grad()
    for layer in reversed(flow.transform.transforms):
        z, _ = plain_inverse(layer, z, None)
    assert torch.allclose(z, x, atol=1e-10)
    (-0.5 * z.square().sum(-1)).mean().backward()
    assert_close(ours, [p.grad for p in flow.parameters()], 1e-10)
