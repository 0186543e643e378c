"""Ladders, and the hierarchy that they argue against."""

import pytest
import torch
from torch import nn
from zoo import perturb_

from flowkit.errors import ArgumentError, ShapeError
from flowkit.flows import ConditionalNormal, DiscretizedLogisticLikelihood
from flowkit.training import Batch, fit
from flowkit.vae import VAE, HierarchicalVAE, LadderVAE, kl


def bits(n=64, row=8):
    return (torch.rand(n, row, generator=torch.Generator().manual_seed(0)) < 0.4).float()


def test_one_ladder_is_a_plain_vae_bit_by_bit():
    torch.manual_seed(0)
    ladder = LadderVAE((8,), groups=(3,), hidden=(16,))
    with torch.no_grad():
        for p in ladder.parameters():
            p.add_(0.1 * torch.randn_like(p))
    level, head = ladder.encoder.levels[0], ladder.encoder.heads[0]
    inject, fall = ladder.decoder.inject[0], ladder.decoder.levels[0]
    gate = ladder.decoder.gates[0]

    class Decoder(nn.Module):
        def forward(self, z):
            return fall(gate * inject(z))

    q = ConditionalNormal(3, context_features=6, hidden=None)
    plain = VAE(nn.Sequential(level, head), Decoder(), q)
    x = bits()
    for model in (ladder, plain):
        model.found = model.log_weights(x, 4, torch.Generator().manual_seed(3))
    assert torch.equal(ladder.found, plain.found)
    losses = [
        m.training_steps()["vae"].loss(Batch(x), torch.Generator().manual_seed(1))
        for m in (ladder, plain)
    ]
    assert losses[0].keys() == losses[1].keys() == {"reconstruction", "kl"}
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])


def test_the_kls_of_ladders_add_up_to_that_of_all_latents():
    torch.manual_seed(0)
    ladder = LadderVAE((8,), groups=(2, 1, 3), hidden=(16, 16, 16))
    with torch.no_grad():
        for p in ladder.parameters():
            p.add_(0.2 * torch.randn_like(p))
    x = bits()
    terms = ladder.training_steps()["vae"].loss(Batch(x), torch.Generator().manual_seed(1))
    assert list(terms) == ["reconstruction", "kl_1", "kl_2", "kl_3"]
    loc, log_scale = ladder.moments(ladder.encode(x))
    law = torch.distributions.Normal(loc, log_scale.exp())
    unit = torch.distributions.Normal(torch.zeros_like(loc), torch.ones_like(loc))
    whole = torch.distributions.kl_divergence(law, unit).sum(-1).mean()
    assert sum(terms[f"kl_{i}"] for i in (1, 2, 3)).item() == pytest.approx(whole.item(), rel=1e-5)


def test_a_low_ladder_does_not_see_the_levels_above():
    torch.manual_seed(0)
    ladder = LadderVAE((1, 8, 8), groups=(2, 2, 2), channels=(4, 8), hidden=(16,))
    with torch.no_grad():
        for p in ladder.encoder.heads.parameters():
            p.add_(0.1)
    means = ladder.represent(bits(5, 64))
    top = list(ladder.encoder.levels[2].parameters())
    for group, seen in ((0, False), (1, False), (2, True)):
        total = means[:, ladder.ladder(group)].sum()
        gradients = torch.autograd.grad(total, top, retain_graph=True)
        assert any(bool(g.abs().max() > 0) for g in gradients) is seen


@pytest.mark.parametrize(
    ("row", "options"),
    [
        ((8,), {"hidden": (16, 16, 16)}),
        ((1, 28, 28), {"channels": (4, 8), "hidden": (16,)}),
        ((3, 16, 16), {"channels": (4, 4, 4), "hidden": ()}),
        ((2, 6), {"hidden": (16, 16, 16)}),
    ],
)
def test_ladders_of_any_rows(row, options):
    torch.manual_seed(0)
    ladder = LadderVAE(row, groups=(2, 2, 2), **options)
    x = torch.rand(10, *row).round()
    assert ladder.reconstruct(x).shape == x.shape
    history = fit(ladder, x, terms=[kl(warm_up=5)], steps=4, batch_size=5)
    assert set(history.terms["vae"]) == {"reconstruction", "kl_1", "kl_2", "kl_3"}
    assert ladder.sample(3).shape == (3, *row)
    gradients = [p.grad for p in ladder.parameters()]
    assert all(g is None for g in gradients)  # fit leaves none behind


def test_ladders_learn_and_all_of_them_are_used():
    """Rows whose first half is noise of one kind and whose second half is of another."""
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    four = (torch.rand(4, 12, generator=g) < 0.5).float()
    x = torch.cat([four[torch.randint(4, (512,), generator=g)] for _ in range(2)], 1)
    ladder = LadderVAE((24,), groups=(2, 2), hidden=(64, 64))
    history = fit(ladder, x, terms=[kl(warm_up=200)], steps=500, batch_size=128, learning_rate=3e-3)
    terms = {name: sum(values[-50:]) / 50 for name, values in history.terms["vae"].items()}
    assert terms["reconstruction"] < 6
    assert terms["kl_1"] > 0.1
    assert terms["kl_2"] > 0.1


