"""Supports: exact inside, density zero outside and on the boundary, gradients always finite."""

import math

import pytest
import torch

from flowkit.errors import ArgumentError, ShapeError
from flowkit.flows import BoxUniform, Flow, StandardLogistic, StandardNormal, maf, nsf
from flowkit.testing import check_transform
from flowkit.training import fit
from flowkit.transforms import (
    Affine,
    Chain,
    Circular,
    Elementwise,
    Interval,
    Log,
    Logit,
    Softplus,
    Standardize,
)

DTYPES = [torch.float32, torch.float64]
TWO_SIDED = Interval(2, low=[-1.0, 0.0], high=[3.0, 10.0])
# transform, what maps normal draws inside, points outside or on the boundary
CASES = {
    "log": (Log(2), torch.exp, [0.0, -0.0, -1.0, -1e30, math.inf, -math.inf]),
    "softplus": (Softplus(2), torch.exp, [0.0, -1.0, math.inf, -math.inf]),
    "logit": (Logit(2), torch.sigmoid, [0.0, 1.0, -1.0, 2.0, math.inf]),
    "logit_alpha": (Logit(2, alpha=0.05), torch.sigmoid, [-0.2, 1.2, math.inf]),
    "interval": (TWO_SIDED, lambda x: 3 * torch.sigmoid(x), [-1.0, 10.0, -5.0, 20.0, math.inf]),
    "from_low": (Interval(2, low=-2.0), lambda x: x.exp() - 2, [-2.0, -3.0, math.inf]),
    "to_high": (Interval(2, high=[5.0, 5.0]), lambda x: 5 - x.exp(), [5.0, 6.0, -math.inf]),
    "mixed_ends": (
        Interval(2, low=[None, 0.0], high=[1.0, math.inf]),
        lambda x: torch.stack([1 - x[..., 0].exp(), x[..., 1].exp()], -1),
        [],
    ),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_contract_inside(name, dtype):
    transform, inside, _ = CASES[name]
    x = inside(2 * torch.randn(1000, 2, dtype=torch.float64)).to(dtype)
    errors = check_transform(transform.to(dtype), x)
    if dtype == torch.float64:
        assert max(errors["logabsdet"], errors["inverse_logabsdet"]) <= 1e-9


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[2]])
def test_density_is_zero_outside_and_on_the_boundary_and_gradients_are_finite(name, dtype):
    transform, inside, outside = CASES[name]
    flow = Flow(
        Chain(transform.to(dtype), Elementwise(2, Affine())), StandardNormal(2)
    ).to(dtype)  # fmt: skip
    good = inside(torch.zeros(2, dtype=dtype))
    bad = torch.tensor(outside, dtype=dtype)
    x = good.repeat(2 * len(bad) + 1, 1)
    x[: len(bad), 0], x[len(bad) : -1, 1] = bad, bad
    if name == "interval":  # each column has ends of its own
        x = x[[0, 2, 3, 4, 6, 7, 8, 9, -1]]
    x.requires_grad_()
    log_prob = flow.log_prob(x)
    assert (log_prob[:-1].exp() == 0).all()
    assert (log_prob[:-1] == -math.inf).all()
    assert log_prob[-1].isfinite()
    gradients = torch.autograd.grad(log_prob[-1:].sum() + log_prob.exp().sum(), x)
    gradients += torch.autograd.grad(flow.log_prob(x).clamp(min=-1e3).sum(), [x])
    gradients += torch.autograd.grad(
        flow.log_prob(x).clamp(min=-1e3).sum(), list(flow.parameters())
    )
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("name", CASES)
def test_just_inside_the_boundary_the_density_is_finite(name):
    transform, inside, outside = CASES[name]
    flow = Flow(transform.double(), StandardNormal(2)).double()
    middle = inside(torch.zeros(2, dtype=torch.float64))
    for bound in outside:
        if not math.isfinite(bound):
            continue
        edge = torch.full((2,), bound, dtype=torch.float64)
        x = torch.nextafter(edge, middle)
        log_prob = flow.log_prob(x)
        assert not log_prob.isnan()
        if transform(x)[1] > -math.inf:
            assert log_prob.isfinite()


