"""Flows fitted to densities, without data."""

import math
import re
import warnings

import pytest
import torch
from recipes.inference import TASKS

from flowkit.errors import (
    ArgumentError,
    ContextError,
    MissedDensityWarning,
    ShapeError,
    TrainingError,
)
from flowkit.flows import DiagonalNormal, Flow, StandardLogistic, iaf, maf, nsf, real_nvp
from flowkit.training import fit
from flowkit.transforms import Chain, Interval
from flowkit.vae import Diagnostics, fit_posterior


def gaussian(z):
    """Unnormalised, with evidence 2 pi 0.5 e^0.7: means 1 and -2, deviations 0.5 and 1."""
    u = (z - z.new_tensor([1.0, -2.0])) / z.new_tensor([0.5, 1.0])
    return -0.5 * u.square().sum(-1) + 0.7


@pytest.mark.parametrize(
    ("objective", "samples"),
    [
        ("elbo", 1),
        ("sticking_the_landing", 1),
        ("iwae", 4),
        ("dreg", 4),
        ("reweighted_wake_sleep", 4),
    ],
)
def test_a_gaussian_is_found_with_its_evidence(objective, samples):
    torch.manual_seed(0)
    posterior = fit_posterior(
        gaussian,
        iaf(2, layers=2, hidden=(8,)),
        objective=objective,
        samples=samples,
        batch_size=64,
        steps=250,
        learning_rate=3e-2,
    )
    d = posterior.diagnostics
    assert isinstance(d, Diagnostics)
    assert d.log_evidence == pytest.approx(math.log(2 * math.pi * 0.5) + 0.7, abs=0.02)
    assert d.effective_samples > 8_000
    assert d.elbo <= d.log_evidence + 0.01
    z = posterior.sample(4000, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(z.mean(0), torch.tensor([1.0, -2.0]), atol=0.1)
    assert torch.allclose(z.std(0), torch.tensor([0.5, 1.0]), atol=0.1)
    assert "Pareto k" in str(d)


def test_resampling_corrects_a_flow_that_is_off():
    flow = maf(2, layers=1, hidden=(8,))  # as it is: a standard normal
    target = lambda z: -0.5 * ((z - 0.5) / 0.7).square().sum(-1)  # noqa: E731
    posterior = fit_posterior(target, flow, steps=1, learning_rate=1e-9)
    generator = torch.Generator().manual_seed(0)
    plain = posterior.sample(5000, generator=generator)
    better = posterior.sample(5000, resample=True, generator=generator)
    assert plain.mean().abs() < 0.05
    assert better.mean() == pytest.approx(0.5, abs=0.05)
    assert better.std() == pytest.approx(0.7, abs=0.05)
    again = posterior.sample(50, resample=True, generator=torch.Generator().manual_seed(1))
    same = posterior.sample(50, resample=True, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again, same)


def test_annealing_finds_both_modes():
    def two(z):
        return torch.logaddexp(
            -0.5 * ((z - 4) / 0.5).square().sum(-1), -0.5 * ((z + 4) / 0.5).square().sum(-1)
        )

    def run(anneal, steps):
        torch.manual_seed(0)
        inside = nsf(1, layers=1, bins=8, bound=8.0, hidden=(8,)).transform
        flow = Flow(Chain(Interval(1, -8.0, 8.0), inside), StandardLogistic(1))
        return fit_posterior(two, flow, steps=steps, anneal=anneal, learning_rate=2e-2)

    found = run(anneal=150, steps=300)
    generator = torch.Generator().manual_seed(0)
    plain = (found.sample(4000, generator=generator) > 0).float().mean().item()
    assert 0.05 < plain < 0.95  # both are held, if not in equal shares,
    better = found.sample(4000, resample=True, generator=generator)
    assert (better > 0).float().mean().item() == pytest.approx(0.5, abs=0.05)  # which is mended
    evidence = math.log(2 * 0.5 * math.sqrt(2 * math.pi))
    assert found.diagnostics.log_evidence == pytest.approx(evidence, abs=0.05)
    # Draws of a flow that covers one mode cannot detect the other; those of wider distributions do.
    narrow = iaf(1, layers=1, hidden=(4,), base=DiagonalNormal(1))
    with torch.no_grad():
        narrow.base.loc.fill_(4.0)
    with pytest.warns(MissedDensityWarning, match="misses .* anneal="):
        one = fit_posterior(two, narrow, steps=150, learning_rate=1e-2)
    d = one.diagnostics
    assert d.own_log_evidence == pytest.approx(evidence - math.log(2), abs=0.02)
    assert d.own_log_evidence_error < 0.01
    assert d.missed == pytest.approx(0.5, abs=3 * d.missed_error)
    assert d.log_evidence == pytest.approx(evidence, abs=3 * d.log_evidence_error)
    assert not d.trusted


LOG_PI = math.log(math.pi)


def bent(z):
    """Unnormalised: z1 standard, z2 = z1² + N(0, 1/4), with evidence pi and P(z2 > 5) = 0.0265."""
    return -0.5 * (z[:, 0].square() + 4 * (z[:, 1] - z[:, 0].square()).square())


def moments(posterior, wide=0.5):
    """P(z2 > 5) and E z1², by 50,000 weighted draws."""
    z, log_f = posterior.weighted(50_000, wide=wide, generator=torch.Generator().manual_seed(0))
    w = log_f.softmax(0)
    return (w * (z[:, 1] > 5)).sum().item(), (w * z[:, 0].square()).sum().item()


SMALL = {"layers": 2, "hidden": (64,)}


@pytest.mark.parametrize("options", [SMALL, pytest.param({}, marks=pytest.mark.slow)])
def test_a_box_that_the_density_leaves_is_named_and_made_up_for(options):
    def fitted(**box):
        torch.manual_seed(0)
        flow = nsf(2, coupling=True, **options, **box)
        rate = 3e-3 if options else 1e-3
        return fit_posterior(bent, flow, steps=300, learning_rate=rate, seed=0)

    with pytest.warns(MissedDensityWarning, match=r"within ±5 only.*bound=\d+, bins=\d+") as seen:
        posterior = fitted()
    assert seen[0].filename == __file__
    d = posterior.diagnostics
    assert "do not trust it" in str(d)
    assert "misses" in repr(d)
    # The flow's own weights are all but equal, and wrong.
    assert d.effective_samples > 9_000
    assert d.own_log_evidence < LOG_PI - 10 * d.own_log_evidence_error
    assert moments(posterior, wide=0.0)[0] < 1e-3
    assert d.log_evidence_error < 0.01
    assert d.log_evidence == pytest.approx(LOG_PI, abs=3 * d.log_evidence_error)
    tail, square = moments(posterior)
    assert tail == pytest.approx(0.0265, abs=0.006)
    assert square == pytest.approx(1.0, abs=0.05)
    z = posterior.sample(20_000, resample=True, generator=torch.Generator().manual_seed(0))
    assert (z[:, 1] > 5).float().mean().item() == pytest.approx(0.0265, abs=0.012)
    # What the warning advises is right.
    bound, bins = (int(n) for n in re.findall(r"bound=(\d+), bins=(\d+)", d.advice)[0])
    better = fitted(bound=bound, bins=bins).diagnostics
    assert better.trusted
    assert better.log_evidence == pytest.approx(LOG_PI, abs=0.005)


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(s, marks=pytest.mark.slow) for s in range(2, 12))]
)
@pytest.mark.parametrize("make", [maf, iaf, real_nvp], ids=lambda make: make.__name__)
def test_a_good_fit_is_not_accused(make, seed):
    """None of 36 fits of twelve seeds; a warning would be an error."""
    torch.manual_seed(seed)
    flow = make(2, layers=6 if make is real_nvp else 3, hidden=(32,))
    posterior = fit_posterior(bent, flow, steps=150, learning_rate=1e-2, seed=seed)
    d = posterior.diagnostics
    assert d.trusted
    assert d.missed < 0.005
    assert d.log_evidence == pytest.approx(LOG_PI, abs=0.005)
    tail, square = moments(posterior)
    assert tail == pytest.approx(0.0265, abs=0.003)
    assert square == pytest.approx(1.0, abs=0.03)


