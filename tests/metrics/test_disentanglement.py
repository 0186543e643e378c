"""Scores of representations, on representations whose score is known."""

import numpy as np
import pytest

from flowkit.errors import ArgumentError, DataError, DtypeError, ShapeError
from flowkit.metrics import (
    active_units,
    beta_vae_score,
    dci,
    factor_vae_score,
    group_information,
    mig,
    mutual_information,
    sap,
)

SIZES = (3, 4, 6, 1)  # the last factor has one value and says nothing


def factors(n=4000, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(size, size=n) for size in SIZES], axis=1)


def perfect(v):
    return v[:, :3] / np.array(SIZES[:3]) - 0.5


def rotated(v):
    """Return the same, with every pair of latents a mixture of both."""
    z = perfect(v)
    return np.stack([z[:, 0] + z[:, 1], z[:, 0] - z[:, 1], z[:, 2]], axis=1)


def noise(v):
    return np.random.default_rng(len(v)).normal(size=(len(v), 5))


def twice(v):
    return np.concatenate([perfect(v), perfect(v)], axis=1)


def with_dead(v):
    return np.concatenate([perfect(v), np.full((len(v), 1), 0.7)], axis=1)


def test_sap_of_numbers():
    v = np.random.default_rng(0).normal(size=(5000, 2))
    assert sap(v, v, continuous=True).score == pytest.approx(1.0, abs=0.01)
    turned = v @ np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2)
    assert sap(turned, v, continuous=True).score == pytest.approx(0.0, abs=0.05)
    assert sap(np.repeat(v, 2, 1), v, continuous=True).score == pytest.approx(0.0, abs=1e-9)
    dead = np.concatenate([v, np.ones((5000, 1))], 1)
    found = sap(dead, v, continuous=True)
    assert found.score == pytest.approx(1.0, abs=0.01)
    assert not np.isnan(found.each).any()
    assert (found.each[2] == 0).all()


def test_sap_of_classes_is_scored_on_other_rows():
    v, w = factors(), factors(seed=1)
    good = sap(perfect(v), v, perfect(w), w).score
    assert good > 0.3  # a line of one latent cannot tell all of several classes
    assert sap(twice(v), v, twice(w), w).score == pytest.approx(0.0, abs=0.01)
    assert sap(noise(v), v, noise(w), w).score < 0.05
    dead = sap(with_dead(v), v, with_dead(w), w)
    assert dead.score == pytest.approx(good, abs=0.01)
    frequent = (w[:, 2] == np.bincount(v[:, 2]).argmax()).mean()
    assert dead.each[3, 2] == pytest.approx(frequent)  # a constant predicts the commonest class


def test_mig():
    v = factors(20_000)
    assert mig(perfect(v), v) == pytest.approx(1.0, abs=0.01)
    assert mig(twice(v), v) == pytest.approx(0.0, abs=1e-9)
    assert mig(noise(v), v) < 0.01
    assert 0.2 < mig(rotated(v), v) < 0.8


def test_mutual_information_is_between_none_and_the_entropy():
    v = factors(20_000)
    information = mutual_information(perfect(v), v)
    for j in range(3):
        assert information[j, j] == pytest.approx(np.log(SIZES[j]), abs=0.01)
    off = information[~np.eye(3, 4, dtype=bool)]
    assert off.max() < 0.01
    assert (information >= -1e-12).all()
    assert (information[:, 3] == 0).all()


def test_information_of_groups():
    v = factors(6000)
    z = perfect(v)
    found = group_information(z[:, :2], v)
    assert found[0] == pytest.approx(np.log(3), abs=0.1)
    assert found[1] == pytest.approx(np.log(4), abs=0.1)
    assert found[2] < 0.1
    assert found[3] == 0.0
    # What neither latent tells alone, both tell together.
    rng = np.random.default_rng(0)
    a, b = rng.integers(2, size=(2, 6000))
    both = group_information(np.stack([a, b], 1) + 0.0, (a ^ b)[:, None])
    assert both[0] == pytest.approx(np.log(2), abs=0.05)
    assert mutual_information(np.stack([a, b], 1) + 0.0, (a ^ b)[:, None]).max() < 0.01


def test_dci():
    v, w = factors(2000), factors(1000, 1)
    good = dci(perfect(v), v, perfect(w), w)
    assert good.disentanglement > 0.95
    assert good.completeness > 0.95
    assert good.informativeness == 1.0
    mixed = dci(rotated(v), v, rotated(w), w)
    assert mixed.disentanglement < 0.8 * good.disentanglement
    doubled = dci(np.repeat(perfect(v), 2, 1), v, np.repeat(perfect(w), 2, 1), w)
    assert doubled.completeness < good.completeness
    poor = dci(noise(v), v, noise(w), w)
    assert poor.disentanglement < 0.1
    assert poor.informativeness < 0.5


