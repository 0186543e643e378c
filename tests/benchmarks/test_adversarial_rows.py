"""Rows of pixels and adversaries, on tiny data: each kind trains, and goes on."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import papers
import pytest
import torch
from recipes import adversarial
from recipes.latent import Rows
from recipes.rows import ROWS

from flowkit.flows import BernoulliLikelihood

# What of each row's options is made smaller.
CNN = {"hidden": 2, "layers": 1, "reach": 1}
SMALLER = {
    "PixelCNN, fixed binarisation": CNN,
    "Bernoulli MADE, fixed binarisation": {"hidden": (800,)},
    "PixelGAN autoencoder, MNIST, 30 clusters": CNN,
    "Adversarial autoencoder, MNIST, 100 labels": {},
    "Adversarial autoencoder with style, MNIST, 30 clusters": {},
    "Flow-GAN, magic, hybrid": {"layers": 2, "hidden": (8,)},
    "Flow-GAN, MNIST, adversarial": {"hidden": (8,)},
    "WGAN-GP, MNIST": {"widths": (4, 4)},
    "WGAN, Fashion-MNIST": {"widths": (4, 4)},
    "WGAN-GP, 25 Gaussians": {"widths": (8,)},
}


def tiny(name):
    rng = np.random.default_rng(0)
    if name == "magic":
        parts = [rng.normal(3, 2, size=(n, 4)) for n in (90, 30, 40)]
        return SimpleNamespace(train=parts[0], val=parts[1], test=parts[2], part="")
    parts = [rng.integers(0, 256, size=(n, 784)).astype(np.uint8) for n in (120, 30, 40)]
    labels = [np.arange(len(part)) % 10 for part in parts]
    names = ("train", "val", "test")
    return SimpleNamespace(
        **dict(zip(names, parts, strict=True)),
        labels=dict(zip(names, labels, strict=True)),
        part="",
    )


def tiny_bits(name):
    generator = torch.Generator().manual_seed(0)
    parts = [torch.rand(n, 784, generator=generator).round() for n in (60, 20, 30)]
    return Rows(*parts, BernoulliLikelihood, (1, 28, 28))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(adversarial, "tabular_data", SimpleNamespace(load=tiny))
    monkeypatch.setattr("recipes.latent.load", tiny_bits)
    monkeypatch.setattr(adversarial, "load", tiny_bits)
    for name, value in (("_DRAWN", 20), ("_COMPARED", 20), ("_LOOK", 2), ("_CLASSIFIER_STEPS", 3)):
        monkeypatch.setattr(adversarial, name, value)
    adversarial._real_rows.cache_clear()


@pytest.mark.parametrize("name", SMALLER)
def test_a_row_trains_and_goes_on(name, tmp_path):
    (recipe,) = (r for r in ROWS if r.row == name)
    training = {**recipe.training, "batch_size": 20}
    recipe = replace(recipe, options={**recipe.options, **SMALLER[name]}, training=training)
    first = papers.run(recipe, 0.002, tmp_path)
    again = papers.run(recipe, 0.004, tmp_path)
    assert again["epochs"] > first["epochs"] > 0
    looked = len(first["curve"]) - 1
    assert again["curve"][: max(looked, 0)] == first["curve"][: max(looked, 0)]
    measured = again["row"]["measured"]
    if recipe.unit == "%":
        assert 0 <= measured <= 100
    else:
        assert measured < 0 or "MNIST" in name  # densities of pixels within [0, 1]
    if recipe.kind == "flow-gan":
        assert np.isfinite(again["row"]["critic_distance"])
        assert "sliced wasserstein" in again["row"]["note"]
    if recipe.kind == "codes":
        assert again["curve"]
        assert all(0 <= error <= 100 for _, error in again["curve"])
    if recipe.kind == "images":
        assert sum(again["shares"]) == pytest.approx(1)


def test_modes_are_held_by_a_fifth_of_their_share():
    axis = torch.arange(5) - 2.0
    modes = torch.cartesian_prod(axis, axis)
    samples = modes.repeat(100, 1)
    assert adversarial.held(samples) == (25, 1.0)
    samples[modes.repeat(100, 1)[:, 0] == 2] += 0.4
    kept, near = adversarial.held(samples)
    assert kept == 20
    assert near == pytest.approx(0.8)
    assert adversarial.held(modes[:3].repeat(200, 1))[0] == 3
