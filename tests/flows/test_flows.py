"""Every named flow keeps the contract, fresh and trained, and is a density."""

import math
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributions as td
from torch import nn
from zoo import NAMED, NOT_IDENTITY, hard_points, named_flow, perturb_, trained, two_clusters

from flowkit.errors import ArgumentError, ContextError, DtypeError, ShapeError
from flowkit.flows import (
    Flow,
    JointBase,
    StandardLogistic,
    StandardNormal,
    TorchBase,
    iaf,
    made,
    made_mog,
    maf,
    nice,
    nsf,
    radial,
    real_nvp,
)
from flowkit.testing import check_flow, total_mass
from flowkit.transforms import (
    Affine,
    Chain,
    Elementwise,
    Identity,
    LULinear,
    RationalQuadraticSpline,
)

DTYPES = [torch.float32, torch.float64]
ROUND_TRIP = {torch.float64: 1e-9, torch.float32: 1e-4}


def context_rows(n: int, context: int, dtype: torch.dtype) -> torch.Tensor | None:
    return torch.randn(n, context, dtype=dtype) if context else None


def cases(*settings: tuple, always: int) -> list:
    """Every flow with every setting; the last ones, and most of what takes long, are slow tests.

    A mixture's inverse is a root, whose steps take long to compile.
    """
    return [
        pytest.param(
            name,
            *setting,
            marks=[pytest.mark.slow] if i >= (1 if "mog" in name else always) else [],
        )
        for name in NAMED
        for i, setting in enumerate(settings)
    ]


@pytest.mark.parametrize(
    ("name", "context", "dtype"),
    cases(
        (3, torch.float64),
        (0, torch.float64),
        (3, torch.float32),
        (0, torch.float32),
        always=3,
    ),
    ids=str,
)
def test_contract(name, context, dtype):
    flow = named_flow(name, 3, context).to(dtype)
    perturb_(flow, 0.1)
    # In the tails layers multiply what float32 rounds; there the promise is float64's.
    points = 300 if "mog" in name else 1_000
    x = hard_points(points, 3, dtype) if dtype == torch.float64 else torch.randn(100, 3)
    errors = check_flow(flow, x, context_rows(len(x), context, dtype))
    if dtype == torch.float64:
        assert max(errors["logabsdet"], errors["inverse_logabsdet"]) <= 1e-9


@pytest.mark.parametrize(
    ("name", "features", "context"), cases((2, 2), (1, 0), (1, 2), (2, 0), always=1)
)
def test_contract_after_training(name, context, features):
    flow = trained(named_flow(name, features, context).double(), features, context)
    x = two_clusters(200, features)
    errors = check_flow(flow, x, context_rows(200, context, torch.float64))
    assert max(errors.values()) <= 1e-9


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("steps", [0, 200])
@pytest.mark.parametrize("name", NAMED)
def test_round_trip_in_distribution(name, steps, dtype):
    flow = named_flow(name, 4).to(dtype)
    if steps:
        trained(flow, 4, steps=steps)
    x = two_clusters(1000, 4, dtype)
    with torch.no_grad():
        z, logabsdet = flow.transform(x)
        back, inverse_logabsdet = flow.transform.inverse(z)
        latent = flow.base.sample((1000,))
        again, _ = flow.transform(flow.transform.inverse(latent)[0])
    for error in (back - x, again - latent, logabsdet + inverse_logabsdet):
        assert error.abs().max() <= ROUND_TRIP[dtype]


@pytest.mark.parametrize("steps", [0, 200])
@pytest.mark.parametrize("features", [1, 2])
@pytest.mark.parametrize("name", NAMED)
def test_density_integrates_to_one(name, features, steps):
    flow = named_flow(name, features)
    if steps:
        trained(flow, features, steps=steps)
    reach = 40.0 if name == "nice" and not steps else 12.0  # the logistic has long tails
    points = 2_000 if features == 1 else 500
    assert total_mass(flow, -reach, reach, points=points) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", NAMED)
