"""Variational autoencoders out of exchangeable parts."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from zoo import perturb_

from flowkit import gan, vae
from flowkit.distributions import Distribution
from flowkit.errors import ArgumentError, ContextError, DataError, ShapeError, TrainingError
from flowkit.estimators import (
    dreg,
    elbo,
    iwae,
    log_likelihood,
    reinforce,
    sticking_the_landing,
    vimco,
)
from flowkit.flows import (
    BernoulliLikelihood,
    ConditionalNormal,
    Flow,
    GaussianLikelihood,
    NormalMixture,
    StandardNormal,
    iaf,
    made_mog,
    maf,
    nsf,
)
from flowkit.training import fit
from flowkit.transforms import Inverse
from flowkit.vae import KL, VAE, kl, networks, posterior

POSTERIORS = ("normal", "full_normal", "planar", "radial", "sylvester", "iaf", "nsf")

NARROW = {"iaf": {"hidden": (16,)}, "nsf": {"hidden": (16,)}}


def small(q="normal", prior="normal", likelihood="bernoulli", latents=3, row=6, **options):
    outputs = 1 if likelihood == "bernoulli" else likelihood.outputs
    nets = networks("mlp-small", (row,), latents, outputs=outputs)
    if isinstance(q, str):
        q = posterior(q, latents, context_features=nets.context_features, **options)
    return VAE(nets.encoder, nets.decoder, q, prior, likelihood)


def bits(n=64, row=6):
    return (torch.rand(n, row, generator=torch.Generator().manual_seed(0)) < 0.4).float()


def patterns(n=256, row=12):
    """Return one of four patterns in each row, a twentieth of whose bits is flipped."""
    g = torch.Generator().manual_seed(0)
    four = (torch.rand(4, row, generator=g) < 0.5).float()
    chosen = four[torch.randint(4, (n,), generator=g)]
    return (chosen - (torch.rand(n, row, generator=g) < 0.05).float()).abs()


def independent(x):
    p = x.mean(0).clamp(1e-3, 1 - 1e-3)
    return -(p * p.log() + (1 - p) * (1 - p).log()).sum().item()


class LinearGaussian:
    """PPCA: z ~ N(0, 1), x ~ N(W z + b, s²): likelihood and posterior in closed form."""

    def __init__(self, row=5, latents=2, scale=1.0):
        torch.manual_seed(3)
        self.w = torch.randn(row, latents, dtype=torch.float64)
        self.b = torch.randn(row, dtype=torch.float64)
        self.scale = scale
        eye = torch.eye(latents, dtype=torch.float64)
        precision = eye + self.w.T @ self.w / scale**2
        self.covariance = torch.linalg.inv(precision)

    def log_prob(self, x):
        marginal = self.w @ self.w.T + self.scale**2 * torch.eye(len(self.b), dtype=torch.float64)
        return torch.distributions.MultivariateNormal(self.b, marginal).log_prob(x)

    def vae(self):
        """Return the model with its exact posterior: a full Gaussian around a linear mean."""
        row, latents = self.w.shape
        decoder = nn.Linear(latents, row).double()
        with torch.no_grad():
            decoder.weight.copy_(self.w)
            decoder.bias.copy_(self.b)
        return VAE(
            _ExactMean(self),
            decoder,
            _ExactPosterior(self),
            likelihood=GaussianLikelihood(self.scale),
        ).double()


class _ExactMean(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return (x - self.model.b) @ self.model.w @ self.model.covariance / self.model.scale**2


class _ExactPosterior(Distribution):
    def __init__(self, model):
        latents = model.w.shape[1]
        super().__init__(latents, context_features=latents)
        self.model = model

    def _law(self, context):
        return torch.distributions.MultivariateNormal(context, self.model.covariance)

    def sample(self, sample_shape=(), context=None, generator=None):
        return self._law(context).rsample(sample_shape)

    def log_prob(self, z, context):
        return self._law(context).log_prob(z)


@pytest.mark.parametrize("samples", [1, 2, 7])
def test_a_linear_gaussian_model_with_its_posterior_has_no_variance(samples):
    model = LinearGaussian()
    vae = model.vae()
    x = torch.randn(4, 5, dtype=torch.float64)
    log_f = vae.log_weights(x, samples)
    assert (log_f - model.log_prob(x)).abs().max() < 1e-10
    found = log_likelihood(vae, x, samples=10)
    assert torch.allclose(found.value, model.log_prob(x), atol=1e-10)
    assert found.effective_samples.min() == pytest.approx(10, abs=1e-6)


@pytest.mark.parametrize("name", POSTERIORS)
def test_log_q_of_draws_is_log_prob_of_the_same_points(name):
    torch.manual_seed(0)
    q = posterior(name, 4, context_features=8, **NARROW.get(name, {}))
    perturb_(q, 0.1)
    context = torch.randn(5, 8)
    if name == "normal":
        z = q.sample((6,), context)
        loc, log_scale = q.parts(context)
        expected = torch.distributions.Normal(loc, log_scale.exp()).log_prob(z).sum(-1)
        assert torch.allclose(q.log_prob(z, context), expected, atol=1e-5)
        return
    z, log_q = q.sample_and_log_prob((6,), context)
    assert z.shape == (6, 5, 4)
    assert torch.allclose(log_q, q.log_prob(z, context), atol=1e-4, rtol=1e-5)
    double = q.double()
    z, log_q = double.sample_and_log_prob((6,), context.double())
    assert torch.allclose(log_q, double.log_prob(z, context.double()), atol=1e-5)


def test_an_iaf_posterior_is_the_inverse_of_a_maf_with_the_same_weights():
    torch.manual_seed(0)
    forward = maf(3, context_features=4, layers=2, hidden=(8,))
    perturb_(forward)
    q = Flow(Inverse(forward.transform), StandardNormal(3)).double()
    context = torch.randn(5, 4, dtype=torch.float64)
    eps = torch.randn(5, 3, dtype=torch.float64)
    z, logabsdet = q.transform.inverse(eps, context)
    assert torch.equal(z, forward.transform(eps, context)[0])
    base = StandardNormal(3).double()
    assert torch.allclose(q.log_prob(z, context), base.log_prob(eps) - logabsdet, atol=1e-10)
    # KL(q || p) by draws of either side is the same number: the map changes nothing but names.
    double = forward.double()
    x = double.sample((5000,), context[:1])
    u, _ = double.transform(x, context[:1])
    left = (double.log_prob(x, context[:1]) - base.log_prob(x)).mean()
    _, slope = double.transform.inverse(u, context[:1])
    right = (base.log_prob(u) - (base.log_prob(x) + slope)).mean()
    assert left.item() == pytest.approx(right.item(), abs=1e-9)


@pytest.mark.parametrize("name", POSTERIORS)
def test_every_posterior_reaches_all_its_parameters(name):
    torch.manual_seed(0)
    vae = small(name)
    perturb_(vae, 0.1)
    drawn = vae.draw(bits(), 3)
    elbo(drawn.log_p, drawn.log_q).surrogate.mean().backward()
    for parameter_name, parameter in vae.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@pytest.mark.parametrize("name", POSTERIORS)
def test_a_fit_raises_the_bound(name):
    torch.manual_seed(0)
    x = patterns()
    vae = small(name, row=12, **NARROW.get(name, {}))
    history = fit(vae, x, steps=120, batch_size=64, learning_rate=1e-2, seed=0)
    assert sum(history.loss[-20:]) / 20 < independent(x) - 1
    assert set(history.terms["vae"]) == {"reconstruction", "kl"}


@pytest.mark.parametrize(
    "prior",
    [
        lambda: maf(3, layers=2, hidden=(8,)),
        lambda: nsf(3, layers=1, hidden=(8,), coupling=True),
        lambda: NormalMixture(3, 4),
        lambda: made_mog(3, components=3, hidden=(8,)),
    ],
    ids=["maf", "nsf", "mixture", "autoregressive"],
)
def test_priors_are_flows_and_bases(prior):
    torch.manual_seed(0)
    vae = small(prior=prior())
    perturb_(vae, 0.1)
    x = bits()
    drawn = vae.draw(x, 2)
    assert torch.allclose(drawn.log_prior, vae.prior.log_prob(drawn.z))
    assert vae.sample(7).shape == (7, 6)
    fit(vae, x, steps=3)
    assert not vae.is_gaussian


def test_the_bound_is_what_it_says():
    torch.manual_seed(0)
    vae = small("iaf", hidden=(16,)).double()
    perturb_(vae, 0.1)
    x = bits(5).double()
    drawn = vae.draw(x, 4)
    for k in range(4):
        for i in range(5):
            logits = vae.decoder(drawn.z[k, i : i + 1])[0]
            expected = torch.distributions.Bernoulli(logits=logits).log_prob(x[i]).sum()
            assert drawn.log_likelihood[k, i].item() == pytest.approx(expected.item(), abs=1e-4)
    normal = torch.distributions.Normal(0.0, 1.0)
    assert torch.allclose(drawn.log_prior, normal.log_prob(drawn.z).sum(-1), atol=1e-6)
    q = vae.posterior.log_prob(drawn.z, vae.encode(x))
    assert torch.allclose(drawn.log_q, q, atol=1e-5)


@pytest.mark.parametrize(
    "objective",
    [
        "elbo",
        "iwae",
        "sticking_the_landing",
        "dreg",
        "vimco",
        "nvil",
        "reweighted_wake_sleep",
        partial(reinforce, baseline="leave_one_out"),
    ],
)
def test_every_estimator_trains_a_vae(objective):
    torch.manual_seed(0)
    x = patterns()
    vae = small("iaf", row=12, layers=1, hidden=(8,))
    history = fit(
        vae, x, objective=objective, samples=5, steps=120, batch_size=64, learning_rate=1e-2
    )
    assert sum(history.loss[-20:]) / 20 < independent(x) - 0.5
    names = set(history.terms["vae"])
    assert names == ({"reconstruction", "kl"} if objective == "elbo" else {"negative_bound"})


def test_gradients_by_score_are_those_by_path_in_the_mean():
    """The same bound has the same gradient whichever way it is estimated."""
    torch.manual_seed(0)
    vae = small("normal", latents=1).double()
    perturb_(vae, 0.3)
    x = bits(1).double()

    def gradients(objective, seed, repeats=400):
        (step,) = vae.training_steps(objective=objective, samples=8).values()
        rows = x.expand(repeats, -1)
        loss = step.loss(_batch(rows), torch.Generator().manual_seed(seed))
        weight = vae.posterior.net.bias
        return torch.autograd.grad(sum(loss.values()), weight)[0]

    path = torch.stack([gradients(iwae, seed) for seed in range(25)])
    score = torch.stack([gradients(vimco, seed) for seed in range(100, 125)])
    error = (path.var(0) / 25 + score.var(0) / 25).sqrt()
    assert ((path.mean(0) - score.mean(0)).abs() < 4 * error).all()


def _batch(x, context=None, weights=None):
    from flowkit.training import Batch

    return Batch(x, context, weights)


def test_objectives_may_be_functions_of_ones_own():
    vae = small()
    seen = []

    def mine(log_p, log_q):
        seen.append(log_p.shape)
        return elbo(log_p, log_q)

    fit(vae, bits(), objective=mine, samples=3, steps=2, batch_size=16)
    assert seen == [(3, 16)] * 2
    for objective in (sticking_the_landing, dreg):
        fit(vae, bits(), objective=objective, samples=2, steps=1)


def test_rows_weigh_what_they_are_told():
    vae = small()
    x = bits(8)
    weights = torch.tensor([2.0, 0, 1, 1, 1, 1, 1, 1])
    (step,) = vae.training_steps().values()
    losses = [
        step.loss(_batch(rows, None, w), torch.Generator().manual_seed(0))["reconstruction"]
        for rows, w in ((x, weights), (x, None))
    ]
    assert losses[0] != losses[1]


def test_latents_decode_to_shapes():
    nets = networks("mlp-small", (1, 4, 4), 2)
    q = posterior("normal", 2, context_features=nets.context_features)
    vae = VAE(nets.encoder, nets.decoder, q)
    x = torch.rand(5, 1, 4, 4).round()
    assert vae.reconstruct(x).shape == x.shape
    assert vae.decode(torch.zeros(3, 2, 2), (1, 4, 4)).shape == (1, 3, 2, 1, 4, 4)
    assert vae.represent(x).shape == (5, 2)
    flat = vae.log_weights(x.flatten(1), 2, torch.Generator().manual_seed(0))
    shaped = vae.log_weights(x, 2, torch.Generator().manual_seed(0))
    assert torch.allclose(flat, shaped, atol=1e-5)


@pytest.mark.parametrize("name", ["mlp-small", "mlp-300", "iwae-200", "visual-concepts", "conv-64"])
def test_published_networks(name):
    row = (1, 64, 64) if name == "conv-64" else (30,)
    nets = networks(name, row, 4, outputs=2)
    x = torch.rand(2, *row)
    context = nets.encoder(x)
    assert context.shape == (2, nets.context_features)
    assert nets.decoder(torch.zeros(2, 4)).shape == (2, 2 * math.prod(row))
    expected = {
        "mlp-300": [300, 300],
        "iwae-200": [200, 200],
        "visual-concepts": [1200, 1200],
        "conv-64": [32, 32, 64, 64, 256],
    }.get(name, [64, 64])
    widths = [
        m.out_channels if isinstance(m, nn.Conv2d) else m.out_features
        for m in nets.encoder.modules()
        if isinstance(m, nn.Conv2d | nn.Linear)
    ]
    assert widths == expected


def test_same_seed_same_fit_and_resumed_fits_go_on(tmp_path):
    def run(steps, checkpoint=None, seconds=None, stop=None):
        torch.manual_seed(1)
        vae = small("iaf", layers=1, hidden=(8,))
        callbacks = [] if stop is None else [lambda s: s.step == stop and s.stop()]
        fit(
            vae,
            bits(),
            terms=[kl(warm_up=15)],
            steps=steps,
            batch_size=16,
            checkpoint=checkpoint,
            checkpoint_every=5,
            callbacks=callbacks,
        )
        return vae

    whole = run(20)
    assert torch.equal(whole.step, torch.tensor(20.0))
    again = run(20)
    for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_nan_stops_names_the_term_and_keeps_the_best_weights():
    vae = small()

    class Poison(KL):
        def __call__(self, drawn, weights):
            found = super().__call__(drawn, weights)
            bad = torch.where(drawn.model.step >= 8, math.nan, 0.0)
            return {name: value + bad for name, value in found.items()}

    with pytest.raises(TrainingError, match=r"the loss of step 8 is nan \(vae: kl\)"):
        fit(vae, bits(), terms=[Poison()], steps=20, validation=0.25, validate_every=2)
    assert all(p.isfinite().all() for p in vae.parameters())


def test_validation_is_by_the_elbo_and_does_not_depend_on_terms():
    vae = small()
    x = bits()
    history = fit(vae, x, terms=[kl(beta=50.0)], validation=0.25, validate_every=2, steps=4)
    assert all(0 < loss < 10 for _, loss in history.validation)


def test_stochastic_bits_train_on_grey_levels():
    grey = torch.rand(64, 6)
    vae = small(likelihood=BernoulliLikelihood(stochastic=True))
    fit(vae, grey, steps=3)
    with pytest.raises(DataError, match="^data, row 0, entry"):
        fit(small(), grey, steps=3)


def test_parts_that_do_not_fit_are_refused():
    nets = networks("mlp-small", (6,), 3)
    q = posterior("normal", 3, context_features=nets.context_features)
    with pytest.raises(
        ContextError, match="^posterior: expected a distribution with context_features"
    ):
        VAE(nets.encoder, nets.decoder, maf(3))
    with pytest.raises(ContextError, match="^prior: expected a distribution without context"):
        VAE(nets.encoder, nets.decoder, q, prior=maf(3, context_features=2))
    with pytest.raises(ShapeError, match=r"^prior: expected event shape \(3,\)"):
        VAE(nets.encoder, nets.decoder, q, prior=maf(4))
    with pytest.raises(ArgumentError, match="^prior: expected 'normal'"):
        VAE(nets.encoder, nets.decoder, q, prior="uniform")
    with pytest.raises(ShapeError, match="^groups: expected sizes that add up to 3"):
        VAE(nets.encoder, nets.decoder, q, groups=(2, 2))
    with pytest.raises(ArgumentError, match="^posterior: expected one of"):
        posterior("vamp", 3, context_features=2)
    with pytest.raises(ArgumentError, match="^name: expected one of"):
        networks("resnet", (6,), 3)
    with pytest.raises(ArgumentError, match="^context_features: expected 6"):
        ConditionalNormal(3, context_features=5, hidden=None)


def test_errors_come_before_the_first_step():
    nets = networks("mlp-small", (6,), 3)
    q = posterior("normal", 3, context_features=nets.context_features)
    before = nets.encoder.net.output.weight.clone()
    cases = [
        (ShapeError, "^decoder: expected", VAE(nets.encoder, nn.Linear(3, 5), q), bits()),
        (ShapeError, "^encoder: expected", VAE(nn.Linear(6, 2), nets.decoder, q), bits()),
        (ShapeError, "^x: expected", VAE(nets.encoder, nets.decoder, q), bits(row=7)),
        (ShapeError, "^data: expected rows", VAE(nets.encoder, nets.decoder, q), bits()[:, 0]),
        (DataError, "^data, row 3", VAE(nets.encoder, nets.decoder, q), _spoiled()),
    ]
    for error, message, model, x in cases:
        with pytest.raises(error, match=message):
            fit(model, x, steps=2)
    assert torch.equal(nets.encoder.net.output.weight, before)
    vae = VAE(nets.encoder, nets.decoder, q)
    with pytest.raises(ContextError, match="^context: expected None"):
        fit(vae, bits(), context=torch.zeros(64, 2), steps=2)
    with pytest.raises(ArgumentError, match="^samples: expected"):
        fit(vae, bits(), samples=0, steps=2)
    with pytest.raises(ArgumentError, match="^samples: expected at least 2 for VIMCO"):
        fit(vae, bits(), objective="vimco", samples=1, steps=2)
    with pytest.raises(ArgumentError, match="^objective: expected one of"):
        fit(vae, bits(), objective="adversarial", steps=2)
    with pytest.raises(ArgumentError, match="^posterior: expected a ConditionalNormal, or a flow"):
        VAE(nets.encoder, nets.decoder, iaf(3, context_features=64)).represent(bits())


def _spoiled():
    x = bits()
    x[3, 2] = 0.5
    return x


def test_a_full_gaussian_has_a_covariance_for_each_row():
    q = posterior("full_normal", 2, context_features=3)
    perturb_(q, 0.5)
    context = torch.eye(3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        z = q.sample((20_000,), context, generator)
        exact = [
            torch.func.hessian(lambda z, c=c: q.log_prob(z, c))(torch.zeros(2)) for c in context
        ]
    correlations = []
    for row, hessian in zip(z.unbind(1), exact, strict=True):
        covariance = torch.cov(row.T)
        torch.testing.assert_close(covariance, torch.linalg.inv(-hessian), rtol=0.06, atol=0.02)
        correlations.append(float(torch.corrcoef(row.T)[0, 1]))
    assert max(correlations) - min(correlations) > 0.1


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: vae.networks("mlp-300", 784, 2), "row"),
        (lambda: vae.networks("mlp-300", (8,), 2, decoded=0), "decoded"),
        (lambda: gan.networks("mlp", 2, 2), "row"),
        (lambda: gan.networks("mlp", (2,), 2, widths=()), "widths"),
        (lambda: vae.LadderVAE(8), "row"),
        (lambda: vae.HierarchicalVAE(8), "row"),
    ],
)
def test_shapes_of_rows_are_sequences(make, argument):
    with pytest.raises(ArgumentError, match=f"^{argument}: "):
        make()
