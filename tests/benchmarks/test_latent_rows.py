"""Rows of models with latents, on tiny data: each kind trains, goes on, and says what it should."""

import os
from dataclasses import replace

import numpy as np
import papers
import pytest
import torch
from recipes import disentangling, latent
from recipes.inference import TASKS
from recipes.latent import Rows
from recipes.rows import ROWS

import tabular_data
from flowkit.flows import BernoulliLikelihood, DiscretizedLogisticLikelihood

NETS = {"net": "mlp-small", "latents": 3}
# What of each row's options is made smaller.
SMALLER = {
    "VAE, MNIST, posterior flow: none": NETS,
    "VAE, MNIST, posterior flow: IAF": NETS | {"hidden": (8,)},
    "VAE, MNIST, posterior flow: Sylvester": NETS | {"rank": 2},
    "VAE, Frey faces, posterior flow: IAF": NETS | {"hidden": (8,)},
    "IWAE, MNIST, K = 50": NETS,
    "SBN 200-200, fixed binarisation, VIMCO, K = 5": {"layers": (6, 4)},
    "SBN 200-200, fixed binarisation, NVIL, K = 5": {"layers": (6, 4)},
    "Ladder VAE, MNIST": {"groups": (1, 2), "channels": (4,), "hidden": (8,)},
    "Ladder VAE, shapes2d": {"groups": (1, 2), "channels": (4,), "hidden": (8,)},
    "Hierarchical VAE, MNIST": {"sizes": (3, 2), "hidden": (8,)},
    "beta-VAE, shapes2d": NETS,
    "DIP-VAE-II, shapes2d": NETS,
    "FactorVAE, shapes2d": NETS,
}


def tiny(name):
    generator = torch.Generator().manual_seed(0)
    shape = (1, 64, 64) if name == "shapes2d" else (1, 8, 8)
    law = DiscretizedLogisticLikelihood if name == "frey" else BernoulliLikelihood
    parts = [torch.rand(n, *shape, generator=generator).round() for n in (60, 20, 30)]
    parts = [part.flatten(1) for part in parts]
    parts = [255 * part for part in parts] if name == "frey" else parts
    return Rows(*parts, law, shape)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for module in (latent, disentangling):
        monkeypatch.setattr(module, "load", tiny)
    monkeypatch.setattr(latent, "_SAMPLES", 200)
    monkeypatch.setattr(latent, "_KNOWN", 200)
    # Forests take long; what they say is tested where they grow.
    monkeypatch.setattr(latent, "group_information", lambda _, v: np.arange(v.shape[1]))
    for name, value in (("_POINTS", 20), ("_PAIRS", 2), ("_KNOWN", 200)):
        monkeypatch.setattr(disentangling, name, value)


@pytest.mark.parametrize("name", SMALLER)
def test_a_row_trains_and_goes_on(name, tmp_path):
    (recipe,) = (r for r in ROWS if r.row == name)
    training = {**recipe.training, "batch_size": 20}
    recipe = replace(recipe, options={**recipe.options, **SMALLER[name]}, training=training)
    first = papers.run(recipe, 0.002, tmp_path)
    again = papers.run(recipe, 0.004, tmp_path)
    assert again["epochs"] > first["epochs"] > 0
    assert again["curve"][: len(first["curve"]) - 1] == first["curve"][:-1]
    row = again["row"]
    assert row["seed"] == recipe.seed
    if recipe.kind == "disentangling":
        assert 0 <= row["measured"] <= 1
        assert "reconstruction" in row["note"]
    elif recipe.unit == "bits/dim":
        assert 0 < row["measured"] < 64
    else:
        assert row["measured"] < 0
        assert row["standard_error"] > 0
    if recipe.kind == "ladder":
        assert len(again["nats_of_ladders"]) == 2
        assert ("information" in again) == (recipe.data == "shapes2d")


def scores_are_zero(score):
    z = score.mean(0) / (score.std(0) / len(score) ** 0.5)
    return bool((z.abs() < 4).all())


@pytest.mark.parametrize("name", ["gaussian_linear", "gaussian_mixture", "slcp"])
def test_a_task_simulates_what_its_likelihood_says(name):
    """Where x is simulated at theta, the mean score of the likelihood in theta is zero."""
    task = TASKS[name]()
    generator = torch.Generator().manual_seed(0)
    theta = task.prior(1, generator).double() * 0.5 + 0.05
    many = theta.expand(40_000, -1).clone().requires_grad_()
    x = task.simulate(many.detach().float(), generator).double()
    (score,) = torch.autograd.grad(task.log_likelihood(x, many).sum(), many)
    assert scores_are_zero(score)


@pytest.mark.parametrize(("name", "half"), [("two_moons", 0.6), ("gaussian_mixture", 6.0)])
def test_a_likelihood_of_two_numbers_is_a_density_where_they_are_drawn(name, half):
    task = TASKS[name]()
    theta = torch.tensor([[0.3, -0.1]])
    x = task.simulate(theta.expand(1_000, -1), torch.Generator().manual_seed(0))
    assert torch.isfinite(task.log_likelihood(x, theta)).all()
    axis = torch.linspace(-half, half, 1_201)
    grid = torch.cartesian_prod(axis, axis) + x.mean(0)
    mass = task.log_likelihood(grid, theta).exp().sum() * (axis[1] - axis[0]) ** 2
    assert float(mass) == pytest.approx(1.0, abs=0.01)


@pytest.mark.skipif("TABULAR_DATA_HOME" not in os.environ, reason="TABULAR_DATA_HOME is not set")
@pytest.mark.parametrize("name", ["gaussian_linear", "gaussian_mixture"])
def test_reference_draws_are_of_the_posterior(name):
    """The mean gradient of the log-posterior at draws of it is zero, far from the prior's walls."""
    found = tabular_data.load(f"sbibm-{name}", observation=9)
    theta = torch.from_numpy(found.train).double().requires_grad_()
    x = torch.from_numpy(found.labels["observation"]).double()
    log_density = TASKS[name]().log_posterior(x, theta)
    (score,) = torch.autograd.grad(log_density.sum(), theta)
    assert scores_are_zero(score)
