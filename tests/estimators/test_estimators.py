"""Estimators against exact sums over everything that can be drawn."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Bernoulli, Independent, Normal
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical
from zoo import perturb_

from flowkit.errors import ArgumentError, DataError, DtypeError, MissedDensityWarning, ShapeError
from flowkit.estimators import (
    RunningMoments,
    binary_concrete,
    binary_concrete_log_prob,
    concrete,
    concrete_log_prob,
    dreg,
    elbo,
    iwae,
    leave_one_out,
    log_likelihood,
    nvil,
    reinforce,
    reweighted_wake_sleep,
    sticking_the_landing,
    vimco,
)
from flowkit.flows import ConditionalNormal, Flow, maf, nsf
from flowkit.transforms import Inverse
from flowkit.vae import VAE, fit_posterior, posterior

BITS = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=torch.float64)
LOG_P_X = -0.5122703538364701
# By number of samples: the bound, its gradients by the posterior's and the prior's logits, and the
# trace of the variance of the naive, the geometric and the arithmetic estimator.
PUBLISHED = {
    2: (
        -1.0892411698049191,
        (0.2538750484, -0.4217904836, 0.2197615015),
        (-0.0633490207, 0.1503029533, -0.1031790676),
        (5.9374958, 1.3522626, 1.3522626),
    ),
    3: (
        -0.9056758259167934,
        (0.1903224876, -0.3262500187, 0.1654427122),
        (-0.01756562, 0.0627944303, -0.0653834616),
        (6.1238523, 0.5112974, 0.6473666),
    ),
    4: (
        -0.8075142438177184,
        (0.1528630415, -0.2605888226, 0.1330772824),
        (0.007826593, 0.0105639703, -0.043130497),
        (6.1422612, 0.2569265, 0.3858993),
    ),
}


class ThreeBits:
    """p(b) p(x = 1 | b) and q(b) over three bits, all of which can be enumerated."""

    def __init__(self, prior=(0.3, -0.7, 1.1), posterior=(-0.4, 0.6, 0.2)):
        self.prior = torch.tensor(prior, dtype=torch.float64, requires_grad=True)
        self.posterior = torch.tensor(posterior, dtype=torch.float64, requires_grad=True)

    def log_p(self, bits):
        logit = bits @ torch.tensor([1.5, -2.0, 0.8], dtype=torch.float64) - 0.3
        return Independent(Bernoulli(logits=self.prior), 1).log_prob(bits) + F.logsigmoid(logit)

    def log_q(self, bits):
        return Independent(Bernoulli(logits=self.posterior), 1).log_prob(bits)

    def tuples(self, k):
        """Return every tuple of k samples ``(k, 8^k)``'s log_p and log_q, and its probability."""
        index = torch.tensor(list(itertools.product(range(8), repeat=k))).T
        log_p, log_q = self.log_p(BITS)[index], self.log_q(BITS)[index]
        return log_p, log_q, log_q.detach().sum(0).exp()

    def exact(self, k):
        """Return the importance-weighted bound and its gradients, by summing over tuples."""
        log_p, log_q, _ = self.tuples(k)
        bound = torch.logsumexp(log_p - log_q, 0) - math.log(k)
        value = (log_q.sum(0).exp() * bound).sum()
        return (value, *torch.autograd.grad(value, [self.posterior, self.prior]))

    def moments(self, estimator, k):
        """Return the mean bound, the mean gradients, and the trace of the posterior's variance."""
        index = torch.tensor(list(itertools.product(range(8), repeat=k))).T
        n = index.shape[1]
        # Each tuple gets parameters of its own, so that one backward pass gives all gradients.
        posterior = self.posterior.detach().expand(n, 3).clone().requires_grad_()
        prior = self.prior.detach().expand(n, 3).clone().requires_grad_()
        bits = BITS[index]  # (k, n, 3)
        weights = torch.tensor([1.5, -2.0, 0.8], dtype=torch.float64)
        log_p = -F.binary_cross_entropy_with_logits(
            prior.expand_as(bits), bits, reduction="none"
        ).sum(-1) + F.logsigmoid(bits @ weights - 0.3)
        log_q = -F.binary_cross_entropy_with_logits(
            posterior.expand_as(bits), bits, reduction="none"
        ).sum(-1)
        p = log_q.detach().sum(0).exp()
        estimate = estimator(log_p, log_q)
        assert not estimate.bound.requires_grad
        of_q, of_p = torch.autograd.grad(estimate.surrogate.sum(), [posterior, prior])
        mean_q, mean_p = (p[:, None] * of_q).sum(0), (p[:, None] * of_p).sum(0)
        variance = (p[:, None] * of_q.square()).sum() - mean_q.square().sum()
        return (p * estimate.bound).sum(), mean_q, mean_p, variance


