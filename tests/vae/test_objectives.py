"""Terms of a loss, by fixtures and closed forms."""

import inspect
import math

import pytest
import torch
from torch import nn

from flowkit.errors import ArgumentError, ShapeError
from flowkit.flows import ConditionalNormal
from flowkit.training import Batch, fit
from flowkit.vae import (
    DIP,
    KL,
    MMD,
    VAE,
    Factor,
    TotalCorrelation,
    dip,
    dip_penalty,
    factor,
    kl,
    mmd,
    networks,
    posterior,
    squared_mmd,
    total_correlation,
    total_correlation_of,
)
from flowkit.vae.objectives import permuted_latents

MEANS = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])


def small(latents=3, row=6, groups=None, q="normal"):
    nets = networks("mlp-small", (row,), latents)
    q = posterior(q, latents, context_features=nets.context_features)
    return VAE(nets.encoder, nets.decoder, q, groups=groups)


@pytest.mark.parametrize(
    ("function", "term"),
    [(kl, KL), (dip, DIP), (total_correlation, TotalCorrelation), (factor, Factor), (mmd, MMD)],
)
def test_functions_return_terms_with_the_same_arguments_and_defaults(function, term):
    arguments = inspect.signature(function).parameters.values()
    fields = inspect.signature(term).parameters.values()
    assert [(a.name, a.default) for a in arguments] == [(f.name, f.default) for f in fields]
    # The arguments arrive in order: distinct values of any type that the term accepts.
    values = {"beta": 2.0, "normalised": True, "warm_up": 3, "free_bits": 0.25, "kind": "i"}
    values |= {"lambda_od": 4.0, "lambda_d": 5.0, "weight": 6.0, "rows": 7, "latents": 2}
    values |= {"gamma": 8.0, "hidden": (9,), "learning_rate": 0.5}
    chosen = [values.get(a.name, a.default) for a in arguments]
    assert [getattr(function(*chosen), a.name) for a in arguments] == chosen


class Told(nn.Module):
    """An encoder that returns what it is given: means and log-scales."""

    def __init__(self, means, log_scales):
        super().__init__()
        self.context = nn.Parameter(torch.cat([means, log_scales], 1))

    def forward(self, x):
        return self.context[: len(x)]


def told(means, log_scales=None):
    log_scales = torch.zeros_like(means) if log_scales is None else log_scales
    latents = means.shape[1]
    q = ConditionalNormal(latents, context_features=2 * latents, hidden=None)
    return VAE(Told(means, log_scales), nn.Linear(latents, 4), q)


