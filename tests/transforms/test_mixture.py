"""Mixtures as univariate maps."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_ndtr
from scipy.stats import norm
from zoo import MIXTURES, perturb_

from flowkit.errors import ArgumentError
from flowkit.flows import Flow, StandardLogistic, StandardNormal, made_mog
from flowkit.nets import MADE
from flowkit.training import fit
from flowkit.transforms import (
    Affine,
    Chain,
    Elementwise,
    GaussianMixture,
    LogisticMixture,
    LULinear,
    MaskedAutoregressive,
)
from flowkit.transforms.normal_tails import normal_log_cdf, normal_log_hazard, normal_quantile

DTYPES = [torch.float32, torch.float64]


def draw(mixture, scale, dtype, n=20_000):
    x = torch.randn(n, 1, dtype=torch.float64) * 4
    params = torch.randn(n, 1, mixture.parameters, dtype=torch.float64) * scale
    return x.to(dtype), params.to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scale", [1.0, 3.0, 20.0])
@pytest.mark.parametrize("name", MIXTURES)
def test_round_trips_to_the_last_digits(name, scale, dtype):
    mixture = MIXTURES[name]
    eps = torch.finfo(dtype).eps
    x, params = draw(mixture, scale, dtype)
    y, log_derivative = mixture(x, params)
    back, _ = mixture.inverse(y, params)
    assert y.isfinite().all()
    assert back.isfinite().all()
    again, _ = mixture(back, params)
    assert ((again - y).abs() / (eps * y.abs().clamp(min=1))).max() <= 8
    # Between far components it is so flat that y cannot tell x from its neighbours.
    steep = log_derivative > 0.5 * math.log(eps)
    # A mixture measures x from its means.
    far = params.reshape(len(x), 3, -1)[:, 1].abs().amax(1, keepdim=True) + 1
    size = torch.maximum(x.abs(), far) + y.abs().clamp(min=1) / log_derivative.double().exp()
    assert ((back - x).abs() / (eps * size))[steep].max() <= 16


def test_gaussian_mixture_is_the_mixture():
    mixture = GaussianMixture(3)
    x, params = draw(mixture, 1.0, torch.float64, n=200)
    logits, means, log_scales = params[:, 0].reshape(-1, 3, 3).numpy().transpose(1, 0, 2)
    weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    means = means + np.array([-1, 0, 1])
    scales = np.exp(5 * np.tanh(log_scales / 5))
    mass = (weights * norm.cdf(x.numpy(), means, scales)).sum(1)
    density = (weights * norm.pdf(x.numpy(), means, scales)).sum(1)
    y, log_derivative = mixture(x, params)
    middle = np.abs(y[:, 0].numpy()) < 5
    assert np.allclose(norm.cdf(y[middle, 0].numpy()), mass[middle], rtol=1e-9)
    expected = np.log(density) - norm.logpdf(y[:, 0].numpy())
    assert np.allclose(log_derivative[middle, 0].numpy(), expected[middle], atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", MIXTURES)
def test_tails_are_increasing_and_finite_however_far(name, dtype):
    mixture = MIXTURES[name]
    x = torch.cat([-torch.logspace(6, 0, 200), torch.logspace(0, 6, 200)]).to(dtype)[:, None]
    x.requires_grad_()
    params = torch.randn(1, mixture.parameters, dtype=dtype, requires_grad=True)
    y, log_derivative = mixture(x, params)
    assert (y.diff(dim=0) > 0).all()
    assert log_derivative.isfinite().all()
    gradients = torch.autograd.grad(y.sum() + log_derivative.sum(), (x, params))
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("name", MIXTURES)
def test_gradients_by_finite_differences(name):
    mixture = MIXTURES[name]
    y = torch.randn(4, 1, dtype=torch.float64, requires_grad=True)
    params = torch.randn(4, 1, mixture.parameters, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mixture.forward, (y, params))
    assert torch.autograd.gradcheck(mixture.inverse, (y, params))


def test_normal_in_log_space_against_scipy():
    u = torch.linspace(-200, 8, 20_001, dtype=torch.float64)
    expected = torch.tensor(log_ndtr(u.numpy()))
    assert torch.allclose(normal_log_cdf(u), expected, rtol=1e-13, atol=0)
    hazard = torch.tensor(norm.logpdf(u.numpy())) - expected
    near = u > -30  # where the difference still has digits
    assert torch.allclose(normal_log_hazard(u)[near], hazard[near], atol=1e-11)
    z = torch.linspace(-100, 0, 5_001, dtype=torch.float64)
    assert torch.allclose(normal_quantile(normal_log_cdf(z)), z, rtol=1e-13, atol=1e-14)


def test_components_part_under_training():
    """Equal components would stay equal; these fit two modes from a fresh start."""
    torch.manual_seed(0)
    x = 3 * torch.sign(torch.rand(20_000, 1) - 0.5) + 0.5 * torch.randn(20_000, 1)
    train, test = x[:10_000], x[10_000:]
    flow = made_mog(1, hidden=(16,))
    fresh = flow.transform.transforms[0]
    _, means, _ = fresh.univariate._components(fresh.made(torch.zeros(1, 1)))
    assert means.diff(dim=-1).min() > 0.1  # apart before the first step
    fit(flow, train, steps=800, learning_rate=0.02, standardize=False)
    _, means, _ = fresh.univariate._components(fresh.made(torch.zeros(1, 1)))
    assert means.min() < -1.5
    assert means.max() > 1.5
    modes = torch.stack([-0.5 * ((test - m) / 0.5) ** 2 for m in (-3, 3)]).logsumexp(0)
    truth = (modes - math.log(2 * 0.5) - 0.5 * math.log(2 * math.pi))[:, 0]
    difference = (flow.log_prob(test) - truth).detach()
    assert difference.mean() > -0.02
    assert difference.mean() < 3 * difference.std() / len(test) ** 0.5


@pytest.mark.parametrize("mixture", [LogisticMixture, GaussianMixture])
def test_bad_options_are_named(mixture):
    with pytest.raises(ArgumentError, match="components: expected an integer of at least 1, got 0"):
        mixture(0)
    with pytest.raises(ArgumentError, match="bound: expected"):
        mixture(2, bound=-1.0)


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("base", ["normal", "logistic"])
@pytest.mark.parametrize("law", ["normal", "logistic"])
def test_the_short_way_to_a_density_is_that_by_the_map(law, base, context):
    mixture = {"normal": GaussianMixture, "logistic": LogisticMixture}[law](3)
    made = MADE(4, mixture.parameters, (16,), context_features=context)
    last = MaskedAutoregressive(made, mixture)
    bases = {"normal": StandardNormal, "logistic": StandardLogistic}
    flow = Flow(Chain(LULinear(4), Elementwise(4, Affine()), last), bases[base](4)).double()
    perturb_(flow)
    x = 3 * torch.randn(100, 4, dtype=torch.float64)
    c = torch.randn(100, context, dtype=torch.float64) if context else None
    z, logabsdet = flow.transform(x, c)
    expected = flow.base.log_prob(z) + logabsdet
    assert torch.allclose(flow.log_prob(x, c), expected, atol=1e-9)
    calls = []
    last.register_forward_hook(lambda *_: calls.append(1))
    flow.log_prob(x, c)
    assert len(calls) == (law != base)  # the map itself is not needed where the laws agree


def test_free_mixtures_take_the_short_way_too():
    flow = Flow(Elementwise(2, LogisticMixture(3)), StandardLogistic(2)).double()
    perturb_(flow)
    x = torch.randn(50, 2, dtype=torch.float64)
    z, logabsdet = flow.transform(x)
    assert torch.allclose(flow.log_prob(x), flow.base.log_prob(z) + logabsdet, atol=1e-10)