def test_density_integrates_to_one_at_any_context(name):
    flow = trained(named_flow(name, 1, 2), 1, 2)
    for context in (torch.tensor([0.0, 0.0]), torch.tensor([2.0, -1.0])):
        mass = total_mass(flow, -60, 60, points=20_000, context=context)
        assert mass == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("features", [1, 2, 5])
@pytest.mark.parametrize("name", NAMED)
def test_fresh_flow_is_its_base(name, features, context):
    if any(word in name for word in NOT_IDENTITY):
        pytest.skip("does not start as the identity")
    flow = named_flow(name, features, context)
    x, c = torch.randn(10, features), context_rows(10, context, torch.float32)
    assert torch.allclose(flow.log_prob(x, c), flow.base.log_prob(x), atol=1e-3)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("name", NAMED)
def test_gradients_reach_every_parameter(name, context, residual):
    flow = named_flow(name, 3, context, residual=residual)
    perturb_(flow, 0.1)
    x, c = torch.randn(200, 3), context_rows(200, context, torch.float32)
    flow.log_prob(x, c).mean().backward()
    for parameter_name, parameter in flow.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@pytest.mark.parametrize("name", NAMED)
def test_gradients_of_samples_reach_every_parameter(name):
    flow = named_flow(name, 3, 2)
    perturb_(flow, 0.1)
    x, log_prob = flow.sample_and_log_prob((50,), torch.randn(4, 2))
    (x.square().mean() + log_prob.mean()).backward()
    for parameter_name, parameter in flow.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
