"""Adversarial autoencoders: codes held to a prior, clusters, labels, and decoders of both kinds."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from flowkit.errors import ArgumentError, ContextError, DataError, ShapeError
from flowkit.flows import BernoulliLikelihood, DiagonalNormal, maf
from flowkit.gan import AdversarialAutoencoder, Factorized, PixelGANAutoencoder
from flowkit.metrics import cluster_error, energy_distance
from flowkit.nets import MLP, PixelCNN
from flowkit.training import Step, fit


def templates(n, seed=0):
    """Three pictures of 6 x 6 bits, a twentieth of which is flipped; and which one it was."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.zeros(3, 1, 6, 6)
    drawn[0, :, :, :3] = 1
    drawn[1, :, :3] = 1
    drawn[2, :, 2:4] = 1
    label = torch.randint(3, (n,), generator=generator)
    flip = (torch.rand(n, 1, 6, 6, generator=generator) < 0.05).float()
    return (drawn[label] - flip).abs(), label


def pixelgan(categories=3, latents=0, outputs=None, **options):
    torch.manual_seed(0)
    codes = categories + latents
    encoder = MLP(36 + options.get("noise", 0), outputs or codes, (64,))
    pixels = PixelCNN((1, 6, 6), hidden=8, layers=2, reach=1, context_features=codes)
    critic = MLP(codes, 1, (64,))
    return PixelGANAutoencoder(
        encoder, pixels, critic, categories=categories, latents=latents, **options
    )


def factorized(categories=3, latents=0, likelihood="bernoulli", **options):
    torch.manual_seed(0)
    codes = categories + latents
    decoder = Factorized(MLP(codes, 36, (64,)), (1, 6, 6), codes=codes, likelihood=likelihood)
    spread = latents if options.get("posterior") == "gaussian" else 0
    encoder = MLP(36 + options.get("noise", 0), codes + spread, (64,))
    critic = MLP(codes, 1, (64,))
    return AdversarialAutoencoder(
        encoder, decoder, critic, categories=categories, latents=latents, **options
    )


@pytest.mark.parametrize("make", [pixelgan, factorized])
def test_clusters_of_three_templates_are_the_templates(make):
    x, label = templates(1_000)
    model = make()
    fit(model, x, steps=400, batch_size=64, learning_rate=2e-3)
    assert cluster_error(model.clusters(x).numpy(), label.numpy()) == 0
    shares = torch.bincount(model.clusters(x), minlength=3) / len(x)
    assert shares.min() > 0.25


def test_a_few_labels_name_the_clusters():
    x, label = templates(1_000)
    model = factorized(categories=3)
    labelled = (x[:12], label[:12])
    history = fit(model, x, steps=250, batch_size=64, learning_rate=2e-3, labelled=labelled)
    assert list(history.terms) == ["reconstruction", "critic", "encoder", "labels"]
    test, truth = templates(300, seed=1)
    assert (model.clusters(test) != truth).float().mean() < 0.02
    drawn = model.decode(torch.eye(3), torch.Generator().manual_seed(0))
    assert model.clusters(drawn).tolist() == [0, 1, 2]


@pytest.mark.parametrize("posterior", ["deterministic", "gaussian", "noise"])
def test_the_aggregated_posterior_comes_to_the_prior(posterior):
    torch.manual_seed(0)
    x, _ = templates(2_000)
    noise = {"noise": 3}.get(posterior, 0)
    far = DiagonalNormal(2)
    nn.init.constant_(far.loc, 3.0)
    model = factorized(0, 2, prior=far, posterior=posterior, noise=noise)
    prior = model.prior_codes(2_000)

    def distance():
        with torch.no_grad():
            return energy_distance(model.encode(x).code, prior).item()

    assert distance() > 3
    fit(model, x, steps=400, batch_size=64, learning_rate=5e-3)
    assert distance() < 0.5
    same = [torch.equal(model.encode(x[:5]).code, model.encode(x[:5]).code)]
    assert same == [posterior == "deterministic"]


