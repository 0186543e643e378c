import numpy as np
import pytest

from tabular_data import TOYS


@pytest.mark.parametrize("name", TOYS)
def test_optimum_is_minus_the_entropy(name):
    toy = TOYS[name]
    scores = toy.log_prob(toy.sample(400_000, np.random.default_rng(0)))
    error = scores.std() / len(scores) ** 0.5
    assert abs(scores.mean() - toy.optimum) <= 4 * error + 1e-6


@pytest.mark.parametrize("name", ["parabola", "eight_gaussians", "checkerboard"])
def test_density_integrates_to_one(name):
    step = 0.02
    axis = np.arange(-12, 40, step) + step / 2
    grid = np.stack(np.meshgrid(axis, axis[axis < 12]), axis=-1).reshape(-1, 2)
    assert np.exp(TOYS[name].log_prob(grid)).sum() * step**2 == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", TOYS)
def test_samples_fall_where_the_density_says(name):
    """The share of samples in a box equals the mass of the box."""
    toy = TOYS[name]
    x = toy.sample(400_000, np.random.default_rng(1))
    for low in ((0.0, 0.0), (1.0, -1.0), (-1.5, 0.5)):
        inside = ((x >= low) & (x < np.add(low, 1))).all(1).mean()
        axis = (np.arange(500) + 0.5) / 500
        grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2) + low
        mass = np.exp(toy.log_prob(grid)).mean()
        assert inside == pytest.approx(mass, abs=5 * (mass / len(x)) ** 0.5 + 1e-4)
