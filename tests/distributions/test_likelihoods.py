"""Distributions of observations."""

import math

import numpy as np
import pytest
import torch

from flowkit.errors import ArgumentError, DataError
from flowkit.flows import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    ContinuousBernoulliLikelihood,
    DiscretizedLogisticLikelihood,
    GaussianLikelihood,
    likelihood_named,
)

LEVELS = {
    "bernoulli": (BernoulliLikelihood(), 2),
    "categorical": (CategoricalLikelihood(7), 7),
    "logistic": (DiscretizedLogisticLikelihood(16), 16),
    "logistic_mixture": (DiscretizedLogisticLikelihood(256, components=5), 256),
}


@pytest.mark.parametrize("spread", [1.0, 4.0])
@pytest.mark.parametrize("name", LEVELS)
def test_masses_sum_to_one(name, spread):
    law, levels = LEVELS[name]
    params = spread * torch.randn(law.outputs, 50, dtype=torch.float64)
    every = torch.arange(levels, dtype=torch.float64)[:, None].expand(levels, 50)
    mass = law.log_prob(every, params[:, None].expand(-1, levels, -1)).exp().sum(0)
    assert torch.allclose(mass, torch.ones(50, dtype=torch.float64), atol=1e-9)


@pytest.mark.parametrize("logit", [-30.0, -1.0, -1e-3, 0.0, 0.05, 0.0999, 0.1001, 3.0, 30.0])
def test_continuous_bernoulli_is_a_density_and_torchs(logit):
    law = ContinuousBernoulliLikelihood()
    params = torch.full((1, 1), logit, dtype=torch.float64)
    x = (torch.arange(100_000, dtype=torch.float64)[:, None] + 0.5) / 100_000
    log_density = law.log_prob(x, params)
    assert log_density.exp().mean() == pytest.approx(1.0, abs=1e-6)
    if abs(logit) < 10:  # torch rounds probabilities that are further out
        theirs = torch.distributions.ContinuousBernoulli(logits=params).log_prob(x)
        assert torch.allclose(log_density, theirs, atol=1e-6)


def test_gaussian_scales():
    x, params = torch.randn(5, 3), torch.randn(2, 5, 3)
    decoded = GaussianLikelihood("decoded")
    normal = torch.distributions.Normal(params[0], params[1].exp())
    assert torch.allclose(decoded.log_prob(x, params), normal.log_prob(x), atol=1e-5)
    learned, fixed = GaussianLikelihood("learned"), GaussianLikelihood(0.5)
    assert (decoded.outputs, learned.outputs, fixed.outputs) == (2, 1, 1)
    assert learned.log_scale.requires_grad
    assert not fixed.log_scale.requires_grad
    expected = torch.distributions.Normal(params[0], 0.5).log_prob(x)
    assert torch.allclose(fixed.log_prob(x, params[:1]), expected, atol=1e-6)


def test_discretized_logistic_keeps_its_digits():
    """Narrow components and levels far from them: no infinity, and gradients that bring them in."""
    law = DiscretizedLogisticLikelihood(256)
    for mean in (-3.0, 0.0, 0.9):
        params = torch.tensor([0.0, mean, -9.0])[:, None].requires_grad_()
        log_prob = law.log_prob(torch.arange(256.0), params.expand(3, 256))
        assert log_prob.isfinite().all()
        (gradient,) = torch.autograd.grad(log_prob.sum(), params)
        assert gradient.isfinite().all()
    far = torch.tensor([0.0, -0.9, -4.0])[:, None].requires_grad_()
    (gradient,) = torch.autograd.grad(law.log_prob(torch.tensor([200.0]), far).sum(), far)
    assert gradient[1] > 0