def untrained(target, flow):
    return fit_posterior(target, flow, steps=1, learning_rate=1e-9)


@pytest.mark.parametrize("features", [1, 3, 8])
def test_evidence_by_wider_laws_is_right_within_its_error(features):
    """A flow of two thirds of the target's width, whose own weights have no variance."""
    target = lambda z: -0.5 * (z / 1.5).square().sum(-1)  # noqa: E731
    truth = features * (0.5 * math.log(2 * math.pi) + math.log(1.5))
    errors = []
    for seed in range(5):
        torch.manual_seed(seed)
        flow = maf(features, layers=1, hidden=(8,))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MissedDensityWarning)
            posterior = fit_posterior(target, flow, steps=1, learning_rate=1e-9, seed=seed)
        d = posterior.diagnostics
        assert d.log_evidence_error < 0.03
        errors.append((d.log_evidence - truth) / d.log_evidence_error)
    assert max(map(abs, errors)) < 4
    assert abs(sum(errors)) < 3 * math.sqrt(5)


def test_wider_laws_stay_in_the_support_of_the_flow():
    """The target is wrong, or raises, outside a box that an interval keeps the flow in."""

    def flat(z):
        assert ((z > 0) & (z < 1)).all()
        return 0.0 * z.sum(-1)

    inside = nsf(2, layers=1, hidden=(8,)).transform
    flow = Flow(Chain(Interval(2, 0.0, 1.0), inside), StandardLogistic(2))
    d = untrained(flat, flow).diagnostics
    assert d.log_evidence == pytest.approx(0.0, abs=1e-3)
    assert d.trusted


