"""Side by side with nflows: its parts inside ours and ours inside its; and its bugs, not ours."""

import inspect
import math
import warnings

import pytest
import torch
from torch import nn

nflows_transforms = pytest.importorskip("nflows.transforms", reason="the extra [nflows] is needed")

from nflows.distributions import DiagonalNormal as TheirDiagonalNormal
from nflows.distributions import StandardNormal as TheirNormal
from nflows.distributions.uniform import BoxUniform as TheirBoxUniform
from nflows.flows.base import Flow as TheirFlow
from nflows.flows.realnvp import SimpleRealNVP
from nflows.nn.nets import ResidualNet
from nflows.transforms.made import MADE as TheirMADE
from nflows.transforms.splines.rational_quadratic import unconstrained_rational_quadratic_spline
from zoo import perturb_

from flowkit.flows import BoxUniform, DiagonalNormal, Flow, StandardNormal, maf, nsf, real_nvp
from flowkit.interop import from_nflows
from flowkit.nets import MADE, ResNet
from flowkit.transforms import (
    ActNorm,
    BatchNorm,
    Coupling,
    Elementwise,
    Identity,
    Interval,
    Inverse,
    LULinear,
    RationalQuadraticSpline,
)

# ------------------------------------------------------------------ inside each other


@pytest.mark.parametrize("context", [0, 2])
def test_an_nflows_transform_inside_a_flowkit_flow(context):
    theirs = nflows_transforms.MaskedAffineAutoregressiveTransform(
        features=3, hidden_features=16, context_features=context or None
    )
    flow = Flow(theirs, StandardNormal(3), context_features=context)
    x, c = torch.randn(5, 4, 3), torch.randn(5, 4, context) if context else None
    log_prob = flow.log_prob(x, c)
    assert log_prob.shape == (5, 4)
    rows = x.reshape(-1, 3), None if c is None else c.reshape(-1, context)
    reference = TheirFlow(theirs, TheirNormal([3])).log_prob(*rows)
    assert torch.allclose(log_prob.reshape(-1), reference, atol=1e-5)
    sample = flow.sample((7,), None if c is None else c[0])
    assert sample.shape == ((7, 4, 3) if context else (7, 3))


@pytest.mark.parametrize("context", [0, 2])
def test_a_flowkit_transform_inside_an_nflows_flow(context):
    ours = maf(3, context_features=context, hidden=(16,), layers=2)
    perturb_(ours, 0.1)
    flow = TheirFlow(ours.transform, TheirNormal([3]))
    x, c = torch.randn(20, 3), torch.randn(20, context) if context else None
    assert torch.allclose(flow.log_prob(x, c), ours.log_prob(x, c), atol=1e-5)
    assert flow.sample(6, c).shape == ((20, 6, 3) if context else (6, 3))


# ------------------------------------------------------------------ parity with copied weights


def copy_linear(ours: nn.Linear, theirs: nn.Linear) -> None:
    with torch.no_grad():
        ours.weight.copy_(theirs.weight)
        ours.bias.copy_(theirs.bias)


def same(ours, theirs, x, inverse=False):
    """Value, log-det and gradient of their sum agree to 1e-6."""
    results = []
    for module in (ours, theirs):
        leaf = x.clone().requires_grad_()
        value, logabsdet = (module.inverse if inverse else module)(leaf)
        (gradient,) = torch.autograd.grad(value.sin().sum() + logabsdet.sum(), leaf)
        results.append((value, logabsdet, gradient))
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-6), (a - b).abs().max()


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_affine_made_agrees_with_nflows(residual, inverse):
    theirs = nflows_transforms.MaskedAffineAutoregressiveTransform(
        features=5, hidden_features=16, num_blocks=2, use_residual_blocks=residual
    ).double()
    perturb_(theirs, 0.1)
    ours = from_nflows(TheirFlow(theirs, TheirNormal([5])))
    same(ours.transform, theirs, torch.randn(200, 5, dtype=torch.float64), inverse)


