"""Distances between samples, where they are known in closed form."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from flowkit.errors import ShapeError
from flowkit.metrics import (
    beta_vae_score,
    cluster_error,
    energy_distance,
    frechet_distance,
    modes_held,
    precision_recall,
    sliced_wasserstein,
    squared_mmd,
    wasserstein_1,
)
from flowkit.metrics.pictures import image_grid, save_image


@pytest.mark.parametrize(("n", "m"), [(50, 50), (40, 61)])
def test_wasserstein_on_the_line_is_scipys(n, m):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=n), rng.normal(0.5, 2, size=m)
    found = wasserstein_1(torch.from_numpy(x), torch.from_numpy(y)).item()
    assert found == pytest.approx(stats.wasserstein_distance(x, y), abs=1e-12)
    both = torch.stack([torch.from_numpy(x), 2 * torch.from_numpy(x)], 1)
    other = torch.stack([torch.from_numpy(y), 2 * torch.from_numpy(y)], 1)
    assert wasserstein_1(both, other).tolist() == pytest.approx([found, 2 * found])


def test_a_shift_in_the_plane_is_seen_from_all_sides():
    """Of a shift by t, directions show t |cos|, whose mean is 2 t / pi."""
    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0)).double()
    shifted = x + torch.tensor([3.0, 4.0])
    generator = torch.Generator().manual_seed(1)
    found = sliced_wasserstein(x, shifted, projections=20_000, generator=generator).item()
    assert found == pytest.approx(5 * 2 / math.pi, rel=0.01)


def test_energy_distance_of_normals_is_its_formula():
    """Of N(0, 1) and N(m, 1): 2 E|m + sqrt(2) e| - 2 E|sqrt(2) e|."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 6_000, 1, generator=generator).double()
    m = 1.5
    folded = 2 / math.sqrt(math.pi) * math.exp(-m * m / 4) + m * math.erf(m / 2)
    expected = 2 * folded - 4 / math.sqrt(math.pi)
    assert energy_distance(x, y + m).item() == pytest.approx(expected, abs=0.05)
    assert energy_distance(x, y).item() == pytest.approx(0, abs=0.005)
    with pytest.raises(ShapeError, match="2 rows"):
        energy_distance(x[:1], y)


def test_the_estimate_of_mmd_is_unbiased():
    generator = torch.Generator().manual_seed(0)
    found = torch.stack(
        [squared_mmd(*torch.randn(2, 20, 3, generator=generator).double()) for _ in range(400)]
    )
    error = found.std() / 20
    assert found.mean().abs() < 4 * error
    assert found.min() < 0  # as an unbiased one of zero must be, now and then
    x = torch.randn(30, 3, generator=generator).double()
    kernel = 6 / (6 + torch.cdist(x, x + 1).square())
    own = 6 / (6 + torch.cdist(x, x).square())
    expected = 2 * (own.sum() - 30) / (30 * 29) - 2 * kernel.mean()
    assert squared_mmd(x, x + 1).item() == pytest.approx(expected.item(), abs=1e-10)


def test_precision_falls_with_strays_and_recall_with_lost_modes():
    generator = torch.Generator().manual_seed(0)
    modes = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    data = modes.repeat(200, 1) + 0.1 * torch.randn(400, 2, generator=generator)
    one = 0.1 * torch.randn(400, 2, generator=generator)
    found = precision_recall(data, one)
    assert found.precision > 0.9
    assert found.recall == pytest.approx(0.5, abs=0.05)
    far = data.clone()
    far[::4] += 100
    assert precision_recall(data, far).precision == pytest.approx(0.75, abs=0.01)


def test_frechet_distance_is_that_of_the_moments():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 4)) @ rng.normal(size=(4, 4)), rng.normal(1, 2, size=(150, 4))
    c, d = (np.cov(part.T, bias=True) for part in (x, y))
    values = np.linalg.eigvals(c @ d)  # of the product itself, which is not symmetric
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c + d) - 2 * np.sqrt(values).sum()
    found = frechet_distance(torch.from_numpy(x), torch.from_numpy(y))
    assert found == pytest.approx(float(expected.real), rel=1e-9)
    assert frechet_distance(torch.from_numpy(x), torch.from_numpy(x)) == pytest.approx(0, abs=1e-9)


def test_clusters_are_named_by_most_or_by_the_surest():
    clusters, labels = np.array([0, 0, 0, 1, 1]), np.array([4, 4, 5, 5, 6])
    assert cluster_error(clusters, labels) == pytest.approx(2 / 5)
    confidence = np.array([0.1, 0.2, 0.9, 0.3, 0.8])
    assert cluster_error(clusters, labels, confidence=confidence) == pytest.approx(3 / 5)
    found = cluster_error(np.array([0, 1, 2]), np.array([4, 6, 9]), reference=(clusters, labels))
    assert found == pytest.approx(2 / 3)  # cluster 1 is of class 5, cluster 2 of none
    with pytest.raises(ShapeError, match="labels"):
        cluster_error(clusters, labels[:3])


@pytest.mark.parametrize("distance", [energy_distance, sliced_wasserstein, frechet_distance])
def test_rows_of_another_shape_are_refused(distance):
    with pytest.raises(ShapeError, match="y"):
        distance(torch.zeros(5, 2), torch.zeros(5, 3))


def test_distances_of_mixed_and_of_few_digits():
    torch.manual_seed(0)
    x, y = torch.randn(50, 2), torch.randn(40, 2).double()
    assert energy_distance(x, y).dtype == torch.float64
    torch.testing.assert_close(squared_mmd(x, y), squared_mmd(x.double(), y))
    few = energy_distance(x.bfloat16(), x.bfloat16() + 1)
    assert few.item() == pytest.approx(energy_distance(x, x + 1).item(), abs=0.02)
    assert energy_distance(10 * torch.randn(500, 2).half(), torch.randn(400, 2).half()) > 1


def test_pictures_in_colour(tmp_path):
    images = np.random.default_rng(0).random((2, 3, 3, 4, 5))
    grid = image_grid(images)
    assert grid.shape == (9, 17, 3)
    np.testing.assert_array_equal(grid[5:, 6:11], np.moveaxis(images[1, 1], 0, -1))
    save_image(grid, tmp_path / "grid.png")
    assert (tmp_path / "grid.png").stat().st_size > 100
    with pytest.raises(ShapeError, match="images"):
        image_grid(np.zeros((2, 3, 2, 4, 4)))


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


def test_sizes_may_be_those_of_numpy():
    assert beta_vae_score(lambda v: v, np.array([4, 5]), train=100, test=50) > 0.9
