"""Belief networks against sums over all of their latents."""

import itertools

import pytest
import torch

from flowkit.errors import ArgumentError, ContextError, DataError, ShapeError, TrainingError
from flowkit.estimators import iwae, log_likelihood, vimco
from flowkit.training import fit
from flowkit.vae import SigmoidBeliefNetwork


def every(bits):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=bits)), dtype=torch.float64)


def model(layers=(3, 2), hidden=(), **options):
    torch.manual_seed(0)
    found = SigmoidBeliefNetwork(4, layers, hidden=hidden, **options).double()
    with torch.no_grad():
        for p in found.parameters():
            p.add_(0.5 * torch.randn_like(p))
    return found


def exact_log_prob(m, x, context=None):
    """Return ``log p(x)`` by summing over all latents of both layers."""
    h1, h2 = every(m.layers[0]), every(m.layers[1])
    bernoulli = torch.distributions.Bernoulli
    prior = m.prior if context is None else m.prior(context)
    log_h2 = bernoulli(logits=prior).log_prob(h2).sum(-1)  # (4,)
    log_h1 = bernoulli(logits=m.generative[0](h2)[:, None]).log_prob(h1).sum(-1)  # (4, 8)
    log_x = bernoulli(logits=m.generative[1](h1)[:, None]).log_prob(x).sum(-1)  # (8, n)
    return torch.logsumexp((log_h2[:, None] + log_h1)[..., None] + log_x, dim=(0, 1))


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_probabilities_of_all_rows_sum_to_one(hidden):
    m = model(hidden=hidden)
    assert exact_log_prob(m, every(4)).exp().sum().item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_importance_sampling_finds_the_likelihood(hidden):
    m, x = model(hidden=hidden), every(4)
    found = log_likelihood(
        m, x, samples=20_000, chunk=1000, generator=torch.Generator().manual_seed(0)
    )
    assert ((found.value - exact_log_prob(m, x)).abs() < 5 * found.standard_error + 1e-4).all()


def test_weights_are_those_of_the_latents_drawn():
    m, x = model(), every(4)[:5]
    layers, log_p, log_q = m.draw(x, 3, torch.Generator().manual_seed(0))
    bernoulli = torch.distributions.Bernoulli
    h1, h2 = layers
    assert h1.shape == (3, 5, 3)
    expected = bernoulli(logits=m.inference[0](x)).log_prob(h1).sum(-1)
    expected = expected + bernoulli(logits=m.inference[1](h1)).log_prob(h2).sum(-1)
    assert torch.allclose(log_q, expected, atol=1e-10)
    joint = bernoulli(logits=m.prior).log_prob(h2).sum(-1)
    joint = joint + bernoulli(logits=m.generative[0](h2)).log_prob(h1).sum(-1)
    joint = joint + bernoulli(logits=m.generative[1](h1)).log_prob(x).sum(-1)
    assert torch.allclose(log_p, joint, atol=1e-10)
    assert not any(h.requires_grad for h in layers)


def test_samples_follow_the_model():
    m = model()
    drawn = m.sample(40_000, torch.Generator().manual_seed(0))
    x = every(4)
    index = (drawn @ torch.tensor([8.0, 4.0, 2.0, 1.0], dtype=torch.float64)).long()
    share = torch.bincount(index, minlength=16) / 40_000
    assert torch.allclose(share.double(), exact_log_prob(m, x).exp(), atol=0.01)


def test_inputs_are_centred_and_biases_start_at_the_data():
    mean = torch.tensor([0.1, 0.5, 0.9, 0.0])
    m = SigmoidBeliefNetwork(4, (3,), mean=mean)
    assert torch.allclose(m.inference[0].centre, mean)
    bias = m.generative[-1].net[-1].bias
    assert torch.allclose(bias[:3], torch.logit(mean[:3]), atol=1e-5)
    assert bias[3].isfinite()
    assert torch.equal(m.inference[0](mean), m.inference[0].net[-1].bias)


@pytest.mark.parametrize(
    "objective", ["vimco", "nvil", "reinforce", "reweighted_wake_sleep", vimco]
)
def test_training_raises_the_likelihood(objective):
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    patterns = (torch.rand(4, 16, generator=g) < 0.5).float()
    x = patterns[torch.randint(4, (256,), generator=g)]
    m = SigmoidBeliefNetwork(16, (8, 4), mean=x.mean(0))
    before = log_likelihood(m, x[:32], samples=200).value.mean()
    fit(m, x, objective=objective, samples=5, steps=200, batch_size=64, learning_rate=1e-2)
    after = log_likelihood(m, x[:32], samples=200).value.mean()
    assert after > before + 1


def test_nvil_learns_its_baseline_and_others_leave_it_alone():
    x = every(4).float()
    for objective, moves in (("nvil", True), ("vimco", False)):
        torch.manual_seed(0)
        m = SigmoidBeliefNetwork(4, (3,))
        before = m.baseline.net[-1].weight.clone()
        fit(m, x, objective=objective, samples=4, steps=5, batch_size=8)
        assert torch.equal(before, m.baseline.net[-1].weight) is not moves
        assert bool(m.moments.updates > 0) is moves