def test_varying_one_ladder():
    torch.manual_seed(0)
    ladder = LadderVAE((8,), groups=(2, 1), hidden=(16, 16))
    z = torch.randn(3)
    values = torch.tensor([[-1.0], [0.0], [1.0]])
    pictures = ladder.vary(1, z, values)
    assert pictures.shape == (3, 8)
    assert ladder.ladder(0) == slice(0, 2)
    assert ladder.ladder(1) == slice(2, 3)
    expected = ladder.likelihood.mean(ladder.decode(torch.cat([z[:2], values[2]])))
    assert torch.allclose(pictures[2], expected)
    with pytest.raises(ShapeError, match="^values: expected"):
        ladder.vary(0, z, values)
    with pytest.raises(ArgumentError, match="^group: expected"):
        ladder.vary(2, z, values)


def test_ladders_that_do_not_fit_are_refused():
    with pytest.raises(ArgumentError, match="^hidden: expected 3 levels"):
        LadderVAE((8,), groups=(2, 2, 2), hidden=(16,))
    with pytest.raises(ArgumentError, match="^image: expected sides that 4 divides"):
        LadderVAE((1, 6, 6), groups=(2, 2), channels=(4, 4), hidden=())
    with pytest.raises(ArgumentError, match="^groups: expected"):
        LadderVAE((8,), groups=(0, 2), hidden=(8, 8))
    with pytest.raises(ShapeError, match="^data: expected rows"):
        fit(HierarchicalVAE((8,), sizes=(3, 2), hidden=(8,)), torch.zeros(4, 7), steps=1)


def test_a_hierarchy_weighs_its_latents():
    torch.manual_seed(0)
    model = HierarchicalVAE((8,), sizes=(3, 2), hidden=(16,)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    x = bits(5).double()
    drawn = model.draw(x, 3, torch.Generator().manual_seed(0))
    z1, z2 = drawn.layers
    normal = torch.distributions.Normal
    unit = normal(torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64))
    log_p = unit.log_prob(z2).sum(-1)
    loc, log_scale = model.prior[0].parts(z2)
    log_p = log_p + normal(loc, log_scale.exp()).log_prob(z1).sum(-1)
    log_p = log_p + torch.distributions.Bernoulli(logits=model.decoder(z1.flatten(0, 1))).log_prob(
        x.repeat(3, 1)
    ).sum(-1).view(3, 5)
    log_q = 0
    for z, given, conditional in ((z1, x.expand(3, 5, 8), 0), (z2, z1, 1)):
        loc, log_scale = model.encoder[conditional].parts(given)
        log_q = log_q + normal(loc, log_scale.exp()).log_prob(z).sum(-1)
    again = model.log_weights(x, 3, torch.Generator().manual_seed(0))
    assert torch.allclose(again, log_p - log_q, atol=1e-8)


def test_a_hierarchy_climbs_and_comes_down():
    torch.manual_seed(0)
    model = HierarchicalVAE((8,), sizes=(3, 2), hidden=(16,))
    x = bits()
    fit(model, x, steps=5, batch_size=16)
    assert model.reconstruct(x, 1).shape == model.reconstruct(x, 2).shape == x.shape
    assert model.sample(4).shape == (4, 8)
    chain = model.gibbs(x, 3, torch.Generator().manual_seed(0))
    assert set(chain.unique().tolist()) <= {0.0, 1.0}
    with pytest.raises(ArgumentError, match="^layers: expected"):
        model.reconstruct(x, 3)


def test_levels_of_the_decoder_bend():
    ladder = LadderVAE((8,), groups=(2, 1), hidden=(16, 16))
    perturb_(ladder)
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        once, twice, none = (ladder.decoder(scale * z) for scale in (1.0, 2.0, 0.0))
    assert ((twice - none) - 2 * (once - none)).abs().max() > 1e-3


@pytest.mark.parametrize("channels", [(), (4,)])
def test_a_likelihood_of_several_parameters_has_them_from_the_lowest_level(channels):
    hidden = (8,) * (2 - len(channels))
    law = DiscretizedLogisticLikelihood(components=2)
    ladder = LadderVAE((3, 4, 4), (1, 2), channels=channels, hidden=hidden, likelihood=law)
    x = torch.randint(256, (20, 48), generator=torch.Generator().manual_seed(0)).float()
    history = fit(ladder, x, steps=3, batch_size=10, seed=0)
    assert len(history.loss) == 3
    assert ladder.sample(2).shape == (2, 48)
