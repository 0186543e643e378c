"""Bases: densities that integrate to one, sample themselves, and take any torch distribution."""

import math

import numpy as np
import pytest
import torch
from torch import distributions as td

from flowkit.errors import ArgumentError, ContextError, ShapeError
from flowkit.flows import (
    BoxUniform,
    ConditionalNormal,
    DiagonalNormal,
    Flow,
    FullNormal,
    MixtureOfFlows,
    NormalMixture,
    StandardLogistic,
    StandardNormal,
    StudentT,
    TorchBase,
    iaf,
    maf,
    nsf,
)
from flowkit.testing import check_flow
from flowkit.training import fit
from flowkit.transforms import Chain, Identity, LULinear


def zoo(features):
    torch.manual_seed(0)
    ones = torch.ones(features)
    mixture = NormalMixture(features, 3)
    with torch.no_grad():
        for parameter in mixture.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return {
        "normal": StandardNormal(features),
        "logistic": StandardLogistic(features),
        "student": StudentT(features, df=8.0),
        "diagonal": DiagonalNormal(features),
        "full": FullNormal(features),
        "mixture": mixture,
        "box": BoxUniform([-1.0] * features, [2.0] * features),
        "flow": nsf(features, hidden=(8,), layers=1),
        "mixture_of_flows": MixtureOfFlows([maf(features, hidden=(8,)), FullNormal(features)]),
        "torch_gumbel": TorchBase(td.Gumbel, loc=0 * ones, scale=ones),
        "torch_exponential": TorchBase(td.Exponential, rate=torch.nn.Parameter(ones)),
        "torch_beta": TorchBase(td.Beta, concentration1=2 * ones, concentration0=3 * ones),
        "torch_full": TorchBase(
            td.MultivariateNormal, loc=ones, covariance_matrix=torch.eye(features)
        ),
    }


@pytest.mark.parametrize("features", [1, 2])
@pytest.mark.parametrize("name", zoo(1))
def test_mass_is_one_and_samples_follow(name, features):
    base = zoo(features)[name].double()
    points = 4001 if features == 1 else 801
    reach = 60.0 if features == 1 else 20.0
    axis = torch.linspace(-reach, reach, points, dtype=torch.float64)[:-1] + reach / points
    grid = torch.cartesian_prod(*[axis] * features).reshape(-1, features)
    with torch.no_grad():
        p = base.log_prob(grid).exp() * (2 * reach / points) ** features
        x = base.sample((20_000,))
        draws = base.log_prob(x)
    assert p.sum() == pytest.approx(1, abs=2e-2 if "exp" in name or name == "box" else 3e-3)
    p = p / p.sum()
    expected = (grid * p[:, None]).sum(0)
    error = x.std(0) / len(x) ** 0.5
    assert ((x.mean(0) - expected).abs() < 5 * error + 0.02).all()
    assert draws.isfinite().all()
    assert x.dtype == torch.float64


@pytest.mark.parametrize("name", zoo(1))
def test_any_batch_shape_and_generator(name):
    base = zoo(2)[name]
    x = base.sample((4, 3))
    assert x.shape == (4, 3, 2)
    assert base.log_prob(x).shape == (4, 3)
    assert base.log_prob(x[0, 0]).shape == ()
    assert base.log_prob(torch.empty(0, 2)).shape == (0,)
    assert base.sample().shape == (2,)
    draw = lambda seed: base.sample((5,), None, torch.Generator().manual_seed(seed))  # noqa: E731
    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    assert torch.equal(base.log_prob(x), base.log_prob(x.reshape(12, 2)).reshape(4, 3))


@pytest.mark.parametrize("name", zoo(1))
def test_nan_rows_stay_alone(name):
    base = zoo(2)[name]
    x = base.sample((5,)).detach()
    clean = base.log_prob(x)
    x[2, 1] = math.nan
    log_prob = base.log_prob(x)
    assert log_prob.isnan().tolist() == [False, False, True, False, False]
    assert torch.allclose(log_prob[:2], clean[:2])


@pytest.mark.parametrize("name", ["normal", "student", "mixture", "flow", "mixture_of_flows"])
def test_as_the_base_of_a_flow(name):
    flow = Flow(LULinear(2), zoo(2)[name]).double()
    errors = check_flow(flow, torch.randn(100, 2, dtype=torch.float64))
    assert max(errors.values()) <= 1e-9


def test_student_t_against_torch():
    base = StudentT(1, df=3.5).double()
    x = torch.linspace(-50, 50, 101, dtype=torch.float64)[:, None]
    expected = td.StudentT(torch.tensor(3.5, dtype=torch.float64)).log_prob(x[:, 0])
    assert torch.allclose(base.log_prob(x), expected)
    assert base.log_prob(torch.tensor([[1e6]], dtype=torch.float64)).isfinite()
    base.log_prob(base.sample((50,))).mean().backward()
    assert base.log_df.grad.isfinite()


