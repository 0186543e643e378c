"""Scores of densities: their errors and bands are what they claim to be."""

import numpy as np
import pytest
import torch

from flowkit.errors import ArgumentError, DtypeError, ShapeError
from flowkit.metrics import (
    closeness,
    cluster_classes,
    cluster_error,
    mean,
    mean_difference,
    ranks,
    two_sample,
    uniformity,
)


def test_mean_and_paired_difference():
    rng = np.random.default_rng(0)
    shared, scores = rng.normal(0, 10, 400), rng.normal(0.1, 0.1, 400)
    found = mean(shared + scores)
    assert found.value == pytest.approx((shared + scores).mean())
    assert found.standard_error == pytest.approx((shared + scores).std(ddof=1) / 20)
    # What rows have in common is no error of a difference.
    paired = mean_difference(shared + scores, shared)
    assert paired.standard_error < found.standard_error / 50
    assert paired.value == pytest.approx(0.1, abs=4 * paired.standard_error)


def test_an_impossible_row_rules_the_mean():
    found = mean(np.array([1.0, -np.inf]))
    assert found.value == -np.inf
    assert np.isnan(found.standard_error)
    assert np.isnan(mean(np.array([1.0])).standard_error)


def test_ranks_are_uniform_for_any_law_even_with_ties():
    rng = np.random.default_rng(1)
    for draw in (lambda n: rng.standard_cauchy(n), lambda n: rng.poisson(0.5, n).astype(float)):
        places = np.concatenate([ranks(draw(20), draw(30), seed) for seed in range(300)])
        # Each set of 20 shares a sample of 30, so its counts vary more than binomially.
        assert np.histogram(places, 10, (0, 1))[0] == pytest.approx(np.full(10, 600), abs=120)
    coins = [ranks(rng.integers(0, 2, 50), rng.integers(0, 2, 2), seed) for seed in range(100)]
    assert np.max(coins) <= 1
    assert np.mean(coins) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("sample_size", [150, 10_000])
def test_band_lets_through_as_many_curves_as_it_says(sample_size):
    rng, inside, p_values = np.random.default_rng(2), [], []
    for seed in range(120):
        place = ranks(rng.normal(size=200), rng.normal(size=sample_size), seed)
        found = uniformity(place, sample_size, level=0.8, seed=seed)
        inside.append(found.within)
        p_values.append(found.p_value)
    # Four standard errors of a share of 0.8 among 120.
    assert np.mean(inside) == pytest.approx(0.8, abs=0.146)
    assert np.mean(np.array(p_values) < 0.2) == pytest.approx(0.2, abs=0.146)


@pytest.mark.parametrize("power", [0.7, 1.4])
def test_band_catches_a_bent_law(power):
    place = np.random.default_rng(3).random(500) ** power
    found = uniformity(place, 10_000)
    assert not found.within
    assert found.p_value < 0.01


def test_classifier_is_within_its_interval_on_one_law_and_beyond_on_two():
    rng, inside = np.random.default_rng(4), []
    for seed in range(60):
        found = two_sample(rng.normal(size=(100, 3)), rng.normal(size=(100, 3)), seed=seed)
        inside.append(found.null_low <= found.auc <= found.null_high)
    # Of 57 expected; fewer, or all, in 1 of 20 cases.
    assert 54 <= np.sum(inside) <= 59
    # Equal margins, other dependence.
    x = rng.normal(size=(600, 2))
    y = rng.normal(size=(600, 2))
    y[:, 1] = 0.9 * y[:, 0] + 0.19**0.5 * y[:, 1]
    found = two_sample(x, y)
    assert found.auc > found.null_high


def test_classifier_names_the_feature_that_gives_it_away():
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(200, 3)), rng.normal(size=(200, 3))
    y[:, 1] += 2.0
    x[:, 2] = y[:, 2] = np.nan  # a feature that nobody has
    found = two_sample(x, y)
    assert found.importance.argmax() == 1
    assert found.importance[2] == 0


def test_closeness_of_samples_and_of_parrots():
    rng, inside = np.random.default_rng(6), []
    for _ in range(40):
        found = closeness(*(rng.normal(size=(n, 2)) for n in (150, 100, 120)))
        inside.append(found.null_low <= found.closer <= found.null_high)
    assert np.sum(inside) >= 33  # of 38: below that in fewer than 2 of 1,000 cases
    training = rng.normal(size=(120, 2))
    near = training[:100] + rng.normal(0, 0.01, (100, 2))
    found = closeness(near, rng.normal(size=(100, 2)), training)
    assert found.closer > found.null_high
    assert found.copies == 0
    found = closeness(training[:7], training[7:9], training)
    assert (found.copies, found.held_out_copies) == (7, 2)
    assert found.closer == 0.5


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda: mean(np.zeros(0)), ShapeError, "scores"),
        (lambda: mean_difference(np.zeros(2), np.zeros(3)), ShapeError, "others"),
        (lambda: ranks(np.zeros(2), np.zeros(0)), ShapeError, "sample"),
        (lambda: uniformity(np.zeros((2, 2)), 10), ShapeError, "u"),
        (lambda: uniformity(np.zeros(2), 0), ArgumentError, "sample_size"),
        (lambda: uniformity(np.zeros(2), 10, level=1.0), ArgumentError, "level"),
        (lambda: two_sample(np.zeros((30, 2)), np.zeros((30, 3))), ShapeError, "y"),
        (lambda: two_sample(np.zeros((30, 2)), np.zeros((9, 2))), ShapeError, "x and y"),
        (lambda: closeness(*(np.zeros((3, k)) for k in (2, 3, 2))), ShapeError, "held_out"),
    ],
)
def test_bad_arguments_are_named(call, error, argument):
    with pytest.raises(error, match=argument):
        call()


def test_clusters_may_be_tensors_and_must_be_integers():
    assert cluster_error(torch.tensor([0, 0, 1, 1]), torch.tensor([5, 5, 6, 6])) == 0
    assert cluster_classes(torch.tensor([7, 7, 2]), torch.tensor([5, 5, 6])) == {2: 6, 7: 5}
    with pytest.raises(DtypeError, match="^labels: expected integers"):
        cluster_error(np.array([0, 1]), np.array([0.2, 0.7]))
    with pytest.raises(DtypeError, match="^labels: expected integers"):
        cluster_error(np.array([0, 1]), np.array(["a", "b"]))