def test_a_prior_may_be_a_flow():
    torch.manual_seed(0)
    flow = maf(2, layers=1, hidden=(8,))
    model = factorized(0, 2, prior=flow)
    before = [p.detach().clone() for p in flow.parameters()]
    fit(model, templates(200)[0], steps=10, batch_size=32)
    for a, b in zip(before, flow.parameters(), strict=True):
        assert torch.equal(a, b)  # it says what codes are to be, and is not moved itself
    generator = torch.Generator().manual_seed(0)
    codes = model.prior_codes(5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(codes, flow.sample((5,), generator=generator).detach())


def test_codes_of_the_prior_are_one_hot_beside_latents():
    model = factorized(3, 2)
    codes = model.prior_codes(3_000, torch.Generator().manual_seed(0))
    assert codes.shape == (3_000, 5)
    assert set(codes[:, :3].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(codes[:, :3].sum(1), torch.ones(3_000))
    torch.testing.assert_close(codes[:, :3].mean(0), torch.full((3,), 1 / 3), atol=0.04, rtol=0)
    torch.testing.assert_close(codes[:, 3:].std(0), torch.ones(2), atol=0.05, rtol=0)


def test_a_critic_that_meets_the_prior_itself_ends_at_one_half():
    """With q(z) = p(z) nothing can be told: log 4, and probabilities of one half."""
    torch.manual_seed(0)

    class Prior(nn.Module):
        def forward(self, x):
            return torch.randn(len(x), 2)

    decoder = Factorized(nn.Linear(2, 36), (1, 6, 6), codes=2)
    critic = MLP(2, 1, (32,))
    model = AdversarialAutoencoder(Prior(), decoder, critic, latents=2)
    objective = {"critic": Step(critic.parameters(), model._critic)}
    history = fit(model, templates(500)[0], objective=objective, steps=400, batch_size=250)
    assert np.mean(history.terms["critic"]["critic"][-50:]) == pytest.approx(math.log(4), abs=0.01)
    probability = torch.sigmoid(critic(torch.randn(500, 2)))
    assert (probability - 0.5).abs().mean() < 0.05


def test_a_factorized_decoder_takes_any_batch_of_codes():
    decoder = Factorized(MLP(2, 36), (1, 6, 6), codes=2)
    codes = torch.randn(2, 5, 2)
    x = decoder.sample((7,), codes)
    assert x.shape == (7, 2, 5, 1, 6, 6)
    flat = decoder.log_prob(x[0].flatten(0, 1), codes.flatten(0, 1))
    torch.testing.assert_close(decoder.log_prob(x, codes)[0].flatten(), flat)


def test_a_factorised_decoder_is_a_distribution_given_a_code():
    model = factorized(3)
    code, x = torch.eye(3), templates(3)[0]
    found = model.decoder.log_prob(x, code)
    mean = model.decoder.mean(code)
    expected = (x * mean.log() + (1 - x) * (1 - mean).log()).flatten(1).sum(1)
    torch.testing.assert_close(found, expected)
    drawn = model.decoder.sample((4_000,), code)
    assert drawn.shape == (4_000, 3, 1, 6, 6)
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.05, rtol=0)


def test_grey_levels_are_drawn_anew_each_time():
    x = templates(50)[0] * 0.5 + 0.25
    model = factorized(3, likelihood=BernoulliLikelihood(stochastic=True))
    fit(model, x, steps=3, batch_size=10)
    with pytest.raises(DataError, match="row 1"):
        fit(model, x + torch.where(torch.arange(50) == 1, 1.0, 0.0).view(-1, 1, 1, 1), steps=1)
    with pytest.raises(DataError, match="row 0"):
        fit(factorized(3), x, steps=1)


def test_a_fit_goes_on_where_it_broke_off(tmp_path):
    x, label = templates(120)
    settings = {
        "steps": 20,
        "batch_size": 16,
        "labelled": (x[:6], label[:6]),
        "checkpoint_every": 7,
    }
    whole, broken = pixelgan(), pixelgan()
    fit(whole, x, **settings, checkpoint=tmp_path / "whole.safetensors")
    settings["checkpoint"] = tmp_path / "broken.safetensors"
    with pytest.raises(ZeroDivisionError):
        fit(broken, x, **settings, callbacks=[lambda s: 1 / (s.step - 17)])
    other = pixelgan()
    with torch.no_grad():
        for p in other.parameters():
            p.add_(1.0)
    fit(other, x, **settings)
    for a, b in zip(whole.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_does_not_fit_is_refused_before_the_first_step():
    x, label = templates(30)
    with pytest.raises(ShapeError, match="decoder"):
        AdversarialAutoencoder(
            MLP(36, 3), Factorized(MLP(4, 36), (1, 6, 6), codes=4), MLP(3, 1), categories=3
        )
    with pytest.raises(ArgumentError, match="categories"):
        AdversarialAutoencoder(MLP(36, 1), Factorized(MLP(1, 36), 36, codes=1), MLP(1, 1))
    with pytest.raises(ArgumentError, match="noise"):
        pixelgan(3, noise=2)
    with pytest.raises(ArgumentError, match="posterior"):
        factorized(3, posterior="guess")
    with pytest.raises(ShapeError, match="prior"):
        factorized(0, 2, prior=maf(3))
    with pytest.raises(ShapeError, match="encoder"):
        fit(pixelgan(3, outputs=4), x, steps=1)
    with pytest.raises(ShapeError, match="data"):
        fit(factorized(3), x.flatten(1), steps=1)
    with pytest.raises(ContextError, match="labelled"):
        fit(factorized(3), x, context=label, steps=1)
    model = factorized(3)
    with pytest.raises(DataError, match="labelled, row 2"):
        wrong = torch.where(torch.arange(30) == 2, 3, label)
        fit(model, x, steps=1, labelled=(x, wrong))
    with pytest.raises(ShapeError, match="labelled"):
        fit(model, x, steps=1, labelled=(x, label[:5]))
    with pytest.raises(ArgumentError, match="labelled"):
        fit(factorized(0, 2), x, steps=1, labelled=(x, label))
    with pytest.raises(ArgumentError, match="categories"):
        factorized(0, 2).clusters(x)
    model.critic = MLP(7, 1)
    with pytest.raises(ShapeError, match="critic"):
        fit(model, x, steps=1)