def loss_of(vae, terms, n=4, seed=0, row=4):
    x = torch.zeros(n, row)
    (step, *_) = vae.training_steps(terms=terms).values()
    return step.loss(Batch(x), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shift", [0.0, 7.0])
def test_dip_of_four_rows(shift):
    """Cov = diag(0.5, 2); a mean that is summed, or left out, shows under a shift."""
    means = MEANS + shift
    for weight in (1.0, 3.0):
        one = dip_penalty(means, lambda_od=5.0, lambda_d=weight)
        assert one.item() == pytest.approx(1.25 * weight, abs=1e-5)
        two = dip_penalty(means, torch.ones(4, 2), lambda_od=5.0, lambda_d=weight)
        assert two.item() == pytest.approx(4.25 * weight, abs=1e-5)


def test_dip_counts_both_sides_of_the_diagonal():
    z = torch.tensor([1.0, -1.0, 1.0, -1.0])
    means = torch.stack([z, 0.3 * z], 1)  # covariance 0.3, variances 1 and 0.09
    penalty = dip_penalty(means, lambda_od=2.0, lambda_d=0.0)
    assert penalty.item() == pytest.approx(2 * 2.0 * 0.3**2, abs=1e-6)


def test_dip_as_a_term_sees_means_and_not_draws():
    vae = told(MEANS, torch.full((4, 2), 0.3).log())
    for kind, expected in (("i", 1.25), ("ii", (0.59 - 1) ** 2 + (2.09 - 1) ** 2)):
        found = loss_of(vae, [dip(kind, lambda_od=7.0, lambda_d=1.0)])
        tolerance = 2e-2 if kind == "ii" else 1e-4  # scales are held softly within e^7
        assert found["dip"].item() == pytest.approx(expected, abs=tolerance)
        assert set(found) == {"reconstruction", "dip"}
    assert dip("i", lambda_od=2.0).weights == (2.0, 20.0)
    assert dip("ii", lambda_od=2.0).weights == (2.0, 2.0)
    with pytest.raises(ArgumentError, match="^kind: expected"):
        dip("iii")
    with pytest.raises(ShapeError, match="^mean: expected"):
        dip_penalty(torch.zeros(3))
    with pytest.raises(ShapeError, match="^variance: expected"):
        dip_penalty(MEANS, torch.ones(4, 3))


def test_kl_in_closed_form_is_that_of_draws():
    torch.manual_seed(0)
    means, log_scales = torch.randn(4, 2), 0.3 * torch.randn(4, 2)
    vae = told(means, log_scales)
    drawn = vae.draw(torch.zeros(4, 4), 20_000)
    closed = drawn.kl_of_latents.sum(-1)
    by_draws = drawn.log_q - drawn.log_prior
    error = by_draws.std(0) / math.sqrt(20_000)
    assert ((by_draws.mean(0) - closed).abs() < 5 * error).all()
    loc, log_scale = vae.moments(drawn.context)
    law = torch.distributions.Normal(loc, log_scale.exp())
    unit = torch.distributions.Normal(torch.zeros(4, 2), torch.ones(4, 2))
    expected = torch.distributions.kl_divergence(law, unit)
    assert torch.allclose(drawn.kl_of_latents, expected, atol=1e-5)


def test_kl_weights_groups_and_limits():
    vae = told(MEANS)
    plain = loss_of(vae, [kl()])["kl"].item()
    assert plain == pytest.approx(0.5 * (1 + 1 + 4 + 4) / 4, abs=1e-5)
    assert loss_of(vae, [kl(beta=4.0)])["kl"].item() == pytest.approx(4 * plain)
    normalised = loss_of(vae, [kl(beta=0.5, normalised=True)])["kl"].item()
    assert normalised == pytest.approx(0.5 * 4 / 2 * plain)  # four scalars, two latents
    assert loss_of(vae, [kl(free_bits=3.0)])["kl"].item() == pytest.approx(3.0)
    assert loss_of(vae, [kl(free_bits=0.5)])["kl"].item() == pytest.approx(plain)
    for step, share in ((0.0, 0.0), (5.0, 0.5), (10.0, 1.0), (99.0, 1.0)):
        vae.step.fill_(step)
        assert loss_of(vae, [kl(warm_up=10)])["kl"].item() == pytest.approx(share * plain)
        capacity = loss_of(vae, [kl(beta=100.0, capacity=(2.0, 10))])["kl"].item()
        assert capacity == pytest.approx(100 * abs(plain - 2.0 * share), abs=1e-3)
    grouped = told(MEANS)
    grouped.groups = (1, 1)
    found = loss_of(grouped, [kl()])
    assert found["kl_1"].item() == pytest.approx(0.25, abs=1e-5)
    assert found["kl_2"].item() == pytest.approx(1.0, abs=1e-5)


def test_bad_weights_of_the_kl():
    for options in ({"beta": -1.0}, {"warm_up": -1}, {"free_bits": -1.0}, {"capacity": (0.0, 5)}):
        (name,) = options
        with pytest.raises(ArgumentError, match=f"^{name}: expected"):
            kl(**options)
    with pytest.raises(ArgumentError, match="^capacity: expected None if free_bits is positive"):
        kl(free_bits=1.0, capacity=(5.0, 10))


def test_total_correlation_of_gaussians():
    """Of a Gaussian of correlation r it is -log(1 - r²) / 2; the batch's estimate comes near."""
    torch.manual_seed(0)
    n, scale = 2_000, 0.3
    estimates = []
    for r in (0.0, 0.5, 0.9):
        root = torch.linalg.cholesky(torch.tensor([[1.0, r], [r, 1.0]]))
        mean = torch.randn(n, 2) @ root.T * math.sqrt(1 - scale**2)
        z = mean + scale * torch.randn(n, 2)
        estimates.append(total_correlation_of(z, mean, torch.full((n, 2), math.log(scale))).item())
        correlation = r * (1 - scale**2)
        assert estimates[-1] == pytest.approx(-0.5 * math.log(1 - correlation**2), abs=0.06)
    assert estimates == sorted(estimates)
    # With the number of rows of the data set there is a constant beside it, log N (latents - 1).
    with_rows = total_correlation_of(z, mean, torch.full((n, 2), math.log(scale)), rows=50)
    assert with_rows.item() == pytest.approx(estimates[-1] + math.log(50), abs=1e-4)


def test_a_discriminator_finds_the_total_correlation():
    torch.manual_seed(0)
    r = 0.9
    z = torch.randn(2000, 2) @ torch.linalg.cholesky(torch.tensor([[1.0, r], [r, 1.0]])).T
    vae = told(z, torch.full_like(z, -6.0))
    vae.encoder.context.requires_grad_(False)
    term = factor(2, gamma=1.0, hidden=(32, 32), learning_rate=3e-3)
    steps = vae.training_steps(terms=[term])
    assert list(steps) == ["vae", "discriminator"]
    fit(vae, torch.zeros(2000, 4), objective=steps, steps=200, batch_size=2000, learning_rate=1e-9)
    drawn = vae.draw(torch.zeros(2000, 4))
    estimate = term(drawn, None)["total_correlation"].item()
    assert estimate == pytest.approx(-0.5 * math.log(1 - r**2), abs=0.15)


def test_factor_moves_its_discriminator_only_in_its_own_step():
    vae = small()
    term = factor(3, gamma=5.0, hidden=(8,))
    before = [p.clone() for p in term.discriminator.parameters()]
    history = fit(vae, torch.zeros(32, 6), terms=[kl(), term], steps=3, batch_size=16)
    assert set(history.terms) == {"vae", "discriminator"}
    assert set(history.terms["vae"]) == {"reconstruction", "kl", "total_correlation"}
    moved = [
        not torch.equal(a, b) for a, b in zip(before, term.discriminator.parameters(), strict=True)
    ]
    assert all(moved)


def test_shuffled_latents_keep_their_columns():
    z = torch.randn(100, 3)
    shuffled = permuted_latents(z, torch.Generator().manual_seed(0))
    for j in range(3):
        assert torch.equal(z[:, j].sort().values, shuffled[:, j].sort().values)
    assert not torch.equal(z[:, 0], shuffled[:, 0])
    correlated = torch.randn(2000, 1).expand(-1, 2)
    apart = permuted_latents(correlated, torch.Generator().manual_seed(0))
    assert torch.corrcoef(apart.T)[0, 1].abs() < 0.1


def test_mmd():
    torch.manual_seed(0)
    x = torch.randn(300, 2)
    values = [squared_mmd(x, torch.randn(300, 2) + shift).item() for shift in (0.0, 0.5, 2.0)]
    assert abs(values[0]) < 0.01
    assert values == sorted(values)
    many = torch.stack([squared_mmd(torch.randn(20, 2), torch.randn(20, 2)) for _ in range(300)])
    assert many.mean().abs() < 4 * many.std() / math.sqrt(300)  # unbiased
    vae = small()
    history = fit(vae, torch.zeros(32, 6), terms=[mmd(10.0)], steps=2, batch_size=16)
    assert set(history.terms["vae"]) == {"reconstruction", "mmd"}


def test_terms_add_up_and_go_beside_any_posterior():
    x = torch.zeros(32, 6)
    for q in ("normal", "iaf"):
        terms = [kl(beta=2.0), dip("i"), total_correlation(3.0, rows=32)]
        history = fit(small(q=q), x, terms=terms, steps=2, batch_size=16)
        assert list(history.terms["vae"]) == ["reconstruction", "kl", "dip", "total_correlation"]
    history = fit(small(), x, objective="iwae", samples=3, terms=[dip("ii")], steps=2)
    assert list(history.terms["vae"]) == ["negative_bound", "dip"]