def test_structured_prediction():
    torch.manual_seed(0)
    m = model(context_features=3)
    x, context = every(4)[:6], torch.rand(6, 3, dtype=torch.float64).round()
    found = log_likelihood(m, x, samples=30_000, chunk=3000, context=context)
    expected = torch.stack([exact_log_prob(m, x[i : i + 1], context[i])[0] for i in range(6)])
    assert ((found.value - expected).abs() < 5 * found.standard_error + 1e-4).all()
    # The weights are those of p(x | h) alone, as latents come from the model itself.
    layers, log_p, log_q = m.draw(x, 2, context=context)
    alone = torch.distributions.Bernoulli(logits=m.generative[-1](layers[0])).log_prob(x).sum(-1)
    assert torch.allclose(log_p - log_q, alone, atol=1e-10)
    assert m.sample(5, context=context).shape == (5, 6, 4)


def test_gradient_of_structured_prediction_is_that_of_its_bound():
    """By enumeration over pairs of latents of a single layer."""
    torch.manual_seed(0)
    m = SigmoidBeliefNetwork(2, (2,), context_features=1).double()
    with torch.no_grad():
        for p in m.parameters():
            p.add_(torch.randn_like(p))
    x, c = torch.tensor([[1.0, 0.0]]).double(), torch.ones(1, 1).double()
    bits = every(2)
    pairs = torch.tensor(list(itertools.product(range(4), repeat=2))).T
    bernoulli = torch.distributions.Bernoulli
    log_h = bernoulli(logits=m.prior(c)).log_prob(bits).sum(-1)[pairs]
    log_x = bernoulli(logits=m.generative[0](bits)).log_prob(x).sum(-1)[pairs]
    weights = [m.prior.net[-1].weight, m.generative[0].net[-1].weight]
    exact = (log_h.sum(0).exp() * iwae(log_x, torch.zeros_like(log_x)).surrogate).sum()
    expected = torch.autograd.grad(exact, weights, retain_graph=True)
    estimate = vimco(log_h + log_x, log_h)
    mean = (log_h.sum(0).exp().detach() * estimate.surrogate).sum()
    for a, b in zip(torch.autograd.grad(mean, weights), expected, strict=True):
        assert torch.allclose(a, b, atol=1e-10)


def test_structured_prediction_trains():
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    context = (torch.rand(256, 3, generator=g) < 0.5).float()
    x = torch.cat([context, 1 - context], 1)
    m = SigmoidBeliefNetwork(6, (8,), context_features=3, context_mean=context.mean(0))
    history = fit(m, x, context=context, samples=5, steps=300, batch_size=64, learning_rate=1e-2)
    assert sum(history.loss[-20:]) / 20 < 0.5 * sum(history.loss[:20]) / 20


def test_bad_input_is_named_before_the_first_step():
    m = SigmoidBeliefNetwork(4, (3,))
    x = every(4).float()
    with pytest.raises(DataError, match="^data, row 2, entry 1: expected 0 or 1"):
        bad = x.clone()
        bad[2, 1] = 0.5
        fit(m, bad, steps=1)
    with pytest.raises(ShapeError, match="^data: expected rows"):
        fit(m, x[:, :3], steps=1)
    with pytest.raises(ContextError, match="^context: expected"):
        fit(m, x, context=x, steps=1)
    with pytest.raises(ContextError, match="^context: expected"):
        fit(SigmoidBeliefNetwork(4, (3,), context_features=2), x, steps=1)
    with pytest.raises(ArgumentError, match="^samples: expected at least 2 for VIMCO"):
        fit(m, x, samples=1, steps=1)
    with pytest.raises(ArgumentError, match="^samples: expected"):
        fit(m, x, samples=0, steps=1)
    with pytest.raises(ArgumentError, match="^objective: expected one of"):
        fit(m, x, objective="elbo", steps=1)
    with pytest.raises(ArgumentError, match="^mean: expected numbers"):
        SigmoidBeliefNetwork(4, (3,), mean=torch.full((4,), 2.0))
    with pytest.raises(ShapeError, match="^mean: expected"):
        SigmoidBeliefNetwork(4, (3,), mean=torch.zeros(3))
    with pytest.raises(ArgumentError, match="^layers: expected"):
        SigmoidBeliefNetwork(4, ())


def test_nan_in_a_belief_network_names_the_term():
    model = SigmoidBeliefNetwork(6, (4,), context_features=3)
    bits = torch.ones(9, 6)
    with pytest.raises(TrainingError, match="negative_bound"):
        fit(model, bits, context=torch.full((9, 3), torch.nan), steps=1)
    with pytest.raises(ShapeError, match="^context"):
        fit(model, bits, context=torch.zeros(9, 2), steps=1)
    with pytest.raises(ShapeError, match="^context"):
        model.sample(2, context=torch.zeros(9, 2))
    with pytest.raises(ContextError, match="^context"):
        SigmoidBeliefNetwork(6, (4,)).sample(3, context=torch.zeros(1, 3))