def test_a_density_that_fails_far_out_does_not_cost_the_fit():
    def careful(z):
        if (z.abs() > 8).any():
            raise OverflowError("too far")
        return -0.5 * z.square().sum(-1)

    with pytest.warns(MissedDensityWarning, match="not available: log_prob: .*OverflowError: too"):
        posterior = untrained(careful, maf(2, layers=1, hidden=(8,)))
    assert posterior.sample(3).shape == (3, 2)
    no_number = lambda z: torch.where(z > 8, math.nan, -0.5 * z.square()).sum(-1)  # noqa: E731
    d = untrained(no_number, maf(2, layers=1, hidden=(8,))).diagnostics
    assert d.log_evidence == pytest.approx(math.log(2 * math.pi), abs=0.01)


def test_weighted_draws_take_a_share_of_wider_ones():
    flow = maf(2, layers=1, hidden=(8,))
    posterior = untrained(lambda z: -0.5 * z.square().sum(-1), flow)
    z, log_f = posterior.weighted(10_000, wide=0.0)
    assert log_f.std() < 1e-4  # the flow is the target
    _, log_f = posterior.weighted(10_000, wide=0.25)
    excess = log_f - math.log(2 * math.pi)
    assert 0.1 < excess.max() < -math.log(0.75)  # where the wider laws add nothing
    assert excess.min() < -4  # and where the flow has nothing
    for wide in (1.0, -0.1, True, "half", math.nan):
        with pytest.raises(ArgumentError, match="^wide: expected a number in"):
            posterior.weighted(10, wide=wide)
    assert posterior.weighted(1)[0].shape == (1, 2)
    assert posterior.weighted(25_000)[1].shape == (25_000,)


def test_densities_in_a_box():
    flow = Flow(
        Chain(Interval(1, 0.0, 1.0), nsf(1, layers=1, hidden=(8,)).transform), StandardLogistic(1)
    )

    def beta(z):
        inside = (z > 0) & (z < 1)
        safe = torch.where(inside, z, 0.5)
        return torch.where(inside, 2 * safe.log() + torch.log1p(-safe), -math.inf).sum(-1)

    posterior = fit_posterior(beta, flow, steps=200, learning_rate=2e-2)
    z = posterior.sample(4000, generator=torch.Generator().manual_seed(0))
    assert ((z > 0) & (z < 1)).all()
    assert z.mean() == pytest.approx(0.6, abs=0.02)
    expected = math.lgamma(3) + math.lgamma(2) - math.lgamma(5)
    assert posterior.diagnostics.log_evidence == pytest.approx(expected, abs=0.02)


