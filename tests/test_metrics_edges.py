"""Metrics of samples, clusters and representations at their edges."""

import numpy as np
import pytest
import torch

from flowkit.errors import ArgumentError, DataError, DtypeError, ShapeError
from flowkit.metrics import (
    beta_vae_score,
    cluster_error,
    dci,
    energy_distance,
    factor_vae_score,
    mig,
    precision_recall,
    sap,
    sliced_wasserstein,
    squared_mmd,
    wasserstein_1,
)

FACTORS = np.random.default_rng(0).integers(4, size=(100, 2))


def test_a_dead_representation_separates_nothing():
    found = dci(np.zeros((100, 2)), FACTORS, np.zeros((100, 2)), FACTORS)
    assert found.disentanglement == found.completeness == 0


def test_clusters_may_be_tensors_and_must_be_integers():
    assert cluster_error(torch.tensor([0, 0, 1, 1]), torch.tensor([5, 5, 6, 6])) == 0
    with pytest.raises(DtypeError, match="^labels: expected integers"):
        cluster_error(np.array([0, 1]), np.array([0.2, 0.7]))
    with pytest.raises(DtypeError, match="^labels: expected integers"):
        cluster_error(np.array([0, 1]), np.array(["a", "b"]))


def test_integers_have_distances():
    assert wasserstein_1(torch.tensor([0, 1]), torch.tensor([2, 3])) == 2
    x = torch.arange(6).reshape(3, 2)
    assert energy_distance(x, x + 10) > 1


@pytest.mark.parametrize(
    "distance",
    [
        lambda x, y: energy_distance(x, y).item(),
        lambda x, y: squared_mmd(x, y).item(),
        lambda x, y: sliced_wasserstein(x, y, generator=torch.Generator().manual_seed(0)).item(),
        lambda x, y: precision_recall(x, y).precision,
    ],
)
def test_distances_far_from_the_origin_are_those_near_it(distance):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(300, 2, generator=generator), torch.randn(300, 2, generator=generator) + 0.5
    far = distance(x + 1e4, y + 1e4)
    assert far == pytest.approx(distance(x, y), abs=5e-3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: energy_distance(x[:, 0], x[:, 0]), ShapeError, "^x: expected rows"),
        (lambda x: squared_mmd(x[:1], x), ShapeError, "at least 2 rows"),
        (lambda x: wasserstein_1(x[:0], x), ShapeError, "at least one point"),
    ],
)
def test_samples_that_cannot_be_compared_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.randn(5, 2))


def holed():
    codes = FACTORS.astype(float)
    codes[3, 1] = np.nan
    return codes


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
        (lambda: beta_vae_score(lambda v: v, (3,)), ArgumentError, "sizes: expected two"),
        (lambda: beta_vae_score(lambda v: v, (3, 3), test=0), ArgumentError, "test"),
        (lambda: factor_vae_score(lambda v: v, (3, 3), train=0), ArgumentError, "train"),
        (lambda: factor_vae_score(lambda v: v * np.nan, (3, 3)), DataError, "represent"),
    ],
)
def test_representations_that_cannot_be_scored_are_refused(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()


def test_sizes_may_be_those_of_numpy():
    assert beta_vae_score(lambda v: v, np.array([4, 5]), train=100, test=50) > 0.9