@pytest.mark.parametrize("name", NAMED)
def test_gradients_are_finite_for_inputs_of_any_size(name, size):
    flow = named_flow(name, 5)
    perturb_(flow, 0.1)
    x = torch.randn(100, 5) * size
    x[0], x[1], x[2, 0], x[3] = size, -size, size, torch.tensor([-5.0, 5.0, 0.0, size, -size])
    x.requires_grad_()
    log_prob = flow.log_prob(x)
    assert log_prob.isfinite().all()
    gradients = torch.autograd.grad(log_prob.mean(), [x, *flow.parameters()])
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("context", [2, pytest.param(0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMED)
def test_log_prob_compiles_to_one_graph(name, context):
    flow = named_flow(name, 3, context)
    perturb_(flow, 0.1)
    x, c = torch.randn(50, 3), context_rows(50, context, torch.float32)
    torch.compiler.reset()
    compiled = torch.compile(flow.log_prob, fullgraph=True, backend="eager")
    expected = flow.log_prob(x, c)
    assert torch.allclose(compiled(x, c), expected, rtol=1e-5, atol=1e-5)
    assert torch.allclose(compiled(x[:7], c if c is None else c[:7]), expected[:7], atol=1e-5)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("name", ["maf", pytest.param("nsf_coupling", marks=pytest.mark.slow)])
def test_log_prob_compiles_with_inductor(name):
    flow = named_flow(name, 3, layers=2)
    perturb_(flow, 0.1)
    x = torch.randn(64, 3)
    torch.compiler.reset()
    compiled = torch.compile(flow.log_prob, fullgraph=True)
    expected = flow.log_prob(x)
    got = compiled(x)
    assert torch.allclose(got, expected, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(v.sum(), flow.parameters()) for v in (got, expected)]
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4)


@given(
    sample_shape=st.lists(st.integers(0, 3), max_size=2),
    context_batch=st.lists(st.integers(0, 3), max_size=2),
    conditional=st.booleans(),
    name=st.sampled_from(sorted(NAMED)),
)
def test_sample_shapes(sample_shape, context_batch, conditional, name):
    flow = named_flow(name, 2, 3 if conditional else 0)
    c = torch.randn(*context_batch, 3) if conditional else None
    batch = tuple(context_batch) if conditional else ()
    x, log_prob = flow.sample_and_log_prob(sample_shape, c)
    assert x.shape == (*sample_shape, *batch, 2)
    assert log_prob.shape == (*sample_shape, *batch)
    assert flow.log_prob(x, c).shape == log_prob.shape


def test_ten_thousand_draws_each_with_its_own_context():
    """The question that users of nflows ask most (its issues 54, 60 and 68)."""
    flow = trained(named_flow("maf", 1, 1), 1, 1, steps=400)
    c = torch.linspace(-2, 2, 10_000)[:, None]
    x = flow.sample((), c)
    assert x.shape == (10_000, 1)
    assert torch.corrcoef(torch.cat([x, c], 1).T)[0, 1] > 0.3  # and they follow it


def test_sample_follows_its_generator_and_dtype():
    flow = named_flow("maf", 2).double()
    draw = lambda seed: flow.sample((5,), generator=torch.Generator().manual_seed(seed))  # noqa: E731
    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    assert draw(0).dtype == torch.float64
    state = torch.random.get_rng_state()
    draw(0)
    assert torch.equal(state, torch.random.get_rng_state())


def test_samples_follow_the_density():
    flow = trained(named_flow("nsf", 2), 2)
    with torch.no_grad():
        x = flow.sample((50_000,))
        axis = torch.linspace(-8, 8, 401)[:-1] + 0.02
        grid = torch.cartesian_prod(axis, axis)
        log_prob = flow.log_prob(grid)
        scores = flow.log_prob(x)
    p = log_prob.double().exp() * 0.04**2

    def moments(rows):
        return torch.cat([rows, rows**2, rows.prod(1, keepdim=True)], dim=1)

    for of_samples, expected in (
        (moments(x), (moments(grid) * p[:, None]).sum(0)),
        (scores, (p * log_prob).sum()),
    ):
        standard_error = of_samples.std(0) / len(x) ** 0.5
        assert ((of_samples.mean(0) - expected).abs() < 5 * standard_error).all()


def test_embedding_goes_first_and_once_per_context():
    calls = []

    class Embedding(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(10, 3)

        def forward(self, c):
            calls.append(c.shape)
            return self.linear(c)

    conditional = named_flow("maf", 2, 3)
    flow = Flow(conditional.transform, conditional.base, embedding=Embedding())
    perturb_(flow, 0.1)
    x, c = torch.randn(5, 2), torch.randn(5, 10)
    assert torch.equal(flow.log_prob(x, c), conditional.log_prob(x, flow.embedding(c)))
    calls.clear()
    sample, log_prob = flow.sample_and_log_prob((7,), c)
    assert calls == [(5, 10)]
    assert torch.allclose(flow.log_prob(sample, c), log_prob, atol=1e-4)
    assert flow.as_distribution(c).sample((2,)).shape == (2, 5, 2)
    with pytest.raises(ContextError, match="context: expected a tensor for the embedding"):
        flow.log_prob(x)


def test_as_distribution_is_valid_and_validates():
    flow = named_flow("maf", 2, 3)
    perturb_(flow)
    c = torch.randn(4, 3)
    d = flow.as_distribution(c, validate_args=True)
    assert isinstance(d, torch.distributions.Distribution)
    assert d.has_rsample
    x = d.rsample((6,))
    assert x.requires_grad
    assert not d.sample((6,)).requires_grad
    assert torch.allclose(d.log_prob(x), flow.log_prob(x, c), atol=1e-5)
    assert d.log_prob(torch.zeros(2)).shape == (4,)
    assert d.expand((5, 4)).log_prob(torch.zeros(2)).shape == (5, 4)
    with pytest.raises(ValueError, match="within the support"):
        d.log_prob(torch.tensor([math.nan, 0.0]))
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(4)), d
    )
    assert mixture.log_prob(torch.zeros(2)).shape == ()
    unconditional = named_flow("maf", 2).as_distribution()
    assert unconditional.expand((3, 2)).sample((5,)).shape == (5, 3, 2, 2)


