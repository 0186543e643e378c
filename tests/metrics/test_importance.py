"""Importance weights and their tails; the classifier's accuracy."""

import numpy as np
import pytest

from flowkit.errors import ShapeError
from flowkit.metrics import classifier_accuracy, effective_samples, psis
from flowkit.metrics.importance import generalised_pareto


@pytest.mark.parametrize("k", [-0.3, 0.1, 0.5, 0.9, 1.5])
def test_the_tail_is_found(k):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(30):
        u = rng.random(2000)
        x = np.sort(3.0 * np.expm1(-k * np.log1p(-u)) / k)
        found.append(generalised_pareto(x))
    shape, scale = np.mean(found, axis=0)
    assert shape == pytest.approx(k, abs=0.05)
    assert scale == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize(("alpha", "k"), [(4.0, 0.25), (1.4, 1 / 1.4), (1.0, 1.0)])
def test_pareto_k_of_weights_whose_tail_is_known(alpha, k):
    rng = np.random.default_rng(0)
    found = [psis(rng.exponential(size=20_000) / alpha).pareto_k for _ in range(20)]
    assert np.mean(found) == pytest.approx(k, abs=0.08)


def test_smoothed_weights_are_normalised_and_keep_all_but_the_tail():
    rng = np.random.default_rng(0)
    x = rng.normal(size=1000) * 2 + 300
    smoothed, k = psis(x)
    assert np.exp(smoothed).sum() == pytest.approx(1.0)
    assert 0.3 < k < 1.5
    order = np.argsort(x)
    tail = int(np.ceil(min(200, 3 * np.sqrt(1000))))
    low = order[:-tail]
    assert np.allclose(np.diff(smoothed[low] - x[low]), 0.0)
    assert (np.diff(smoothed[order]) >= -1e-12).all()
    assert smoothed.max() - smoothed[low].max() <= x.max() - x[low].max() + 1e-9


def test_weights_without_a_tail():
    smoothed, k = psis(np.zeros(100))
    assert k == -np.inf
    assert np.allclose(smoothed, -np.log(100))
    assert effective_samples(np.zeros(100)) == pytest.approx(100)
    one = np.full(100, -1e5)
    one[3] = 0.0
    assert effective_samples(one) == pytest.approx(1.0)
    assert psis(one).pareto_k > 0.7
    with pytest.raises(ShapeError, match="^log_weights: expected"):
        psis(np.zeros(10))


def test_classifier_accuracy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    assert classifier_accuracy(x, rng.normal(size=(400, 2))) == pytest.approx(0.5, abs=0.07)
    shifted = classifier_accuracy(x, rng.normal((1.0, 0.0), size=(400, 2)))
    assert shifted == pytest.approx(0.69, abs=0.06)  # the best there is: Phi(1/2)
    with pytest.raises(ShapeError, match="^y: expected"):
        classifier_accuracy(x, x[:, :1])
    with pytest.raises(ShapeError, match="^x and y: expected"):
        classifier_accuracy(x, x[:5])


def test_weights_that_are_equal_but_for_rounding_are_smoothed_without_overflow():
    log_weights = np.zeros(10_000)
    log_weights[:3] = 1e-6
    smoothed = psis(log_weights)
    assert smoothed.pareto_k == -np.inf
    assert np.allclose(np.exp(smoothed.log_weights), 1e-4, atol=1e-9)
    log_weights[:3] = 3.0  # all but three of the tail are equal
    assert np.isfinite(psis(log_weights).pareto_k)