def test_student_t_forgives_a_gross_outlier():
    """Finite scores, and a better held-out mean than the normal base on a table with outliers."""
    torch.manual_seed(0)
    x = torch.randn(2000, 3)
    x[::100] *= 30
    x[7] = 1e4
    train, test = x[:1000], x[1000:]
    scores = {}
    for name, base in (("normal", "normal"), ("student", StudentT(3, df=3.0))):
        torch.manual_seed(0)
        flow = maf(3, hidden=(32,), layers=3, base=base)
        fit(flow, train, steps=400)
        scores[name] = flow.log_prob(test).mean().item()
        assert flow.log_prob(torch.full((1, 3), 1e6)).isfinite().all()
    assert scores["student"] > scores["normal"] + 0.1


def test_mixture_by_em_scores_as_scikit_learn_and_trains_on():
    from sklearn.mixture import GaussianMixture

    torch.manual_seed(0)
    x = torch.cat([torch.randn(300, 3) @ torch.randn(3, 3) + 4, torch.randn(300, 3) - 2]).double()
    base = NormalMixture.fit(x, components=2, seed=0)
    em = GaussianMixture(2, random_state=0).fit(x.numpy())
    assert np.allclose(base.log_prob(x).detach().numpy(), em.score_samples(x.numpy()), atol=1e-8)
    flow = Flow(Chain(Identity(3)), base)
    fit(flow, x, steps=50, learning_rate=1e-2)
    assert flow.log_prob(x).mean() >= em.score(x.numpy()) - 1e-3
    # whatever training did, only the triangle counts: the mass stays one
    with torch.no_grad():
        base.lower.add_(torch.randn_like(base.lower))
    factors = base._factors()
    assert torch.equal(factors, factors.tril())
    y = base.sample((200_000,)).detach()
    proposal = NormalMixture.fit(y, components=4, seed=0)
    z = proposal.sample((100_000,)).detach()
    weights = (base.log_prob(z) - proposal.log_prob(z)).exp()
    assert weights.mean().item() == pytest.approx(1, abs=0.05)


def test_diagonal_and_full_normal_find_the_maximum_likelihood():
    torch.manual_seed(0)
    x = (torch.randn(2000, 2) @ torch.tensor([[1.0, 0.8], [0.0, 0.6]]) + 3).double()
    best = td.MultivariateNormal(x.mean(0), torch.cov(x.T, correction=0)).log_prob(x).mean()
    full, diagonal = (Flow(Identity(2), b(2)).double() for b in (FullNormal, DiagonalNormal))
    for flow in (full, diagonal):
        fit(flow, x, steps=800, learning_rate=0.03)
    assert full.log_prob(x).mean().item() == pytest.approx(best.item(), abs=1e-2)
    independent = td.Normal(x.mean(0), x.std(0, correction=0)).log_prob(x).sum(1).mean()
    assert diagonal.log_prob(x).mean().item() == pytest.approx(independent.item(), abs=1e-2)


def test_conditional_normal_learns_its_context():
    torch.manual_seed(0)
    c = torch.rand(4000, 1) * 4 - 2
    x = c**2 + (0.5 * c).exp() * torch.randn(4000, 1)
    flow = Flow(Identity(1), ConditionalNormal(1, context_features=1))
    assert flow.context_features == 1
    fit(flow, x, context=c, steps=1000, learning_rate=5e-3)
    truth = td.Normal(c**2, (0.5 * c).exp()).log_prob(x).mean()
    assert flow.log_prob(x, c).mean().item() == pytest.approx(truth.item(), abs=0.03)
    assert flow.sample((7,), c[:5]).shape == (7, 5, 1)
    assert flow.as_distribution(c[:5]).sample((2,)).shape == (2, 5, 1)
    with pytest.raises(ContextError, match="context: expected"):
        flow.log_prob(x)


def test_a_conditional_flow_over_a_conditional_base():
    base = ConditionalNormal(2, context_features=3)
    flow = Flow(maf(2, context_features=3, hidden=(8,)).transform, base).double()
    check_flow(flow, torch.randn(20, 2).double(), torch.randn(20, 3).double())
    with pytest.raises(ContextError, match="base: expected context_features of 3"):
        Flow(maf(2, context_features=3).transform, ConditionalNormal(2, context_features=2))