def test_nan_rows_and_infinite_rows():
    for name in NAMED:
        flow = named_flow(name, 3)
        perturb_(flow, 0.1)
        x = torch.randn(6, 3)
        clean = flow.log_prob(x)
        x[1, 2] = math.nan
        log_prob = flow.log_prob(x)
        assert log_prob[1].isnan()
        keep = [0, 2, 3, 4, 5]
        assert torch.allclose(log_prob[keep], clean[keep], atol=1e-5)
        # no density at infinity, or none that can be told
        far = flow.log_prob(torch.full((1, 3), math.inf))
        assert far.isnan() or far.exp() == 0


def test_empty_batches_are_empty():
    for name in NAMED:
        assert named_flow(name, 3).log_prob(torch.empty(0, 3)).shape == (0,)
        assert named_flow(name, 3).sample((0,)).shape == (0, 3)


def test_bad_inputs_are_named():
    flow, conditional = maf(3), maf(3, context_features=2)
    x, c = torch.randn(5, 3), torch.randn(5, 2)
    with pytest.raises(ShapeError, match=r"x: expected .*\(\*batch, 3\), got shape \(5, 4\)"):
        flow.log_prob(torch.randn(5, 4))
    with pytest.raises(DtypeError, match="x: expected a floating-point dtype, got torch.int64"):
        flow.log_prob(torch.zeros(5, 3, dtype=torch.long))
    with pytest.raises(DtypeError, match="x: expected the dtype of the flow, torch.float32"):
        flow.log_prob(x.double())
    for call in (conditional.log_prob, flow.log_prob):
        with pytest.raises(ContextError, match="^context: expected"):
            call(x, *(() if call == conditional.log_prob else (c,)))
    with pytest.raises(ContextError, match="^context: expected"):
        conditional.sample((3,))
    with pytest.raises(ContextError, match="^context: expected"):
        flow.as_distribution(c)
    with pytest.raises(ShapeError, match=r"context: .*\(\*batch, 2\)"):
        conditional.sample((3,), torch.randn(5, 3))
    with pytest.raises(ArgumentError, match="sample_shape: expected"):
        flow.sample((3, -1))


@pytest.mark.parametrize("architecture", [nice, real_nvp, made, maf, iaf, nsf])
@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("features", {"features": 0}),
        ("features", {"features": 2.5}),
        ("context_features", {"context_features": -1}),
        ("hidden", {"hidden": ()}),
        ("base", {"base": "cauchy"}),
        ("base", {"base": StandardNormal(4)}),
    ],
)
def test_bad_options_of_architectures_are_named(architecture, argument, options):
    with pytest.raises(ArgumentError, match=f"^{argument}: expected"):
        architecture(**{"features": 3, **options})


def test_layers_and_splines_are_checked_too():
    for architecture in (nice, real_nvp, maf, iaf, nsf):
        with pytest.raises(ArgumentError, match="layers: expected an integer of at least 1, got 0"):
            architecture(3, layers=0)
    with pytest.raises(ArgumentError, match="bins: expected"):
        nsf(3, bins=1)
    with pytest.raises(ArgumentError, match="bound: expected"):
        nsf(3, bound=-1.0)
    message = "bound: expected 1 or 3 values for 3 features, got 2"
    for coupling in (False, True):
        with pytest.raises(ArgumentError, match=f"^{message}$"):
            nsf(3, bound=(1.0, 2.0), coupling=coupling)
    with pytest.raises(ArgumentError, match="^tails: expected 1 or 3 values for 3 features, got 2"):
        nsf(3, tails=("linear", "circular"))


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="base: expected event shape"):
        Flow(Identity(3), StandardNormal(2))
    with pytest.raises(ContextError, match="embedding: expected"):
        Flow(Identity(3), StandardNormal(3), embedding=nn.Identity())


def test_transform_and_base_are_public_parts():
    flow = nsf(4, bound=(1, 2, 3, 4), tails=("linear", "circular", "linear", "linear"))
    longer = Flow(Chain(LULinear(4), flow.transform), flow.base)
    x = torch.randn(5, 4)
    assert torch.allclose(longer.log_prob(x), flow.log_prob(x), atol=1e-6)
    assert nsf(4, base=StandardLogistic(4)).base.log_prob(torch.zeros(4)) == pytest.approx(
        -4 * math.log(4)
    )


