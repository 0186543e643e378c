"""Distances between samples, where they are known in closed form."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from flowkit.errors import ShapeError
from flowkit.metrics import (
    cluster_error,
    energy_distance,
    frechet_distance,
    precision_recall,
    sliced_wasserstein,
    squared_mmd,
    wasserstein_1,
)


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