@pytest.mark.parametrize("inverse", [False, True])
def test_rational_quadratic_coupling_agrees_with_nflows(inverse):
    bins, hidden, mask = 6, 16, torch.tensor([1, -1, 1, -1])
    theirs = nflows_transforms.PiecewiseRationalQuadraticCouplingTransform(
        mask,
        lambda i, o: ResidualNet(i, o, hidden_features=hidden),
        num_bins=bins,
        tails="linear",
        tail_bound=3.0,
    ).double()
    perturb_(theirs, 0.3)
    net = ResNet(2, 2 * (3 * bins - 1), (hidden, hidden))
    spline = RationalQuadraticSpline(bins, bound=3.0, limit=None)
    ours = Coupling(mask > 0, net, spline).double()
    copy_linear(net.input, theirs.transform_net.initial_layer)
    for block, block_theirs in zip(net.blocks, theirs.transform_net.blocks, strict=True):
        copy_linear(block.first, block_theirs.linear_layers[0])
        copy_linear(block.second, block_theirs.linear_layers[1])
    copy_linear(net.output, theirs.transform_net.final_layer)
    with torch.no_grad():
        # They divide widths and heights by sqrt(hidden); our zero derivative means 1, theirs not.
        w = net.output.weight.view(2, 3 * bins - 1, hidden)
        b = net.output.bias.view(2, 3 * bins - 1)
        w[:, : 2 * bins] /= hidden**0.5
        b[:, : 2 * bins] /= hidden**0.5
        b[:, 2 * bins :] -= math.log(math.expm1(1 - 1e-3))
    x = torch.cat([torch.randn(200, 4), 4 * torch.randn(50, 4)]).double()
    same(ours, theirs, x, inverse)


# ------------------------------------------------------------------ bugs: theirs fails, ours passes
# Each test shows the failure first, so that it is news when nflows mends it.


def test_batch_norm_before_and_after_training():
    theirs, ours = nflows_transforms.BatchNorm(3).eval(), BatchNorm(3).eval()
    x = torch.ones(4, 3)
    assert theirs(x)[0].abs().max() > 100
    assert ours(x)[0].abs().max() < 1.01
    theirs.train(), ours.train()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert theirs(x[:1])[0].isnan().any()
    with pytest.raises(ValueError, match="at least two rows"):
        ours(x[:1])


def test_made_dependencies_below_full_width():
    def reached(made):
        jacobian = torch.func.vmap(torch.func.jacrev(lambda x: made(x).reshape(-1)))
        return int((jacobian(torch.randn(16, 43)).abs().sum((0, 1)) > 0).sum())

    theirs = TheirMADE(43, 20, num_blocks=1, output_multiplier=1)
    ours = MADE(43, 1, (20, 20), activation="tanh")
    assert reached(theirs) < 30
    assert reached(ours) == 42


def test_a_fresh_autoregressive_spline_is_the_identity():
    """Theirs looks for an attribute that its MADE does not have, and skips the paper's scaling."""
    theirs = nflows_transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
        features=3, hidden_features=64, num_bins=8, tails="linear", tail_bound=3.0
    )
    assert not hasattr(theirs.autoregressive_net, "hidden_features")
    x = torch.randn(50, 3)
    assert (theirs(x)[0] - x).abs().max() > 1e-2
    assert (nsf(3, layers=1).transform(x)[0] - x).abs().max() < 1e-5


def test_squashing_a_large_number():
    x = torch.full((1, 1), 12.0)
    assert nflows_transforms.Tanh()(x)[1] == -math.inf
    assert Inverse(Interval(1, -1.0, 1.0))(x)[1].isfinite()


