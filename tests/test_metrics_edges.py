"""Metrics of samples, clusters and representations at their edges."""

import numpy as np
import pytest
import torch

from flowkit.errors import ArgumentError, DataError, DtypeError, ShapeError
from flowkit.metrics import (
    active_units,
    beta_vae_score,
    cluster_classes,
    cluster_error,
    dci,
    energy_distance,
    factor_vae_score,
    frechet_distance,
    mig,
    modes_held,
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
    assert cluster_classes(torch.tensor([7, 7, 2]), torch.tensor([5, 5, 6])) == {2: 6, 7: 5}
    with pytest.raises(DtypeError, match="^labels: expected integers"):
        cluster_error(np.array([0, 1]), np.array([0.2, 0.7]))
    with pytest.raises(DtypeError, match="^labels: expected integers"):
        cluster_error(np.array([0, 1]), np.array(["a", "b"]))


def test_integers_have_distances():
    assert wasserstein_1(torch.tensor([0, 1]), torch.tensor([2, 3])) == 2
    x, y = torch.arange(6), torch.arange(3, 15, 2)
    assert wasserstein_1(x, y) == pytest.approx(wasserstein_1(x.double(), y.double()).item())


@pytest.mark.parametrize(
    "distance",
    [
        energy_distance,
        squared_mmd,
        frechet_distance,
        lambda x, y: sliced_wasserstein(x, y, generator=torch.Generator().manual_seed(0)),
        lambda x, y: precision_recall(x, y).precision,
    ],
)
def test_rows_of_integers_are_as_far_apart_as_those_of_floats(distance):
    x, y = torch.randint(9, (2, 40, 2), generator=torch.Generator().manual_seed(0))
    assert float(distance(x, y)) == float(distance(x.float(), y.float()))


@pytest.mark.parametrize("lost", [float("nan"), float("inf")])
def test_a_row_without_a_place_spoils_no_other(lost):
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    strayed = x.clone()
    strayed[0, 0] = lost
    assert precision_recall(strayed, x).precision > 0.9
    assert modes_held(strayed, torch.zeros(1, 2), 9.0) == (1, pytest.approx(0.98))


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
        (lambda x: wasserstein_1(x.sum(), x), ShapeError, "^x: expected points"),
        (lambda x: wasserstein_1(x[:, 0], x.sum()), ShapeError, "^y: expected points"),
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


def test_sizes_may_be_those_of_numpy():
    assert beta_vae_score(lambda v: v, np.array([4, 5]), train=100, test=50) > 0.9