def rows_baseline(log_p, log_q):
    """NVIL with a baseline that is neither zero nor the same for every row."""
    c = torch.linspace(-3, 1, log_p.shape[1], dtype=log_p.dtype)[0].expand(log_p.shape[1])
    return nvil(log_p, log_q, baseline=c)


UNBIASED = {
    "naive": lambda p, q: vimco(p, q, baseline=None),
    "geometric": lambda p, q: vimco(p, q, baseline="geometric"),
    "arithmetic": lambda p, q: vimco(p, q, baseline="arithmetic"),
    "nvil": nvil,
    "nvil_with_a_baseline": rows_baseline,
}


@pytest.mark.parametrize("k", PUBLISHED)
def test_the_exact_gradients_are_the_published_ones(k):
    bound, of_q, of_p = ThreeBits().exact(k)
    expected_bound, expected_q, expected_p, _ = PUBLISHED[k]
    assert bound.item() == pytest.approx(expected_bound, abs=1e-12)
    assert torch.allclose(of_q, torch.tensor(expected_q, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(of_p, torch.tensor(expected_p, dtype=torch.float64), atol=1e-9)
    assert bound < LOG_P_X


@pytest.mark.parametrize("seed", [None, 0, 1])
@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("name", UNBIASED)
def test_expectation_over_all_tuples_is_the_exact_gradient(name, k, seed):
    model = ThreeBits()
    if seed is not None:  # any parameters
        g = torch.Generator().manual_seed(seed)
        model = ThreeBits(*(2 * torch.randn(2, 3, generator=g, dtype=torch.float64)).tolist())
    bound, of_q, of_p = model.exact(k)
    mean_bound, mean_q, mean_p, _ = model.moments(UNBIASED[name], k)
    assert abs(mean_bound - bound) < 1e-10
    assert (mean_q - of_q).abs().max() < 1e-10
    assert (mean_p - of_p).abs().max() < 1e-10


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("baseline", [0.0, -1.5, "leave_one_out"])
def test_reinforce_is_unbiased_for_the_elbo(baseline, k):
    model = ThreeBits()
    if baseline == "leave_one_out" and k == 1:
        return
    bound, of_q, of_p = model.exact(1)
    found = model.moments(lambda p, q: reinforce(p, q, baseline=baseline), k)
    assert abs(found[0] - bound) < 1e-10
    assert (found[1] - of_q).abs().max() < 1e-10
    assert (found[2] - of_p).abs().max() < 1e-10


def test_variances_of_single_sample_estimators():
    model = ThreeBits()
    bound = model.exact(1)[0].item()
    assert bound == pytest.approx(-1.5372962403706536, abs=1e-12)
    plain = model.moments(reinforce, 1)[3].item()
    with_baseline = model.moments(lambda p, q: reinforce(p, q, baseline=bound), 1)[3].item()
    assert plain == pytest.approx(2.3236, abs=1e-4)
    assert with_baseline == pytest.approx(1.2478, abs=1e-4)
    # NVIL of one sample is REINFORCE with its baseline.
    c = torch.full((8,), bound, dtype=torch.float64)
    nvil_variance = model.moments(lambda p, q: nvil(p, q, baseline=c), 1)[3].item()
    assert nvil_variance == pytest.approx(with_baseline, abs=1e-10)


@pytest.mark.parametrize(("k", "ratio"), [(2, 4.39), (3, 11.98), (4, 23.9)])
def test_variances_of_vimco(k, ratio):
    model = ThreeBits()
    naive, geometric, arithmetic = (
        model.moments(UNBIASED[name], k)[3].item() for name in ("naive", "geometric", "arithmetic")
    )
    assert (naive, geometric, arithmetic) == pytest.approx(PUBLISHED[k][3], abs=1e-6)
    assert naive / geometric == pytest.approx(ratio, rel=0.01)


def test_bounds_grow_with_samples_up_to_the_likelihood():
    bounds = [ThreeBits().exact(k)[0].item() for k in (1, 2, 3, 4)]
    assert bounds == sorted(bounds)
    assert bounds[-1] < LOG_P_X


# With log-weights (0, -1000, -2000) a difference inside a logarithm has no digits left.
EXTREME = torch.tensor([0.0, -1000.0, -2000.0])


def test_leave_one_out_of_extreme_weights_is_exact_in_float32():
    arithmetic = torch.tensor([-1000 - math.log(2), -math.log(2), -math.log(2)])
    geometric = torch.tensor([-1000 - math.log(3), -math.log(3), -math.log(3)])
    assert torch.equal(leave_one_out(EXTREME, "arithmetic"), arithmetic)
    assert torch.equal(leave_one_out(EXTREME, "geometric"), geometric)
    order = torch.tensor([2, 0, 1])
    assert torch.equal(leave_one_out(EXTREME[order]), geometric[order])
    gone = torch.tensor([0.0, -math.inf, -1.0])  # a sample that the model rules out
    assert leave_one_out(gone, "arithmetic").isfinite().all()
    assert not leave_one_out(gone).isnan().any()


@pytest.mark.parametrize("name", [*UNBIASED, "elbo", "iwae", "reinforce", "rws", "stl", "dreg"])
def test_extreme_weights_give_no_nan(name):
    log_p = EXTREME[:, None].expand(3, 2).clone().requires_grad_()
    log_q = torch.zeros(3, 2, requires_grad=True)
    if name in ("stl", "dreg"):
        loc = torch.zeros(2, requires_grad=True)
        q = Normal(loc, 1.0)
        z = q.rsample((3,))
        log_p = log_p + q.log_prob(z).detach() + 0 * z
        estimate = {"stl": sticking_the_landing, "dreg": dreg}[name](log_p, q, z)
        (gradient,) = torch.autograd.grad(estimate.surrogate.sum(), [loc])
    else:
        others = {"elbo": elbo, "iwae": iwae, "rws": reweighted_wake_sleep}
        others["reinforce"] = lambda p, q: reinforce(p, q, baseline="leave_one_out")
        estimate = {**UNBIASED, **others}[name](log_p, log_q)
        (gradient,) = torch.autograd.grad(estimate.surrogate.sum(), [log_p])
    assert gradient.isfinite().all()
    assert estimate.bound.isfinite().all()
    if name not in ("elbo", "reinforce", "stl"):
        assert torch.allclose(estimate.bound, torch.tensor(-math.log(3)), atol=1e-4)


class LinearGaussian:
    """z standard normal, x given z normal about it: the posterior is N(x / 2, 1 / 2)."""

    def __init__(self, samples=6):
        g = torch.Generator().manual_seed(0)
        self.x = torch.randn(4, generator=g, dtype=torch.float64)
        loc = (self.x / 2).requires_grad_()
        self.loc, self.scale = loc, torch.tensor(0.5, dtype=torch.float64).sqrt().requires_grad_()
        self.q = Normal(self.loc, self.scale)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.z = self.q.rsample((samples,))
        zero, one = torch.tensor([0.0, 1.0], dtype=torch.float64)
        unit = Normal(zero, one)
        self.log_p = unit.log_prob(self.z) + unit.log_prob(self.x - self.z)
        self.log_q = self.q.log_prob(self.z)
        self.log_p_x = Normal(zero, (2 * one).sqrt()).log_prob(self.x)

    def gradient(self, estimate):
        wanted = [self.loc, self.scale]
        return torch.autograd.grad(estimate.surrogate.sum(), wanted, retain_graph=True)


@pytest.mark.parametrize("samples", [2, 5, 50])
@pytest.mark.parametrize(
    "name", ["elbo", "iwae", "stl", "dreg", "vimco", "nvil", "reinforce", "rws"]
)
def test_the_exact_posterior_gives_the_likelihood_whatever_the_samples(name, samples):
    m = LinearGaussian(samples)
    estimate = {
        "elbo": lambda: elbo(m.log_p, m.log_q),
        "iwae": lambda: iwae(m.log_p, m.log_q),
        "stl": lambda: sticking_the_landing(m.log_p, m.q, m.z),
        "dreg": lambda: dreg(m.log_p, m.q, m.z),
        "vimco": lambda: vimco(m.log_p, m.log_q),
        "nvil": lambda: nvil(m.log_p, m.log_q),
        "reinforce": lambda: reinforce(m.log_p, m.log_q),
        "rws": lambda: reweighted_wake_sleep(m.log_p, m.log_q),
    }[name]()
    assert (estimate.bound - m.log_p_x).abs().max() < 1e-12  # for every row: no variance


@pytest.mark.parametrize("estimator", [sticking_the_landing, dreg])
def test_path_gradients_of_an_exact_posterior_have_no_variance(estimator):
    m = LinearGaussian()
    for gradient in m.gradient(estimator(m.log_p, m.q, m.z)):
        assert gradient.abs().max() < 1e-12
    assert m.gradient(elbo(m.log_p, m.log_q))[1].abs() > 1e-3  # as the plain estimator's has


@pytest.mark.parametrize("k", [1, 2, 5])
def test_path_gradients_have_the_right_mean(k):
    """Against the plain estimators, by thirty thousand draws of a posterior that is off."""
    torch.manual_seed(0)
    n = 30_000
    x = 0.7

    def gradients(estimator):
        loc = torch.full((n,), 0.1, dtype=torch.float64, requires_grad=True)
        log_scale = torch.full((n,), -0.3, dtype=torch.float64, requires_grad=True)
        theta = torch.full((n,), 0.2, dtype=torch.float64, requires_grad=True)
        q = Normal(loc, log_scale.exp())
        z = q.rsample((k,))
        log_p = Normal(0.0, 1.0).log_prob(z) + Normal(z + theta, 1.0).log_prob(torch.tensor(x))
        if estimator in (elbo, iwae):
            estimate = estimator(log_p, q.log_prob(z))
        else:
            estimate = estimator(log_p, q, z)
        return torch.stack(torch.autograd.grad(estimate.surrogate.sum(), [loc, log_scale, theta]))

    for plain, better in ((elbo, sticking_the_landing), (iwae, dreg)):
        a, b = gradients(plain), gradients(better)
        error = ((a.var(1) + b.var(1)) / n).sqrt()
        assert ((a.mean(1) - b.mean(1)).abs() < 4 * error).all()
        assert b[:2].var(1).sum() < a[:2].var(1).sum()


def test_dreg_leaves_no_hook_behind():
    m = LinearGaussian()
    (before,) = torch.autograd.grad(m.log_p.sum(), m.z, retain_graph=True)
    dreg(m.log_p, m.q, m.z)
    (after,) = torch.autograd.grad(m.log_p.sum(), m.z, retain_graph=True)
    assert torch.equal(before, after)


def test_flows_are_posteriors_too():
    torch.manual_seed(0)
    flow = Flow(
        Inverse(maf(2, context_features=3, layers=1, hidden=(8,)).transform),
        ConditionalNormal(2, context_features=3),
    )
    perturb_(flow)
    context = torch.randn(5, 3, requires_grad=True)
    z, log_q = flow.sample_and_log_prob((7,), context)
    log_p = -0.5 * z.square().sum(-1)
    stl = sticking_the_landing(log_p, flow, z, context)
    assert torch.allclose(stl.bound, elbo(log_p, log_q).bound, atol=1e-5)
    gradients = torch.autograd.grad(
        stl.surrogate.sum(), [*flow.parameters(), context], retain_graph=True
    )
    assert any(g.abs().max() > 0 for g in gradients)
    # No path means no gradient: what is left at fixed samples is the score alone.
    still = sticking_the_landing(log_p.detach(), flow, z.detach(), context)
    assert not still.surrogate.requires_grad
    assert dreg(log_p, flow, z, context).bound.shape == (5,)


def test_context_features_zero_flow_serves_without_context():
    flow = maf(2, layers=1, hidden=(8,))
    z = flow.sample((4,))
    log_p = -z.square().sum(-1)
    estimate = sticking_the_landing(log_p, flow, z)
    assert estimate.bound.shape == ()
    assert estimate.bound == pytest.approx(elbo(log_p, flow.log_prob(z)).bound.item(), abs=1e-5)


def test_any_batch_shape_and_any_number_of_samples():
    for k, batch in itertools.product((1, 2, 7), ((), (3,), (2, 3))):
        log_p = torch.randn(k, *batch, requires_grad=True)
        log_q = torch.randn(k, *batch, requires_grad=True)
        for estimator in (elbo, iwae, reinforce, nvil, reweighted_wake_sleep):
            estimate = estimator(log_p, log_q)
            assert estimate.bound.shape == estimate.surrogate.shape == batch
        if k > 1:
            assert vimco(log_p, log_q).surrogate.shape == batch


def test_rows_do_not_mix():
    log_p, log_q = torch.randn(2, 5, 3, dtype=torch.float64).unbind()
    for estimator in (iwae, vimco, nvil, reinforce):
        whole = estimator(log_p, log_q)
        for j in range(3):
            alone = estimator(log_p[:, j], log_q[:, j])
            assert torch.allclose(whole.bound[j], alone.bound)
            assert torch.allclose(whole.surrogate[j], alone.surrogate)


def test_nvil_divides_by_the_running_deviation_only_if_it_is_large():
    log_p, log_q = torch.randn(4, 2).requires_grad_(), torch.randn(4, 2).requires_grad_()
    moments = RunningMoments()
    (plain,) = torch.autograd.grad(nvil(log_p, log_q).surrogate.sum(), log_q, retain_graph=True)
    for variance, factor in ((0.25, 1.0), (16.0, 4.0)):
        moments.variance.fill_(variance)
        moments.mean.fill_(0.5)
        (got,) = torch.autograd.grad(
            nvil(log_p, log_q, moments=moments).surrogate.sum(), log_q, retain_graph=True
        )
        bound = nvil(log_p, log_q).bound
        rest = plain - bound  # what stands beside the signal
        assert torch.allclose(got, (bound - 0.5) / factor + rest, atol=1e-5)


def test_nvil_fits_its_baseline_by_the_signal():
    log_p, log_q = torch.randn(3, 2), torch.zeros(3, 2)
    c = torch.tensor([0.3, -0.2], requires_grad=True)
    estimate = nvil(log_p, log_q, baseline=c)
    (gradient,) = torch.autograd.grad(estimate.surrogate.sum(), c)
    assert torch.allclose(gradient, estimate.bound - c)


def test_running_moments():
    moments = RunningMoments(0.8)
    moments.update(torch.tensor([1.0, 3.0]))
    assert (moments.mean, moments.variance) == (2.0, 1.0)
    moments.update(torch.tensor([12.0, 12.0]))
    assert moments.mean == pytest.approx(0.8 * 2 + 0.2 * 12)
    assert moments.variance == pytest.approx(0.8)
    assert set(moments.state_dict()) == {"mean", "variance", "updates"}
    with pytest.raises(ArgumentError, match="^decay: expected"):
        RunningMoments(1.0)


def test_reweighted_wake_sleep():
    log_p = torch.randn(3, 2, requires_grad=True)
    log_q = torch.randn(3, 2, requires_grad=True)
    dreamed = torch.randn(4, 2, requires_grad=True)
    estimate = reweighted_wake_sleep(log_p, log_q, dreamed_log_q=dreamed)
    of_p, of_q, of_dream = torch.autograd.grad(estimate.surrogate.sum(), [log_p, log_q, dreamed])
    w = (log_p - log_q).softmax(0)
    assert torch.allclose(of_p, w)
    assert torch.allclose(of_q, w)
    assert torch.allclose(of_dream, torch.full((4, 2), 0.25))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_concrete_densities_are_densities(temperature):
    """Over two classes, by the logarithm of their ratio."""
    logits = torch.tensor([0.4, -0.8], dtype=torch.float64)
    y = torch.linspace(-60, 60, 200_001, dtype=torch.float64)  # the log-ratio
    log_value = torch.stack([F.logsigmoid(y), F.logsigmoid(-y)], -1)
    mass = concrete_log_prob(log_value, logits, temperature).exp().sum() * (y[1] - y[0])
    assert mass.item() == pytest.approx(1.0, abs=1e-6)
    # and that of the binary one is torch's
    torch.manual_seed(0)
    bit = binary_concrete(logits, temperature, (50,))
    theirs = LogitRelaxedBernoulli(torch.tensor(temperature, dtype=torch.float64), logits=logits)
    assert torch.allclose(bit.log_q, theirs.log_prob(bit.logit), atol=1e-6)
    relaxed = concrete(logits, temperature, (50,))
    theirs = ExpRelaxedCategorical(torch.tensor(temperature, dtype=torch.float64), logits=logits)
    assert torch.allclose(relaxed.log_q, theirs.log_prob(relaxed.logit), atol=1e-6)


def test_relaxed_samples_follow_their_classes_and_carry_gradients():
    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor([1.0, 0.0, -1.0], requires_grad=True)
    relaxed = concrete(logits, 0.5, (20_000,), generator=generator)
    share = F.one_hot(relaxed.value.argmax(-1), 3).float().mean(0)
    assert torch.allclose(share, logits.softmax(-1), atol=0.015)
    assert torch.allclose(relaxed.value.sum(-1), torch.ones(20_000), atol=1e-5)
    hard = concrete(logits, 0.5, (10,), hard=True, generator=generator)
    assert set(hard.value.detach().round(decimals=5).unique().tolist()) == {0.0, 1.0}
    (gradient,) = torch.autograd.grad(hard.value[:, 0].sum(), logits)
    assert gradient.abs().max() > 0
    bits = binary_concrete(logits, 0.1, (20_000,), hard=True, generator=generator).value
    assert torch.allclose(bits.mean(0), logits.sigmoid(), atol=0.015)
    again = [binary_concrete(logits, 0.5, generator=torch.Generator().manual_seed(3)).value] * 2
    assert torch.equal(*again)
    with pytest.raises(ArgumentError, match="^temperature: expected"):
        concrete(logits, 0.0)


def test_a_cold_relaxation_is_a_lower_bound_with_nearly_the_discrete_gradient():
    model, cold = ThreeBits(), 0.05
    bound, exact, _ = model.exact(1)
    weights = torch.tensor([1.5, -2.0, 0.8], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    relaxed = binary_concrete(model.posterior, cold, (200_000,), generator=generator)
    log_prior = binary_concrete_log_prob(relaxed.logit, model.prior.detach(), cold)
    log_p = log_prior.sum(-1) + F.logsigmoid(relaxed.value @ weights - 0.3)
    estimate = elbo(log_p, relaxed.log_q.sum(-1))
    # Bits are a function of what is relaxed, whose divergence therefore is the larger one.
    assert bound.item() - 0.2 < estimate.bound.item() < bound.item()
    (gradient,) = torch.autograd.grad(estimate.surrogate, model.posterior)
    assert F.cosine_similarity(gradient, exact, dim=0) > 0.9


class Fixed:
    def __init__(self, log_f):
        self.log_f, self.at = log_f, 0

    def log_weights(self, x, samples, generator):
        self.at += samples
        return self.log_f[self.at - samples : self.at]


def test_log_likelihood_streams_to_the_same_numbers():
    g = torch.Generator().manual_seed(0)
    log_f = torch.randn(103, 4, generator=g, dtype=torch.float64) * 3 - 500
    x = torch.zeros(4, 1)
    f = (log_f + 500).exp()
    expected = f.mean(0).log() - 500
    error = f.std(0) / math.sqrt(103) / f.mean(0)
    for chunk in (1, 10, 103, 1000):
        found = log_likelihood(Fixed(log_f), x, samples=103, chunk=chunk)
        assert torch.allclose(found.value, expected, atol=1e-10)
        assert torch.allclose(found.standard_error, error, rtol=1e-8)
        assert torch.allclose(found.effective_samples, f.sum(0) ** 2 / f.square().sum(0))
    equal = log_likelihood(Fixed(torch.zeros(50, 2)), x, samples=50, chunk=7)
    assert torch.allclose(equal.effective_samples, torch.tensor(50.0, dtype=torch.float64))
    assert equal.standard_error.max() < 1e-6


def test_bad_input_is_named():
    a, b = torch.zeros(3, 2), torch.zeros(3, 4)
    for estimator in (elbo, iwae, vimco, nvil, reinforce, reweighted_wake_sleep):
        with pytest.raises(ShapeError, match="^log_q: expected the shape of log_p"):
            estimator(a, b)
        with pytest.raises(ShapeError, match="^log_p: expected .* at least"):
            estimator(torch.zeros(0, 2), torch.zeros(0, 2))
        with pytest.raises(ShapeError, match="^log_p: expected .* at least"):
            estimator(torch.zeros(()), torch.zeros(()))
        with pytest.raises(DtypeError, match="^log_p: expected a floating-point"):
            estimator(torch.zeros(3, 2, dtype=torch.long), a)
    one = torch.zeros(1, 2)
    with pytest.raises(ShapeError, match="^log_p: expected .* at least 2 samples"):
        vimco(one, one)
    with pytest.raises(ShapeError, match="at least 2 samples"):
        reinforce(one, one, baseline="leave_one_out")
    with pytest.raises(ArgumentError, match="^baseline: expected one of"):
        vimco(a, a, baseline="harmonic")
    with pytest.raises(ArgumentError, match="^baseline: expected one of"):
        reinforce(a, a, baseline="mean")
    with pytest.raises(ShapeError, match="^baseline: expected shape"):
        nvil(a, a, baseline=torch.zeros(3))
    with pytest.raises(ShapeError, match="^dreamed_log_q: expected"):
        reweighted_wake_sleep(a, a, dreamed_log_q=torch.zeros(5, 3))
    with pytest.raises(ArgumentError, match="^posterior: expected"):
        sticking_the_landing(a, object(), a)
    with pytest.raises(ShapeError, match="^z: expected"):
        dreg(torch.zeros(3), Normal(torch.zeros(2), 1.0), torch.zeros(3))
    with pytest.raises(ArgumentError, match="^samples: expected"):
        log_likelihood(Fixed(a), torch.zeros(2, 1), samples=0)
    with pytest.raises(ShapeError, match="^model: expected"):
        log_likelihood(Fixed(torch.zeros(2, 1)), torch.zeros(1, 1), samples=3)


def test_the_score_of_a_transformed_distribution_is_stopped():
    laws = torch.distributions

    def law(loc, scale):
        return laws.TransformedDistribution(
            laws.Normal(0.0, 1.0), [laws.AffineTransform(loc, scale)]
        )

    loc, scale = torch.tensor(0.3, requires_grad=True), torch.tensor(0.7, requires_grad=True)
    q = law(loc, scale)
    z = q.rsample((5,))
    log_p = law(loc.detach(), scale.detach()).log_prob(z)
    sticking_the_landing(log_p, q, z).surrogate.backward()
    assert abs(loc.grad) < 1e-6
    assert abs(scale.grad) < 1e-6
    there = laws.AffineTransform(loc, scale)
    back = laws.TransformedDistribution(laws.Normal(0.0, 1.0), [there.inv])
    assert sticking_the_landing(log_p, back, z.detach()).surrogate.isfinite()

    class Net(laws.Transform):
        domain = codomain = laws.constraints.real
        bijective = True

        def __init__(self):
            super().__init__()
            self.net = nn.Linear(1, 1)

        def _inverse(self, y):
            return y + self.net.bias

        def log_abs_det_jacobian(self, x, y):
            return torch.zeros_like(x)

    hidden = laws.TransformedDistribution(laws.Normal(0.0, 1.0), [Net()])
    with pytest.raises(
        ArgumentError,
        match="^posterior: .*network in a transform",
    ):
        sticking_the_landing(log_p, hidden, z)


def test_a_log_density_without_gradient_is_refused_where_one_is_asked_for():
    def density(z):
        return -0.5 * z.detach().square().sum(-1)

    with pytest.raises(ArgumentError, match="^log_prob: .*without a gradient"):
        fit_posterior(density, nsf(2), steps=1)
    with pytest.warns(MissedDensityWarning):  # a constant has nothing to lose, and no integral
        fit_posterior(lambda z: torch.zeros(len(z)), nsf(2), steps=1)
    fitted = fit_posterior(density, nsf(2), steps=1, objective="reweighted_wake_sleep")
    assert fitted.sample(1, resample=True).shape == (1, 2)
    with pytest.raises(ArgumentError, match="^n: "):
        fitted.weighted(0)


@pytest.mark.parametrize("shape", [(3, 1), (5, 3), (2,)])
def test_a_baseline_of_another_shape_is_refused(shape):
    with pytest.raises(ShapeError, match="^baseline"):
        reinforce(torch.zeros(5, 3), torch.zeros(5, 3), baseline=torch.zeros(shape))


def test_too_few_samples_say_so():
    with pytest.raises(ShapeError, match="^log_f: expected at least 2"):
        leave_one_out(torch.zeros(1, 3))
    with pytest.raises(ShapeError, match="^logits"):
        concrete(torch.zeros(()), 0.5)

    class Coin(nn.Module):
        def log_weights(self, x, samples, generator):
            return torch.zeros(samples, len(x))

    model = VAE(nn.Linear(3, 4), nn.Linear(2, 3), posterior("normal", 2, context_features=4))
    with pytest.raises(DataError, match="row 0"):
        log_likelihood(model, torch.full((2, 3), 9.0), samples=2)
    assert log_likelihood(Coin(), torch.ones(2), samples=1).standard_error.isnan().all()
