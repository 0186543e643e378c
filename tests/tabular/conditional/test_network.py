"""Networks of mixtures: the loss that trains them against the mixture that is evaluated."""

import numpy as np
import pytest
import torch

from flowkit.tabular.conditional.network import MixtureNetworks, _log_density, _log_mass

RNG = np.random.default_rng(0)


def networks():
    made = MixtureNetworks(2, 3, hidden=8, blocks=1, components=4, seed=1).double()
    with torch.no_grad():
        for weight in made.weights:
            weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(0))
    return made


def test_trained_density_is_that_of_the_mixture():
    made, features, t = networks(), RNG.normal(size=(40, 3)), RNG.normal(0, 2, 40)
    params = made(torch.from_numpy(features.T).expand(2, 3, 40))
    trained = _log_density(torch.from_numpy(t).expand(2, 1, 40), params).detach().numpy()
    for own, mixture in zip(trained, made.mixtures([features, features]), strict=True):
        assert np.allclose(own, mixture.log_prob(t), rtol=0, atol=1e-9)


@pytest.mark.parametrize("width", [1e-3, 0.1, 4.0, np.inf])
def test_trained_mass_is_that_of_the_mixture(width):
    made, features, t = networks(), RNG.normal(size=(40, 3)), RNG.normal(0, 2, 40)
    cells = np.stack(
        [t - width / 2 if np.isfinite(width) else np.full(40, -1e4), t + min(width, 1)]
    )
    params = made(torch.from_numpy(features.T).expand(2, 3, 40))
    trained = _log_mass(torch.from_numpy(cells).expand(2, 2, 40), params)
    trained.sum().backward()
    assert all(weight.grad.isfinite().all() for weight in made.weights)
    lower = cells[0] if np.isfinite(width) else np.full(40, -np.inf)
    for own, mixture in zip(trained.detach().numpy(), made.mixtures([features] * 2), strict=True):
        # A cell of a hundredth of a scale counts as flat in training.
        assert np.allclose(own, mixture.log_mass(lower, cells[1]), rtol=0, atol=1e-4)


def test_state_restores_the_networks():
    made, features = MixtureNetworks(2, 3, hidden=8, seed=1), RNG.normal(size=(5, 3))
    again = MixtureNetworks.of_state(made.state())
    for one, other in zip(*(m.mixtures([features] * 2) for m in (made, again)), strict=True):
        assert np.array_equal(one.means, other.means)