def test_the_derivative_is_continuous_where_a_map_changes_its_form():
    def jump(transform, cut):
        x = torch.tensor([[cut - 1e-4], [cut + 1e-4]], dtype=torch.float64)
        return transform(x)[1].diff().abs().item()

    assert jump(nflows_transforms.LogTanh(cut_point=1.0), 1.0) > 0.1
    spline = Elementwise(1, RationalQuadraticSpline(4, bound=1.0)).double()
    perturb_(spline)
    assert jump(spline, 1.0) < 0.01


def test_the_dtype_of_a_log_det():
    x = torch.randn(3, 2, dtype=torch.float64)
    assert nflows_transforms.LeakyReLU(0.1)(x)[1].dtype == torch.float32
    assert Elementwise(2, RationalQuadraticSpline()).double()(x)[1].dtype == torch.float64


def test_sampling_in_parts_with_a_context():
    c = torch.zeros(5, 3)
    theirs = TheirNormal([2]).sample(4, context=c, batch_size=2)
    assert theirs.shape != (5, 4, 2)
    assert maf(2, context_features=3).sample((4,), c).shape == (4, 5, 2)


def test_real_nvp_of_one_feature_transforms_it():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = SimpleRealNVP(1, 8, num_layers=1, num_blocks_per_layer=1)._transform
    perturb_(theirs)
    x = torch.randn(20, 1)
    try:
        moved = not torch.equal(theirs(x)[0], x) and next(theirs.parameters()).numel() > 0
    except Exception:
        moved = False
    assert not moved
    ours = real_nvp(1, layers=1).transform
    perturb_(ours)
    assert not torch.allclose(ours(x)[0], x)


def test_the_default_context_is_none():
    def default(transform):
        return inspect.signature(type(transform).forward).parameters["context"].default

    assert default(nflows_transforms.IdentityTransform()) is not None
    assert default(Identity(2)) is None


def test_function_transforms_of_a_composite():
    """In-place sums of log-determinants, and masked assignment, fail under torch.func."""
    theirs = nflows_transforms.CompositeTransform(
        [
            nflows_transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                features=2, hidden_features=8, num_bins=4, tails="linear", tail_bound=3.0
            )
        ]
    )
    x = torch.randn(5, 2)
    with pytest.raises(RuntimeError):
        torch.func.vmap(lambda row: theirs(row[None])[0][0])(x)
    ours = nsf(2).transform
    assert torch.func.vmap(lambda row: ours(row)[0])(x).shape == (5, 2)


def test_a_point_on_a_wide_bound():
    x = torch.full((1, 1), 32.0)
    widths, heights, derivatives = torch.randn(1, 1, 4), torch.randn(1, 1, 4), torch.randn(1, 1, 3)
    with pytest.raises((IndexError, RuntimeError)):
        unconstrained_rational_quadratic_spline(x, widths, heights, derivatives, tail_bound=32.0)
    params = torch.cat([widths, heights, derivatives], -1)
    y, _ = RationalQuadraticSpline(4, bound=32.0, limit=None)(x, params)
    assert torch.equal(y, x)


def test_float32_round_trip_of_a_spline():
    torch.manual_seed(0)
    x = torch.rand(20_000, 1) * 6 - 3
    w, h, d = (3 * torch.randn(20_000, 1, n) for n in (8, 8, 7))
    y, _ = unconstrained_rational_quadratic_spline(x, w, h, d, tail_bound=3.0)
    back, _ = unconstrained_rational_quadratic_spline(y, w, h, d, inverse=True, tail_bound=3.0)
    theirs = (back - x).abs().max()
    spline, params = RationalQuadraticSpline(8, bound=3.0), torch.cat([w, h, d], -1)
    ours = (spline.inverse(spline(x, params)[0], params)[0] - x).abs().max()
    assert theirs > 1e-2
    assert ours < 1e-5