@pytest.mark.parametrize("name", CASES)
def test_nan_comes_only_from_nan(name):
    transform, inside, _ = CASES[name]
    flow = Flow(transform.float(), StandardNormal(2))
    x = inside(torch.zeros(3, 2))
    x[1, 0] = math.nan
    log_prob = flow.log_prob(x)
    assert log_prob.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("name", CASES)
def test_samples_stay_inside_and_mass_is_one(name):
    transform, _, outside = CASES[name]
    flow = Flow(transform.double(), StandardNormal(2)).double()
    x = flow.sample((10_000,))
    assert flow.log_prob(x).isfinite().all()
    assert x.isfinite().all()
    for bound in outside:
        assert (x != bound).all()


def test_mass_of_a_bounded_column_is_one():
    flow = Flow(Chain(Interval(1, 0.0, 2.0), Elementwise(1, Affine())), StandardNormal(1)).double()
    x = (torch.arange(20_000, dtype=torch.float64) + 0.5)[:, None] / 10_000
    assert flow.log_prob(x).exp().sum().item() / 10_000 == pytest.approx(1, abs=1e-6)


def test_logit_of_images_matches_the_maf_papers():
    """z = logit(α + (1 - 2α) x), log-derivative as in its appendix."""
    x = torch.rand(100, 3, dtype=torch.float64)
    z, logabsdet = Logit(3, alpha=1e-6)(x)
    share = 1e-6 + (1 - 2e-6) * x
    assert torch.allclose(z, share.log() - (1 - share).log())
    expected = (math.log(1 - 2e-6) - share.log() - (1 - share).log()).sum(-1)
    assert torch.allclose(logabsdet, expected)
    ends = torch.tensor([[0.0, 1.0, 0.5]], dtype=torch.float64)
    assert Logit(3, alpha=1e-6)(ends)[1].isfinite().all()  # with alpha the ends are inside


def test_softplus_is_stable_at_both_ends():
    x = torch.tensor([[1e-30], [1e-10], [1.0], [50.0], [1e6]])
    z, logabsdet = Softplus(1)(x)
    assert z.isfinite().all()
    assert torch.allclose(Softplus(1).inverse(z)[0], x, rtol=1e-5)
    assert logabsdet[-1] == 0


def test_standardize_of_data_and_of_constants():
    x = torch.randn(500, 3) * torch.tensor([1.0, 100.0, 0.01]) + 7
    x[:, 2] = 0.1
    transform = Standardize.of(x)
    z, _ = transform(x)
    assert torch.allclose(z.mean(0), torch.zeros(3), atol=1e-4)
    assert torch.allclose(z.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-4)
    assert z.isfinite().all()
    assert torch.equal(transform.double()(x.double())[0].isfinite(), torch.ones_like(x).bool())


def test_a_circular_column():
    """Density equal at both ends, mass one, and near a von Mises mixture."""
    torch.manual_seed(0)
    period, start = 360.0, 0.0
    modes = torch.tensor([[20.0, 8.0], [200.0, 3.0]], dtype=torch.float64)  # mean, concentration
    radians = math.pi / 180

    def truth(x):
        parts = torch.distributions.VonMises(modes[:, 0] * radians, modes[:, 1])
        terms = parts.log_prob((x * radians).remainder(2 * math.pi))
        return terms.logsumexp(-1) - math.log(2) + math.log(radians)

    def draw(n):
        chosen = torch.randint(2, (n,))
        parts = torch.distributions.VonMises(modes[chosen, 0] * radians, modes[chosen, 1])
        return (parts.sample() / radians).remainder(period)[:, None]

    transform = Circular(1, period, start=start)
    spline = nsf(1, layers=2, bins=12, bound=math.pi, tails="circular", hidden=(16,))
    base = BoxUniform(-math.pi, math.pi)
    flow = Flow(Chain(transform, spline.transform), base).double()
    x, x_test = draw(20_000), draw(20_000)
    fit(flow, x, steps=600, learning_rate=0.02)
    difference = (flow.log_prob(x_test) - truth(x_test)).detach()
    assert abs(difference.mean()) < 0.01
    ends = flow.log_prob(torch.tensor([[0.0], [360.0], [720.0], [-360.0]], dtype=torch.float64))
    # 360 as the end of the box, and as its beginning
    latent = torch.tensor([[-math.pi], [math.pi]], dtype=torch.float64)
    both = Flow(spline.transform, base).log_prob(latent)
    assert (both.exp()[0] - both.exp()[1]).abs() < 1e-12
    assert (ends.exp() - ends.exp()[0]).abs().max() < 1e-12
    grid = (torch.arange(100_000, dtype=torch.float64) + 0.5)[:, None] * (period / 100_000)
    assert flow.log_prob(grid).exp().sum().item() * period / 100_000 == pytest.approx(1, abs=1e-6)
    sample = flow.sample((10_000,))
    assert (sample >= start).all()
    assert (sample <= start + period).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_contract_of_circular_inside_a_period(dtype):
    transform = Circular(2, 2 * math.pi, start=-math.pi)
    x = ((torch.rand(1000, 2, dtype=torch.float64) * 2 - 1) * 3.1).to(dtype)
    check_transform(transform, x)


