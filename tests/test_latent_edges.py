"""Likelihoods, estimators and belief networks at their edges: large numbers, few samples, NaN."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from flowkit import gan, vae
from flowkit.errors import (
    ArgumentError,
    ContextError,
    DataError,
    MissedDensityWarning,
    ShapeError,
    TrainingError,
)
from flowkit.estimators import (
    concrete,
    log_likelihood,
    reinforce,
    sticking_the_landing,
)
from flowkit.estimators.score import leave_one_out
from flowkit.flows import (
    BernoulliLikelihood,
    ContinuousBernoulliLikelihood,
    PixelDistribution,
    nsf,
)
from flowkit.gan import DequantizedTable
from flowkit.nets import PixelCNN
from flowkit.schema import Schema
from flowkit.training import fit
from flowkit.vae import VAE, SigmoidBeliefNetwork, TableLikelihood, fit_posterior, posterior


@pytest.mark.parametrize("logit", [-200.0, -5.0, -0.2, -0.05, 0.05, 0.2, 5.0, 50.0, 200.0])
def test_means_and_draws_of_the_continuous_bernoulli_are_those_of_its_density(logit):
    law, params = ContinuousBernoulliLikelihood(), torch.full((1, 50_000), logit)
    expected = 1 / -np.expm1(-logit) - 1 / logit
    assert law.mean(params)[0].item() == pytest.approx(expected, abs=1e-6)
    params.requires_grad_()
    (slope,) = torch.autograd.grad(law.mean(params).sum(), params)
    assert slope.isfinite().all()
    drawn = law.sample(params, torch.Generator().manual_seed(0))
    assert drawn.mean().item() == pytest.approx(expected, abs=0.006)
    assert drawn.min() >= 0
    assert drawn.max() <= 1


def large(shift):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"t": 1.7 * shift + 10 * rng.normal(size=200), "k": shift + rng.integers(0, 50, 200)}
    )


def test_a_table_of_large_numbers_keeps_its_digits():
    table, near = large(10**9), large(1_000)
    law, law_near = (TableLikelihood(Schema.infer(t), t) for t in (table, near))
    rows = law.encode(table)
    assert (law.decode(rows) - table).abs().to_numpy().max() < 1e-5
    params = torch.zeros(1, 200, law.decoded)
    torch.testing.assert_close(
        law.log_prob(rows, params), law_near.log_prob(law_near.encode(near), params)
    )


def test_means_of_integers_stay_within_their_bounds():
    table = pd.DataFrame({"children": [0, 0, 1, 2, 3] * 20, "age": np.linspace(1.0, 60.0, 100)})
    law = TableLikelihood(Schema.infer(table), table)
    means = law.decode(law.mean(5 * torch.randn(1, 500, law.decoded)))
    assert means["children"].min() == 0


def test_missing_and_wide_integers_keep_their_digits_and_masses():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "k": (10**9 + rng.integers(0, 50, 200)).astype(float),
            "wide": rng.integers(-(10**8), 10**8, 200),
        }
    )
    table.loc[::7, "k"] = np.nan
    schema = Schema.infer(table, {"k": {"kind": "integer"}, "wide": {"kind": "integer"}})
    law = TableLikelihood(schema, table)
    rows = law.encode(table)
    pd.testing.assert_frame_equal(law.decode(rows)[["k"]], table[["k"]], check_dtype=False)
    assert law.log_prob(rows, torch.zeros(1, 200, law.decoded)).isfinite().all()
    other = TableLikelihood(schema, table.assign(k=table["k"] - 50)).double()
    other.load_state_dict(law.state_dict())
    pd.testing.assert_frame_equal(other.decode(rows)[["k"]], table[["k"]], check_dtype=False)


def test_a_schema_of_a_frame_refuses_an_array():
    table = pd.DataFrame({"a": [1.5, 2.0, 3.5], "b": [1.0, 0.5, 0.1]})
    for make in (TableLikelihood, DequantizedTable):
        with pytest.raises(DataError, match="'a'"):
            make(Schema.infer(table), table.to_numpy())


def test_pixels_of_probabilities_are_drawn_as_bits():
    seen = []

    class Spy(PixelCNN):
        def forward(self, x, context=None):
            seen.append(x.detach())
            return super().forward(x, context)

    images = PixelDistribution(
        Spy((1, 4, 4), hidden=6, layers=2), BernoulliLikelihood(stochastic=True)
    )
    fit(images, torch.rand(9, 1, 4, 4), steps=2, validation=torch.rand(3, 1, 4, 4))
    assert all(((x == 0) | (x == 1)).all() for x in seen)


def test_the_score_of_a_transformed_distribution_is_stopped():
    laws = torch.distributions

    def law(loc, scale):
        return laws.TransformedDistribution(
            laws.Normal(0.0, 1.0), [laws.AffineTransform(loc, scale)]
        )

    loc, scale = torch.tensor(0.3, requires_grad=True), torch.tensor(0.7, requires_grad=True)
    q = law(loc, scale)
    z = q.rsample((5,))
    log_p = law(loc.detach(), scale.detach()).log_prob(z)
    sticking_the_landing(log_p, q, z).surrogate.backward()
    assert abs(loc.grad) < 1e-6
    assert abs(scale.grad) < 1e-6
    there = laws.AffineTransform(loc, scale)
    back = laws.TransformedDistribution(laws.Normal(0.0, 1.0), [there.inv])
    assert sticking_the_landing(log_p, back, z.detach()).surrogate.isfinite()

    class Net(laws.Transform):
        domain = codomain = laws.constraints.real
        bijective = True

        def __init__(self):
            super().__init__()
            self.net = nn.Linear(1, 1)

        def _inverse(self, y):
            return y + self.net.bias

        def log_abs_det_jacobian(self, x, y):
            return torch.zeros_like(x)

    hidden = laws.TransformedDistribution(laws.Normal(0.0, 1.0), [Net()])
    with pytest.raises(ArgumentError, match="^posterior: .*network inside"):
        sticking_the_landing(log_p, hidden, z)


def test_a_log_density_without_gradient_is_refused_where_one_is_asked_for():
    def density(z):
        return -0.5 * z.detach().square().sum(-1)

    with pytest.raises(ArgumentError, match="^log_prob: .*differentiate"):
        fit_posterior(density, nsf(2), steps=1)
    with pytest.warns(MissedDensityWarning):  # a constant has nothing to lose, and no integral
        fit_posterior(lambda z: torch.zeros(len(z)), nsf(2), steps=1)
    fitted = fit_posterior(density, nsf(2), steps=1, objective="reweighted_wake_sleep")
    assert fitted.sample(1, resample=True).shape == (1, 2)
    with pytest.raises(ArgumentError, match="^n: "):
        fitted.weighted(0)


def test_nan_in_a_belief_network_names_the_term():
    model = SigmoidBeliefNetwork(6, (4,), context_features=3)
    bits = torch.ones(9, 6)
    with pytest.raises(TrainingError, match="negative_bound"):
        fit(model, bits, context=torch.full((9, 3), torch.nan), steps=1)
    with pytest.raises(ShapeError, match="^context"):
        fit(model, bits, context=torch.zeros(9, 2), steps=1)
    with pytest.raises(ShapeError, match="^context"):
        model.sample(2, context=torch.zeros(9, 2))
    with pytest.raises(ContextError, match="^context"):
        SigmoidBeliefNetwork(6, (4,)).sample(3, context=torch.zeros(1, 3))


@pytest.mark.parametrize("shape", [(3, 1), (5, 3), (2,)])
def test_a_baseline_of_another_shape_is_refused(shape):
    with pytest.raises(ShapeError, match="^baseline"):
        reinforce(torch.zeros(5, 3), torch.zeros(5, 3), baseline=torch.zeros(shape))


def test_too_few_samples_say_so():
    with pytest.raises(ShapeError, match="^log_f: expected at least 2"):
        leave_one_out(torch.zeros(1, 3))
    with pytest.raises(ShapeError, match="^logits"):
        concrete(torch.zeros(()), 0.5)

    class Coin(nn.Module):
        def log_weights(self, x, samples, generator):
            return torch.zeros(samples, len(x))

    model = VAE(nn.Linear(3, 4), nn.Linear(2, 3), posterior("normal", 2, context_features=4))
    with pytest.raises(DataError, match="row 0"):
        log_likelihood(model, torch.full((2, 3), 9.0), samples=2)
    assert log_likelihood(Coin(), torch.ones(2), samples=1).standard_error.isnan().all()


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