def test_spline_gradients_with_a_whole_batch_in_the_tails_and_nan():
    w, h, d = torch.randn(2, 1, 4), torch.randn(2, 1, 4), torch.randn(2, 1, 3)
    nan = torch.full((2, 1), math.nan)
    y, logabsdet = unconstrained_rational_quadratic_spline(nan, w, h, d)
    assert not logabsdet.isnan().any()  # a NaN passes as a point of the tails
    _, ours = RationalQuadraticSpline(4)(nan, torch.cat([w, h, d], -1))
    assert ours.isnan().all()


def test_a_base_without_a_context_argument():
    base = TheirBoxUniform(torch.zeros(2), torch.ones(2))
    with pytest.raises((AttributeError, TypeError)):
        TheirFlow(nflows_transforms.IdentityTransform(), base).sample(3)
    assert Flow(Identity(2), BoxUniform([0.0, 0.0], [1.0, 1.0])).sample((3,)).shape == (3, 2)


def test_diagonal_normal_can_be_sampled():
    with pytest.raises(NotImplementedError):
        TheirDiagonalNormal([2]).sample(3)
    assert DiagonalNormal(2).sample((3,)).shape == (3, 2)


def test_act_norm_on_a_constant_column():
    x = torch.randn(50, 2)
    x[:, 1] = 3
    theirs = nflows_transforms.ActNorm(2).train()
    assert not theirs(x)[0].isfinite().all()
    ours = ActNorm(2)
    ours.initialize(x)
    assert ours(x)[0].isfinite().all()


def test_lu_linear_after_loading_weights():
    def stale(make, **options):
        a, b = make(3, **options).eval(), make(3, **options).eval()
        perturb_(a)
        x = torch.randn(5, 3)
        with torch.no_grad():
            b(x)
            b.load_state_dict(a.state_dict())
            return not torch.allclose(a(x)[0], b(x)[0], atol=1e-5)

    assert stale(nflows_transforms.LULinear, using_cache=True)
    assert not stale(LULinear)


def test_any_batch_shape():
    theirs = nflows_transforms.MaskedAffineAutoregressiveTransform(2, 8)
    with pytest.raises(RuntimeError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value, logabsdet = theirs(torch.randn(5, 4, 2))
        if logabsdet.shape != (5, 4):
            raise RuntimeError("wrong shape")
    assert maf(2).log_prob(torch.randn(5, 4, 2)).shape == (5, 4)


def test_context_reaches_the_first_feature_and_every_layer():
    """Theirs adds it after the first layer, whose units the first feature's outputs cannot see."""

    def moved(made):
        x, c = torch.zeros(1, 3), torch.randn(2, 1, 2)
        return (made(x, c[0]) - made(x, c[1])).abs().reshape(3, -1).amax(1) > 0

    assert not moved(TheirMADE(3, 16, context_features=2, use_residual_blocks=False))[0]
    assert moved(MADE(3, 1, (16, 16), context_features=2)).all()


def test_one_feature():
    assert nsf(1, coupling=True).log_prob(torch.randn(5, 1)).shape == (5,)


def test_no_float64_buffers():
    assert any(b.dtype == torch.float64 for b in TheirNormal([2]).buffers())
    for flow in (maf(2), nsf(2), Flow(Identity(2), BoxUniform([0.0, 0.0], [1.0, 1.0]))):
        assert all(b.dtype != torch.float64 for b in flow.buffers())


def test_a_spline_flow_compiles_to_one_graph():
    import torch._dynamo

    theirs = nflows_transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
        features=3, hidden_features=8, num_bins=4, tails="linear", tail_bound=3.0
    )
    torch.compiler.reset()
    with warnings.catch_warnings(), pytest.raises(torch._dynamo.exc.TorchDynamoException):
        warnings.simplefilter("ignore")
        torch.compile(theirs, fullgraph=True, backend="eager")(torch.randn(5, 3))
    torch.compiler.reset()
    flow = nsf(3, hidden=(8,), layers=2)
    x = torch.randn(5, 3)
    got = torch.compile(flow.log_prob, fullgraph=True, backend="eager")(x)
    assert torch.allclose(got, flow.log_prob(x), atol=1e-5)