@pytest.mark.parametrize("name", [*LEVELS, "continuous_bernoulli", "gaussian"])
def test_samples_follow_the_law(name):
    torch.manual_seed(0)
    law = LEVELS[name][0] if name in LEVELS else likelihood_named(name)
    params = 0.5 * torch.randn(law.outputs, 1, 3)
    generator = torch.Generator().manual_seed(0)
    draws = law.sample(params.expand(-1, 40_000, -1), generator)
    error = draws.std(0) / math.sqrt(40_000)
    assert ((draws.mean(0) - law.mean(params)[0]).abs() < 5 * error).all()
    again = law.sample(params.expand(-1, 40_000, -1), torch.Generator().manual_seed(0))
    assert torch.equal(draws, again)
    law.check(draws)  # what is drawn can be observed
    # The mean log-probability of draws is minus the entropy, whichever way it is computed.
    if name in LEVELS:
        levels = LEVELS[name][1]
        every = torch.arange(float(levels))[:, None].expand(levels, 3)
        log_mass = law.log_prob(every, params.expand(-1, levels, -1))
        scores = law.log_prob(draws, params.expand(-1, 40_000, -1))
        entropy = (log_mass.exp() * log_mass).sum(0)
        assert torch.allclose(scores.mean(0), entropy, atol=0.03)


def test_batches_of_parameters_broadcast_with_rows():
    for name, (law, levels) in LEVELS.items():
        x = torch.randint(0, levels, (5, 3)).float()
        params = torch.randn(law.outputs, 4, 5, 3)
        log_prob = law.log_prob(x, params)
        assert log_prob.shape == (4, 5, 3), name
        assert torch.allclose(log_prob[2], law.log_prob(x, params[:, 2]), atol=1e-6)


def test_stochastic_bits_are_drawn_anew():
    law = BernoulliLikelihood(stochastic=True)
    x = torch.full((1000, 3), 0.3)
    law.check(x)
    generator = torch.Generator().manual_seed(0)
    first, second = law.observe(x, generator), law.observe(x, generator)
    assert not torch.equal(first, second)
    assert first.mean() == pytest.approx(0.3, abs=0.03)
    assert BernoulliLikelihood().observe(x) is x


@pytest.mark.parametrize(
    ("law", "value", "message"),
    [
        (BernoulliLikelihood(), 0.5, "0 or 1 under a Bernoulli likelihood"),
        (BernoulliLikelihood(stochastic=True), 1.5, "a probability between 0 and 1"),
        (ContinuousBernoulliLikelihood(), -0.1, "a number between 0 and 1"),
        (DiscretizedLogisticLikelihood(16), 16.0, "from 0 to 15"),
        (DiscretizedLogisticLikelihood(16), 0.5, "a level, an integer"),
        (CategoricalLikelihood(4), -1.0, "an integer from 0 to 3"),
        (GaussianLikelihood(), math.inf, "a finite number"),
        (BernoulliLikelihood(), math.nan, "0 or 1"),
    ],
)
def test_values_that_cannot_be_observed_are_named(law, value, message):
    x = torch.zeros(4, 3)
    x[2, 1] = value
    with pytest.raises(DataError, match=rf"^data, row 2, entry \(1,\): expected .*{message}"):
        law.check(x)


def test_bad_options():
    with pytest.raises(ArgumentError, match="^likelihood: expected one of"):
        likelihood_named("poisson")
    with pytest.raises(ArgumentError, match="^scale: expected"):
        GaussianLikelihood("free")
    with pytest.raises(ArgumentError, match="^scale: expected"):
        GaussianLikelihood(-1.0)
    with pytest.raises(ArgumentError, match="^levels: expected"):
        DiscretizedLogisticLikelihood(1)


@pytest.mark.parametrize("logit", [-200.0, -5.0, -0.2, -0.05, 0.05, 0.2, 5.0, 50.0, 200.0])
def test_means_and_draws_of_the_continuous_bernoulli_are_those_of_its_density(logit):
    law, params = ContinuousBernoulliLikelihood(), torch.full((1, 50_000), logit)
    expected = 1 / -np.expm1(-logit) - 1 / logit
    assert law.mean(params)[0].item() == pytest.approx(expected, abs=1e-6)
    params.requires_grad_()
    (slope,) = torch.autograd.grad(law.mean(params).sum(), params)
    assert slope.isfinite().all()
    drawn = law.sample(params, torch.Generator().manual_seed(0))
    assert drawn.mean().item() == pytest.approx(expected, abs=0.006)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