def test_an_impossible_draw_does_not_spoil_the_fit():
    half = lambda z: torch.where(z[:, 0] > 0, -0.5 * z.square().sum(-1), -math.inf)  # noqa: E731
    torch.manual_seed(0)
    posterior = fit_posterior(
        half,
        maf(2, layers=1, hidden=(8,)),
        objective="reweighted_wake_sleep",
        samples=4,
        steps=300,
        learning_rate=1e-2,
    )
    assert posterior.diagnostics.log_evidence == pytest.approx(math.log(math.pi), abs=0.05)


def test_bad_densities_are_refused_before_the_first_step():
    flow = maf(2, layers=1, hidden=(8,))
    before = [p.clone() for p in flow.parameters()]
    with pytest.raises(ShapeError, match=r"^log_prob: expected a function that returns \(n,\)"):
        fit_posterior(lambda z: z, flow, steps=1)
    with pytest.raises(ShapeError, match="^log_prob: expected"):
        fit_posterior(lambda _: 0.0, flow, steps=1)
    with pytest.raises(ArgumentError, match="^log_prob: expected a number or -inf .*, got NaN at"):
        fit_posterior(lambda z: z[:, 0] * math.nan, flow, steps=1)
    with pytest.raises(ArgumentError, match="^log_prob: expected a finite value at some initial"):
        fit_posterior(lambda z: torch.full((len(z),), -math.inf), flow, steps=1)
    with pytest.raises(ContextError, match="^flow: expected a flow without context"):
        fit_posterior(gaussian, maf(2, context_features=1), steps=1)
    with pytest.raises(ArgumentError, match="^objective: expected one of"):
        fit_posterior(gaussian, flow, objective="vimco", steps=1)
    for name in ("samples", "batch_size", "steps"):
        with pytest.raises(ArgumentError, match=f"^{name}: expected"):
            fit_posterior(gaussian, flow, **{name: 0})
    assert all(torch.equal(a, b) for a, b in zip(before, flow.parameters(), strict=True))


def test_a_density_that_turns_nan_later_stops_the_fit():
    calls = []

    def later(z):
        calls.append(1)
        return gaussian(z) + (math.nan if len(calls) > 5 else 0.0)

    with pytest.raises(TrainingError, match="negative_bound"):
        fit_posterior(later, maf(2, layers=1, hidden=(8,)), steps=20)


@pytest.mark.parametrize("name", TASKS)
def test_likelihoods_of_tasks_are_those_of_their_simulators(name):
    """Mass and mean by importance sampling from a wide normal around what was simulated."""
    task = TASKS[name]()
    generator = torch.Generator().manual_seed(0)
    theta = task.prior(1, generator)
    x = task.simulate(theta.expand(40_000, -1), generator)
    assert task.log_prior(theta).isfinite().all()
    log_density = task.log_likelihood(x, theta.expand(len(x), -1))
    assert log_density.isfinite().float().mean() > 0.999
    mean, scale = x.mean(0), 2.0 * x.std(0)
    proposal = torch.distributions.Normal(mean, scale)
    torch.manual_seed(0)
    y = proposal.sample((400_000,))
    log_w = task.log_likelihood(y, theta.expand(len(y), -1)) - proposal.log_prob(y).sum(-1)
    w = log_w.exp()
    error = w.std() / math.sqrt(len(w))
    assert w.mean().item() == pytest.approx(1.0, abs=float(5 * error))
    assert error < 0.05
    weighted = (w[:, None] * y).mean(0)
    spread = (w[:, None] * y).std(0) / math.sqrt(len(w)) + x.std(0) / math.sqrt(len(x))
    assert ((weighted - x.mean(0)).abs() < 5 * spread).all()


def test_conditional_flows_are_amortised_posteriors():
    """Neural posterior estimation is maximum likelihood of parameters given what they made."""
    torch.manual_seed(0)
    theta = torch.randn(4000, 1)
    x = theta + 0.5 * torch.randn(4000, 1)
    flow = maf(1, context_features=1, layers=2, hidden=(16,))
    fit(flow, theta, context=x, steps=300, learning_rate=1e-2)
    z = flow.sample((4000,), torch.tensor([[1.5]])).detach()
    assert z.mean() == pytest.approx(1.5 / 1.25, abs=0.08)
    assert z.std() == pytest.approx(math.sqrt(0.25 / 1.25), abs=0.05)
