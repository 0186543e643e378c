"""Mixtures of normals: densities, masses and quantiles against SciPy, and against each other."""

import numpy as np
import pytest
from scipy import stats

from flowkit.tabular.conditional.normal_mixture import NormalMixture, averaged, pooled

RNG = np.random.default_rng(0)


def mixture(n=5, k=3):
    weights = RNG.dirichlet(np.ones(k), n)
    return NormalMixture(weights, RNG.normal(0, 2, (n, k)), RNG.uniform(0.1, 2.0, (n, k)))


def test_density_and_distribution_function_match_scipy():
    m, t = mixture(), RNG.normal(size=5)
    density = (m.weights * stats.norm.pdf(t[:, None], m.means, m.scales)).sum(1)
    below = (m.weights * stats.norm.cdf(t[:, None], m.means, m.scales)).sum(1)
    assert np.allclose(m.log_prob(t), np.log(density), rtol=0, atol=1e-12)
    assert np.allclose(m.density(t[:, None])[:, 0], density, rtol=1e-12)
    assert np.allclose(m.cdf(t), below, rtol=0, atol=1e-14)


@pytest.mark.parametrize("width", [1e-7, 1e-5, 1e-3, 0.1, 3.0])
def test_mass_is_the_integral_of_the_density(width):
    m = mixture(1)
    for middle in (-30.0, -2.0, 0.3, 25.0):
        nodes, weights = np.polynomial.legendre.leggauss(40)
        at = NormalMixture(*(np.repeat(a, 40, 0) for a in vars(m).values()))
        relative = at.log_prob(middle + nodes * width / 2) - m.log_prob(np.array([middle]))[0]
        mass = width / 2 * (weights * np.exp(relative)).sum()
        expected = np.log(mass) + m.log_prob(np.array([middle]))[0]
        lower, upper = np.array([middle - width / 2]), np.array([middle + width / 2])
        assert m.log_mass(lower, upper)[0] == pytest.approx(expected, abs=1e-6)


def test_masses_of_infinite_intervals():
    m, ends = mixture(), np.full(5, np.inf)
    assert np.allclose(m.log_mass(-ends, ends), 0.0, atol=1e-14)
    t = RNG.normal(size=5)
    assert np.allclose(np.exp(m.log_mass(-ends, t)), m.cdf(t), rtol=1e-12)
    assert np.allclose(np.exp(m.log_mass(t, ends)), 1 - m.cdf(t), rtol=1e-10)


def test_quantiles_invert_the_distribution_function():
    m = mixture(40, 4)
    q = np.broadcast_to([1e-6, 0.01, 0.3, 0.5, 0.99, 1 - 1e-6], (40, 6))
    assert np.allclose(m.cdf(m.quantile(q)), q, rtol=1e-9, atol=1e-12)


def test_draws_follow_the_distribution_function():
    m = NormalMixture(*(np.repeat(a, 20_000, 0) for a in vars(mixture(1)).values()))
    u = m.cdf(m.sample(np.random.default_rng(1)))
    assert stats.kstest(u, "uniform").pvalue > 1e-3


def test_pooled_density_is_the_weighted_sum():
    one, other, t = mixture(), mixture(), RNG.normal(size=5)
    both = pooled([one, other], [0.25, 0.75])
    expected = 0.25 * np.exp(one.log_prob(t)) + 0.75 * np.exp(other.log_prob(t))
    assert np.allclose(np.exp(both.log_prob(t)), expected, rtol=1e-12)


def test_average_of_models_narrows_components_where_the_models_differ():
    models = [mixture(400) for _ in range(5)]
    average, plain = averaged(models), pooled(models, [0.2] * 5)
    within = np.mean([m.variance() for m in models], axis=0)
    between = np.var([m.mean() for m in models], axis=0)
    kept = np.maximum((within - between) / (within + between), 0.25)
    assert (kept > 0.25).any()
    assert (kept == 0.25).any()
    assert np.allclose(average.means, plain.means)
    assert np.allclose(average.scales**2, kept[:, None] * plain.scales**2)


def test_average_of_calibrated_models_is_nearly_calibrated():
    n, noise, error = 100_000, 1.0, 0.6
    y = RNG.normal(0, noise, n)
    scale = np.full((n, 1), np.hypot(noise, error))
    models = [NormalMixture(np.ones((n, 1)), RNG.normal(0, error, (n, 1)), scale) for _ in range(5)]

    def coverage(mixtures):
        below = mixtures.cdf(y)
        return np.mean((below > 0.05) & (below < 0.95))

    assert coverage(pooled(models, [0.2] * 5)) > 0.955
    # Components keep their places, so a part of the excess stays.
    assert 0.90 < coverage(averaged(models)) < 0.935


def test_average_of_one_model_is_that_model():
    m, t = mixture(), RNG.normal(size=5)
    assert np.allclose(averaged([m]).log_prob(t), m.log_prob(t), rtol=0, atol=1e-14)


def test_variance_is_that_of_draws():
    m = mixture(1)
    drawn = NormalMixture(*(np.repeat(a, 200_000, 0) for a in vars(m).values())).sample(RNG)
    assert m.variance()[0] == pytest.approx(drawn.var(), rel=0.02)


def test_components_far_beyond_an_interval_are_drawn_in():
    m = NormalMixture(np.ones((1, 3)) / 3, np.array([[-1e3, 0.5, 1e3]]), np.array([[1e3, 0.1, 1]]))
    near = m.within(-2.0, 2.0)
    assert near.means.tolist() == [[-6.0, 0.5, 6.0]]
    assert near.scales.tolist() == [[4.0, 0.1, 1.0]]