def test_a_bounded_table_is_learned_in_its_own_units():
    torch.manual_seed(0)
    x = torch.stack([torch.rand(4000) * 5, torch.randn(4000).exp()], 1)
    flow = maf(2, layers=2, hidden=(16,))
    bounded = Flow(Chain(Interval(2, low=[0.0, 0.0], high=[5.0, None]), flow.transform), flow.base)
    fit(bounded, x, steps=400, learning_rate=5e-3)
    # a uniform's entropy, log 5, and a log-normal's
    best = -math.log(5) - (0.5 * math.log(2 * math.pi) + 0.5)
    assert bounded.log_prob(x).mean().item() == pytest.approx(best, abs=0.08)
    assert (bounded.sample((1000,)) > 0).all()


@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("alpha", lambda: Logit(2, alpha=0.5)),
        ("alpha", lambda: Logit(2, alpha=-0.1)),
        ("high", lambda: Interval(1, low=1.0, high=1.0)),
        ("high", lambda: Interval(2, low=[0.0, 2.0], high=[1.0, 1.0])),
        ("low", lambda: Interval(1, low=math.nan)),
        ("std", lambda: Standardize([0.0], [0.0])),
        ("std", lambda: Standardize([0.0], [math.inf])),
        ("period", lambda: Circular(1, 0.0)),
        ("bound", lambda: Circular(1, 1.0, bound=-1.0)),
        ("features", lambda: Log(0)),
    ],
)
def test_bad_options_are_named(argument, make):
    with pytest.raises(ArgumentError, match=f"^{argument}: expected"):
        make()


def test_ends_and_statistics_must_fit_the_features():
    with pytest.raises(ShapeError, match="low: expected 2 ends"):
        Interval(2, low=[0.0])
    with pytest.raises(ShapeError, match="std: expected one number per feature"):
        Standardize([0.0, 1.0], [1.0])
    with pytest.raises(ShapeError, match="x: expected"):
        Standardize.of(torch.empty(0, 2))


def test_ends_are_exact_in_float64():
    middle = torch.tensor([[1.7e9 + 5]], dtype=torch.float64)
    z, logabsdet = Interval(1, 1.7e9, 1.7e9 + 10).double()(middle)
    assert z.item() == 0
    assert logabsdet.isfinite()
    faces = torch.tensor([[0.1], [0.7]], dtype=torch.float64)
    assert BoxUniform(0.1, 0.7).double().log_prob(faces).isfinite().all()


def test_samples_never_land_on_an_end():
    for support, base in ((Interval(1, 1000.0, 1001.0), StandardLogistic(1)), (Log(1), None)):
        flow = Flow(support, base or StandardNormal(1))
        assert flow.log_prob(flow.sample((100_000,))).isfinite().all()
    far = torch.tensor([[-200.0], [200.0]])
    x, _ = Log(1).inverse(far)
    assert Log(1)(x)[1].isfinite().all()
