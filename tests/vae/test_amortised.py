"""Posterior estimation from simulations."""

import numpy as np
import pytest
import torch

from flowkit.errors import ArgumentError, DataError, ShapeError
from flowkit.metrics import local_c2st, sbc, tarp
from flowkit.vae import ConditionalPosterior, fit_conditional

SCALES = np.array([1.0, 50.0])


def simulate(n, seed=0):
    """Normal parameters with noise of the same size, in units that differ."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=(n, 2)) * SCALES
    return theta, theta + rng.normal(size=(n, 2)) * SCALES


@pytest.fixture(scope="module")
def normal():
    return fit_conditional(*simulate(2_000), members=2, steps=200, seed=0)


def test_the_posterior_of_a_normal_is_found(normal):
    theta, x = simulate(2_000, seed=1)
    z = (theta - x / 2) / SCALES / 0.5**0.5
    truth = -0.5 * (z**2 + np.log(2 * np.pi)) - np.log(SCALES * 0.5**0.5)
    gap = normal.log_prob(theta, x) - truth.sum(1)
    assert -0.1 < gap.mean() < 3 * gap.std() / len(gap) ** 0.5
    drawn = normal.sample(x[:3], 4_000, generator=torch.Generator().manual_seed(0))
    assert drawn.shape == (3, 4_000, 2)
    assert np.allclose(drawn.mean(1) / SCALES, x[:3] / 2 / SCALES, atol=0.2)
    assert np.allclose(drawn.std(1) / SCALES, 0.5**0.5, atol=0.1)


def test_checks_of_calibration_take_it(normal):
    theta, x = simulate(300, seed=2)
    torch.manual_seed(0)

    def draws(at):
        return normal.sample(at, 49)

    assert (sbc(theta, draws, x).p_value > 1e-3).all()
    assert tarp(theta, draws, x).p_value > 1e-3
    assert local_c2st(theta, draws, x, x[:1], trials=3).statistic.shape == (1,)


def test_tensors_stay_tensors_and_bounds_hold():
    torch.manual_seed(0)
    theta = torch.rand(300, 2) ** 2
    x = theta + 0.1 * torch.randn(300, 2)
    bounds = {"low": [0.0, 0.0], "high": [1.0, None]}
    posterior = fit_conditional(theta, x, **bounds, members=2, steps=20)
    drawn = posterior.sample(x[:5], 500)
    assert isinstance(drawn, torch.Tensor)
    assert (drawn >= 0).all()
    assert (drawn[..., 0] <= 1).all()
    assert (drawn[..., 1] > 1).any()
    outside = posterior.log_prob(torch.tensor([[1.5, 0.5]]), x[:1])
    assert outside.item() == -torch.inf
    again = fit_conditional(theta, x, **bounds, members=2, steps=20)
    assert torch.equal(again.log_prob(theta, x), posterior.log_prob(theta, x))
    other = fit_conditional(theta, x, **bounds, members=2, steps=20, seed=1)
    assert not torch.equal(other.log_prob(theta, x), posterior.log_prob(theta, x))


def test_one_observation_serves_many_parameters(normal):
    theta, x = simulate(5, seed=3)
    repeated = normal.log_prob(theta, np.repeat(x[:1], 5, 0))
    assert np.allclose(normal.log_prob(theta, x[:1]), repeated)
    assert np.array_equal(normal.score_samples(theta, x), normal.log_prob(theta, x))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t, x: fit_conditional(t, x[:50]), ShapeError, "theta and x: expected as many rows"),
        (lambda t, x: fit_conditional(t[:5], x[:5]), ShapeError, "at least 20"),
        (lambda t, x: fit_conditional(t[:, 0], x), ShapeError, "theta"),
        (lambda t, x: fit_conditional(t, x, low=0.0), DataError, "theta, row 1, column 0"),
        (lambda t, x: fit_conditional(t, x, members=0), ArgumentError, "members"),
        (lambda t, x: fit_conditional(t, x * np.nan), DataError, "x"),
        (lambda t, x: fit_conditional(t, x, stepz=3), ArgumentError, "stepz"),
    ],
)
def test_bad_simulations_are_errors_that_say_so(call, error, message):
    theta, x = simulate(60)
    theta[0], theta[1] = 1.0, -1.0
    with pytest.raises(error, match=message):
        call(theta, x)


def test_bad_questions_are_errors_that_say_so(normal):
    theta, x = simulate(4)
    with pytest.raises(ShapeError, match="x: expected shape"):
        normal.sample(x[:, :1])
    with pytest.raises(ShapeError, match="x: expected 1 or 4 rows"):
        normal.log_prob(theta, x[:3])
    with pytest.raises(ArgumentError, match="n: expected"):
        normal.sample(x, 0)


def test_members_have_equal_weights(normal):
    theta, x = simulate(400)
    far = fit_conditional(theta + 1e4, x, members=1, steps=1)
    both = ConditionalPosterior([normal.flows[0], far.flows[0]], [], True)
    drawn = both.sample(x[:20], 100, generator=torch.Generator().manual_seed(0))
    share = (drawn[..., 0] > 5e3).mean(1)
    assert share.mean() == pytest.approx(0.5, abs=0.05)
    assert share.min() > 0.25
    one = ConditionalPosterior([normal.flows[0]], [], True).log_prob(theta, x)
    assert np.allclose(both.log_prob(theta, x), one - np.log(2))