@pytest.mark.parametrize("score", [beta_vae_score, factor_vae_score])
def test_scores_by_pairs(score):
    options = {"train": 400, "test": 400}
    assert score(perfect, SIZES, **options) > 0.99
    assert score(noise, SIZES, **options) == pytest.approx(1 / 3, abs=0.09)
    assert score(with_dead, SIZES, **options) > 0.99
    assert score(perfect, SIZES, **options, seed=3) == score(perfect, SIZES, **options, seed=3)


def test_the_beta_score_forgives_duplicates_and_the_factor_score_of_nothing_is_zero():
    assert beta_vae_score(twice, SIZES, train=400, test=200) > 0.99
    assert factor_vae_score(lambda v: np.zeros((len(v), 4)), SIZES, train=10, test=10) == 0.0


def test_active_units():
    means = np.random.default_rng(0).normal(size=(1000, 4)) * np.array([1.0, 0.2, 0.05, 0.0])
    assert active_units(means) == 2
    assert active_units(means, threshold=1e-4) == 3


def test_bad_input_is_named():
    v = factors(50)
    with pytest.raises(ShapeError, match="^factors: expected 50 rows"):
        mutual_information(perfect(v), v[:40])
    with pytest.raises(ShapeError, match="^test_factors: expected"):
        sap(perfect(v), v, perfect(v), v[:10])
    with pytest.raises(ShapeError, match="^codes: expected at least two latents"):
        sap(perfect(v)[:, :1], v, continuous=True)
    with pytest.raises(ArgumentError, match="^test_codes: expected"):
        sap(perfect(v), v)
    with pytest.raises(ArgumentError, match="^factors: expected a column that is not constant"):
        mig(perfect(v), np.ones((50, 2), dtype=int))
    with pytest.raises(ArgumentError, match="^sizes: expected"):
        beta_vae_score(perfect, (1, 1))
    with pytest.raises(ShapeError, match="^represent: expected"):
        beta_vae_score(lambda _: np.zeros(3), SIZES, train=5, test=5)
    with pytest.raises(ShapeError, match="^means: expected"):
        active_units(np.zeros(3))


FACTORS = np.random.default_rng(0).integers(4, size=(100, 2))


def holed():
    codes = FACTORS.astype(float)
    codes[3, 1] = np.nan
    return codes


def test_a_dead_representation_separates_nothing():
    found = dci(np.zeros((100, 2)), FACTORS, np.zeros((100, 2)), FACTORS)
    assert found.disentanglement == found.completeness == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sap(holed(), FACTORS, continuous=True), DataError, "codes, row 3, column 1"),
        (lambda: mig(holed(), FACTORS), DataError, "codes, row 3"),
        (lambda: mig(FACTORS * 1.0, FACTORS + 0.5), DataError, "factors, row 0"),
        (
            lambda: dci(FACTORS * 1.0, FACTORS, FACTORS[:, :1] * 1.0, FACTORS),
            ShapeError,
            "test_codes: expected 2 columns",
        ),
        (
            lambda: sap(FACTORS * 1.0, FACTORS, FACTORS * 1.0, FACTORS[:, :1]),
            ShapeError,
            "test_factors: expected 2 columns",
        ),
        (
            lambda: dci(FACTORS * 1.0, FACTORS, FACTORS * 1.0, FACTORS[:40]),
            ShapeError,
            "test_factors: expected 100 rows, as test_codes",
        ),
        (lambda: mig(FACTORS * 1.0, FACTORS.astype(str)), DtypeError, "factors: expected numbers"),
        (lambda: active_units(holed()), DataError, "means, row 3, column 1"),
        (lambda: beta_vae_score(lambda v: v, (3,)), ArgumentError, "sizes: expected two"),
        (lambda: beta_vae_score(lambda v: v, (3.7, 4)), ArgumentError, "sizes: .*got 3.7"),
        (lambda: beta_vae_score(lambda v: v, (3, 3), train=0), ArgumentError, "train"),
        (lambda: beta_vae_score(lambda v: v, (3, 3), test=0), ArgumentError, "test"),
        (lambda: factor_vae_score(lambda v: v, (3, 3), train=0), ArgumentError, "train"),
        (lambda: factor_vae_score(lambda v: v, (3, 3), test=0), ArgumentError, "test"),
        (lambda: factor_vae_score(lambda v: v * np.nan, (3, 3)), DataError, "represent"),
    ],
)
def test_representations_that_cannot_be_scored_are_refused(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()
