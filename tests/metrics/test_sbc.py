"""SBC: ranks are those of closed forms, bands hold as often as stated, faults are detected."""

import numpy as np
import pytest
import torch
from linear_gaussian import draws, pairs
from scipy.stats import norm

from flowkit.metrics import Band, sbc, sbc_ranks


def test_ranks_count_the_draws_below():
    theta = np.array([[0.5, -9.0], [0.5, 9.0]])
    drawn = np.array([[[0.0, 0.0], [1.0, 1.0], [0.2, 2.0]], [[0.6, 0.0], [0.7, 1.0], [0.8, 2.0]]])
    assert sbc_ranks(theta, drawn).tolist() == [[2, 0], [0, 3]]


def test_ranks_of_an_exact_posterior_are_uniform():
    rng = np.random.default_rng(0)
    theta, x = pairs(rng, 20_000)
    counts = np.bincount(sbc_ranks(theta, draws(rng, x, 9))[:, 0], minlength=10)
    # Four standard errors of a count with probability 0.1.
    assert counts == pytest.approx(np.full(10, 2_000), abs=170)


def test_ranks_of_a_discrete_posterior_are_uniform():
    rng = np.random.default_rng(1)
    theta, drawn = rng.poisson(0.5, (20_000, 1)), rng.poisson(0.5, (20_000, 4, 1))
    counts = np.bincount(sbc_ranks(theta, drawn)[:, 0], minlength=5)
    assert counts == pytest.approx(np.full(5, 4_000), abs=230)


@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (0.5, 0), (2, 0), (1, 0.7), (1, -0.7)])
def test_the_curve_is_that_of_the_closed_form(scale, shift):
    rng = np.random.default_rng(12)
    theta, x = pairs(rng, 4_000)
    found = sbc(theta, draws(rng, x, 999, scale=scale, shift=shift), level=0.999)
    curve = found.columns[0]
    # u = Phi((z - shift) / scale) of a standard normal z.
    expected = norm.cdf(scale * norm.ppf(curve.at) + shift)
    assert curve.difference + curve.at == pytest.approx(expected, abs=4 * 0.5 / 4_000**0.5)
    assert found.within.tolist() == [(scale, shift) == (1, 0)]
    assert (found.p_value[0] <= 0.001) == (not found.within[0])
    assert found.n_draws == 999


@pytest.mark.parametrize("number", [3, 100])
def test_the_band_holds_as_often_as_stated(number):
    rng = np.random.default_rng(3)
    theta, x = pairs(rng, 100, 800)
    found = sbc(theta, draws(rng, x, number))
    # Four standard errors of shares of 0.95 and 0.3 among 800 columns.
    assert found.within.mean() == pytest.approx(0.95, abs=0.031)
    assert (found.p_value <= 0.3).mean() == pytest.approx(0.3, abs=0.065)


def test_the_band_of_independent_ranks_is_the_limit_of_large_samples():
    even = np.linspace(0.001, 0.999, 200)
    alone, large = Band(200, None).of(even), Band(200, 10_000_000).of(even)
    assert alone.lower == pytest.approx(large.lower, abs=0.011)
    small = Band(200, 100).of(even)
    assert small.lower[24] < alone.lower[24] - 0.03


def test_prior_draws_are_revealed_by_a_column_of_log_likelihoods():
    rng = np.random.default_rng(4)
    theta, x = pairs(rng, 500)

    def with_likelihood(values, x):
        return np.concatenate([values, -np.square(values - x)], axis=-1)

    prior = rng.normal(size=(500, 99, 1))
    for drawn, within in ((draws(rng, x, 99), [True, True]), (prior, [True, False])):
        both = with_likelihood(theta, x), with_likelihood(drawn, x[:, None])
        found = sbc(*both, level=0.999)
        assert found.within.tolist() == within


def test_a_function_and_tensors_give_what_arrays_give():
    rng = np.random.default_rng(5)
    theta, x = pairs(rng, 60, 2)
    drawn = draws(rng, x, 19)
    expected = sbc(theta, drawn, seed=3)
    tensor = torch.tensor(drawn, requires_grad=True)
    assert (sbc_ranks(torch.tensor(theta), tensor) == expected.ranks).all()

    def sampler(rows):
        assert rows is x
        return drawn

    found = sbc(theta, sampler, x, seed=3)
    assert (found.ranks == expected.ranks).all()
    assert (found.p_value == expected.p_value).all()