def test_mixture_of_flows_is_the_weighted_sum():
    a, b = maf(2, hidden=(8,)), FullNormal(2)
    with torch.no_grad():
        b.means.add_(5)
    mixture = MixtureOfFlows([a, b])
    with torch.no_grad():
        mixture.logits.copy_(torch.tensor([0.2, 0.8]).log())
    x = torch.randn(10, 2)
    expected = (0.2 * a.log_prob(x).exp() + 0.8 * b.log_prob(x).exp()).log()
    assert torch.allclose(mixture.log_prob(x), expected, atol=1e-5)
    share = (mixture.sample((10_000,))[:, 0] > 2.5).float().mean()
    assert share == pytest.approx(0.8, abs=0.03)
    conditional = MixtureOfFlows([iaf(2, context_features=3, hidden=(8,)), maf(2, hidden=(8,))])
    c = torch.randn(4, 3)
    assert conditional.sample((5,), c).shape == (5, 4, 2)
    assert conditional.log_prob(torch.zeros(2), c).shape == (4,)


def test_torch_base_moves_trains_and_is_zero_outside():
    rate = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    base = TorchBase(td.Exponential, rate=rate)
    assert dict(base.named_parameters()) == {"rate": rate}
    x = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [math.inf, 1.0]])
    assert base.log_prob(x)[1] == -math.inf
    base.log_prob(x[:1]).sum().backward()
    assert rate.grad is not None
    moved = TorchBase(td.Normal, loc=torch.zeros(2), scale=torch.ones(2)).double()
    assert moved.log_prob(torch.zeros(3, 2, dtype=torch.float64)).dtype == torch.float64
    assert set(moved.state_dict()) == {"loc", "scale"}


@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("parameters", lambda: TorchBase(td.Normal, loc=0.0, scale=1.0)),
        ("parameters", lambda: TorchBase(td.Normal, loc=torch.zeros(2), scale=-torch.ones(2))),
        ("parameters", lambda: TorchBase(td.Normal, mean=torch.zeros(2))),
        ("distribution", lambda: TorchBase(td.Poisson, rate=torch.ones(2))),
        ("components", lambda: NormalMixture(2, 0)),
        ("df", lambda: StudentT(2, df=0.0)),
        ("high", lambda: BoxUniform(1.0, 0.0)),
        ("high", lambda: BoxUniform([0.0, 1.0], [1.0, math.inf])),
        ("flows", lambda: MixtureOfFlows([])),
        ("context_features", lambda: ConditionalNormal(2, context_features=0)),
    ],
)
def test_bad_options_are_named(argument, make):
    with pytest.raises(ArgumentError, match=f"^{argument}: expected"):
        make()


def test_bases_that_do_not_fit_are_refused():
    foreign = TorchBase(td.Normal, loc=torch.zeros(3), scale=torch.ones(3))
    with pytest.raises(ShapeError, match=r"base: expected event shape \(2,\), got \(3,\)"):
        Flow(Identity(2), foreign)
    with pytest.raises(ShapeError, match="flows: expected equal event shapes"):
        MixtureOfFlows([maf(2), maf(3)])
    with pytest.raises(ShapeError, match="high: expected 2 ends"):
        BoxUniform([0.0, 0.0], [1.0])
    with pytest.raises(ShapeError, match="x: expected at least 3 rows"):
        NormalMixture.fit(torch.randn(2, 2), components=3)


def test_a_boundary_that_torch_counts_as_inside():
    base = TorchBase(td.Beta, concentration1=2 * torch.ones(1), concentration0=2 * torch.ones(1))
    z = torch.tensor([[1.0], [0.3]], requires_grad=True)
    log_prob = base.log_prob(z)
    assert log_prob[0] == -math.inf
    log_prob[1].backward()
    assert z.grad.isfinite().all()
    gamma = TorchBase(td.Gamma, concentration=torch.full((1,), 0.5), rate=torch.ones(1))
    assert gamma.log_prob(torch.zeros(1, 1)) == -math.inf


def test_a_row_outside_every_component_leaves_the_weights_alone():
    mixture = MixtureOfFlows([BoxUniform(0.0, 1.0), BoxUniform(0.0, 2.0)])
    log_prob = mixture.log_prob(torch.tensor([[5.0], [0.5]]))
    assert log_prob[0] == -math.inf
    log_prob[1].backward()
    assert mixture.logits.grad.isfinite().all()


@pytest.mark.parametrize("df", [150.0, 250.0, 1e4, 1e6])
def test_student_t_keeps_its_digits_however_many_degrees_of_freedom(df):
    base, exact = StudentT(1, df=df), StudentT(1, df=df).double()
    x = torch.linspace(-3, 3, 7)[:, None]
    assert torch.allclose(base.log_prob(x).double(), exact.log_prob(x.double()), atol=1e-4)
    truth = td.StudentT(exact.log_df.detach().exp()).log_prob(x[:, 0].double())
    assert torch.allclose(exact.log_prob(x.double()), truth, atol=1e-7)