def test_nice_keeps_volume_but_for_its_scale():
    flow = nice(4)
    perturb_(flow)
    scale = flow.transform.transforms[-1]
    assert isinstance(scale, Elementwise)
    _, logabsdet = flow.transform(torch.randn(5, 4))
    assert torch.allclose(logabsdet, scale.params[:, 1].sum().expand(5), atol=1e-6)


def test_nice_learns_a_scale():
    """On y = a x with x logistic, the log-scale tends to log(1 / a)."""
    from flowkit.training import fit

    flow = nice(1, layers=1)
    x = 7 * StandardLogistic(1).sample((4000,))
    fit(flow, x, steps=600, learning_rate=0.02, standardize=False)
    assert flow.transform.transforms[-1].params[0, 1].item() == pytest.approx(
        -math.log(7), abs=0.05
    )


def test_bases_are_densities_and_sample_themselves():
    for base in (StandardNormal(1).double(), StandardLogistic(1).double()):
        axis = torch.linspace(-60, 60, 40_001, dtype=torch.float64)[:, None]
        p = base.log_prob(axis).exp() * 0.003
        assert p.sum() == pytest.approx(1, abs=1e-9)
        sample = base.sample((100_000,))
        assert sample.var() == pytest.approx((axis[:, 0] ** 2 * p).sum().item(), rel=0.03)
        assert base.log_prob(torch.tensor([[1e5], [-1e5]], dtype=torch.float64)).isfinite().all()
        assert base.sample((2,)).dtype == torch.float64
    assert StandardNormal((2, 3)).log_prob(torch.zeros(5, 2, 3)).shape == (5,)


def test_moves_with_to_and_loads_its_state():
    a, b = named_flow("maf", 3), maf(3, hidden=(16, 16))
    perturb_(a)
    b.load_state_dict(a.state_dict())
    x = torch.randn(5, 3)
    assert torch.equal(a.log_prob(x), b.log_prob(x))
    assert a.double().log_prob(x.double()).dtype == torch.float64
    assert Affine().parameters == 2


def test_huge_rows_spoil_no_gradient():
    flow = made_mog(1)
    log_prob = flow.log_prob(torch.tensor([[1e20], [0.0]]))
    assert not log_prob.isnan().any()
    log_prob[1].backward()
    assert all(p.grad.isfinite().all() for p in flow.parameters() if p.grad is not None)
    assert not radial(2).log_prob(torch.tensor([[1e20, 0.0]])).isnan()
    assert iaf(2).log_prob(torch.tensor([[math.inf, 0.0]])) == -math.inf


def test_more_bad_arguments_are_named():
    flow = nsf(3, context_features=2)
    with pytest.raises(ShapeError, match=r"context: expected batch dimensions that broadcast"):
        flow.log_prob(torch.randn(4, 3), torch.randn(7, 2))
    with pytest.raises(DtypeError, match="context: expected the dtype of the flow"):
        flow.log_prob(torch.randn(4, 3), torch.randn(4, 2).double())
    with pytest.raises(ShapeError, match="bases: expected bases over vectors"):
        JointBase({(0, 1, 2, 3): StandardNormal((2, 2))})
    with pytest.raises(ArgumentError, match="bins: expected fewer than 1000"):
        RationalQuadraticSpline(2000, limit=None)
    with pytest.raises(ArgumentError, match="distribution: expected a continuous distribution"):
        TorchBase(td.Dirichlet, concentration=torch.ones(3))
    conditional = maf(2, context_features=3)
    inner = Flow(conditional.transform, conditional.base, embedding=torch.nn.Linear(5, 3))
    with pytest.raises(ContextError, match="base: expected a flow without an embedding"):
        Flow(LULinear(2), inner)
