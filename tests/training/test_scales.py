"""Flows learn rows and contexts of any scale and shift."""

import math

import pytest
import torch
from torch import nn

from flowkit.errors import ArgumentError, DataError, TrainingError
from flowkit.flows import BoxUniform, Flow, maf, nsf, real_nvp
from flowkit.training import Step, fit, fit_many

MAKE = {
    "maf": lambda **o: maf(2, layers=3, hidden=(32,), **o),
    "nsf": lambda **o: nsf(2, layers=2, hidden=(32,), **o),
    "real_nvp": lambda **o: real_nvp(2, layers=4, hidden=(32,), **o),
}
# Scales and shifts; those that float32 cannot hold side by side come in float64.
SCALES = [
    *((10.0**k, 0.0) for k in range(-4, 8)),
    (100.0, 500.0),
    (1e7, 1e9),
    (1e3, 1e9),
]
OPTIONS = {"batch_size": 256, "learning_rate": 3e-3}


def bent(n, seed):
    """Draw rows whose optimum is known: ``y | x`` is normal around a sine of x."""
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, n, generator=generator, dtype=torch.float64)
    return torch.stack([a, (1.5 * a).sin() + 0.5 * b], 1)


ENTROPY = 2 * (0.5 + 0.5 * math.log(2 * math.pi)) + math.log(0.5)
TRAIN, TEST = bent(2000, 1), bent(2000, 2)


def score(name, scale, shift, steps):
    """Fit, and return the held-out loss per row, log(scale) of each column taken off."""
    torch.manual_seed(0)
    flow = MAKE[name]()
    wide = abs(shift) > 1e4 * scale
    dtype = torch.float64 if wide else torch.float32
    train, test = ((scale * rows + shift).to(dtype) for rows in (TRAIN, TEST))
    fit(flow, train, steps=steps, precision="32" if wide else None, **OPTIONS)
    assert next(flow.parameters()).dtype == torch.float32
    # Draws have the scale too, whatever the density.
    draws = flow.sample((2000,), generator=torch.Generator().manual_seed(0)).detach().double()
    spread = 1e-6 * abs(shift) + 0.15 * scale
    assert (draws.mean(0) - test.double().mean(0)).abs().max() < spread
    assert (draws.std(0) - test.double().std(0)).abs().max() < spread
    return -flow.log_prob(test).double().mean().item() - 2 * math.log(scale)


@pytest.mark.parametrize("name", MAKE)
def test_a_flow_learns_four_scales_as_well_as_one(name):
    expected = score(name, 1.0, 0.0, 60)
    for scale, shift in [(1e-4, 0.0), (1e7, 0.0), (100.0, 500.0), (1e3, 1e9)]:
        assert score(name, scale, shift, 60) == pytest.approx(expected, abs=0.03), (scale, shift)


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKE)
def test_a_flow_learns_fifteen_scales_to_a_tenth_of_a_nat(name):
    expected = score(name, 1.0, 0.0, 800)
    assert expected < ENTROPY + 0.1
    for scale, shift in SCALES:
        assert score(name, scale, shift, 800) == pytest.approx(expected, abs=0.1), (scale, shift)


def conditional_score(name, scale, shift, steps):
    """Fit rows around their context, and return the held-out loss less the entropy."""
    torch.manual_seed(0)
    c = torch.randn(4000, 1)
    x = torch.cat([c, (1.5 * c).sin()], 1) + 0.3 * torch.randn(4000, 2)
    flow = MAKE[name](context_features=1)
    given = scale * c + shift
    fit(flow, x[:2000], context=given[:2000], steps=steps, **OPTIONS)
    entropy = 2 * (0.5 + 0.5 * math.log(2 * math.pi) + math.log(0.3))
    return -flow.log_prob(x[2000:], given[2000:]).mean().item() - entropy


@pytest.mark.parametrize("name", MAKE)
def test_a_flow_learns_from_contexts_of_any_scale(name):
    expected = conditional_score(name, 1.0, 0.0, 80)
    for scale, shift in [(1e3, 0.0), (1e-3, 0.0), (1.0, 500.0)]:
        got = conditional_score(name, scale, shift, 80)
        assert got == pytest.approx(expected, abs=0.1), (scale, shift)


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKE)
def test_contexts_of_any_scale_end_near_the_optimum(name):
    for scale, shift in [(1.0, 0.0), (1e3, 0.0), (1e-3, 0.0), (1e6, 0.0), (1.0, 500.0)]:
        assert conditional_score(name, scale, shift, 1500) < 0.15, (scale, shift)


def test_without_standardisation_the_scale_is_lost():
    """What the claims above would catch."""
    flow, x = nsf(2, layers=2, hidden=(32,)), 1e4 * TRAIN.float()
    with pytest.warns(UserWarning, match="100 % of the training rows"):
        fit(flow, x, steps=20, standardize=False)
    assert -flow.log_prob(x).mean() > 1e6


# Precision and numbers


def test_rows_in_float64_keep_their_digits_whatever_the_precision():
    """At a shift of a million scales, float32 rows would lie on a grid of a sixteenth."""
    torch.manual_seed(0)
    flow = maf(2, layers=3, hidden=(32,))
    x = 1e3 * TRAIN + 1e9
    history = fit(flow, x, steps=1, precision="32", batch_size=2000, learning_rate=1e-12)
    transform = flow.transform.standardize
    z = (x - transform.mean) / transform.std  # a fresh flow is the identity
    nats = 0.5 * (z.square() + math.log(2 * math.pi)).sum(1).mean() + transform.std.log().sum()
    assert history.loss[0] == pytest.approx(nats.item(), abs=1e-5)  # on the grid, off by 1e-4
    assert transform.mean.dtype == torch.float32
    z, _ = transform(x)
    assert z.dtype == torch.float32
    assert len(z[:, 0].unique()) > 1990  # of 2000; on the grid there are about a hundred
    assert flow.log_prob(x).isfinite().all()
    c = maf(1, layers=1, context_features=2, hidden=(8,))
    fit(c, TRAIN[:, :1].contiguous(), context=x, steps=20, precision="32")
    seen = c.embedding(x)
    assert seen.dtype == torch.float32
    assert len(seen[:, 0].unique()) > 1990


def test_standardised_rows_train_to_the_bit_as_without():
    x = torch.randn(400, 2)
    x = (x - x.mean(0)) / x.std(0)
    flows = []
    for standardize in (True, False):
        torch.manual_seed(0)
        flows.append(maf(2, layers=2, hidden=(8,)))
        fit(flows[-1], x, steps=20, standardize=standardize)
    states = [flow.state_dict() for flow in flows]
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(t, states[1][name]) for name, t in states[0].items())


# Errors and warnings


@pytest.mark.parametrize("several", [False, True])
def test_an_entry_that_is_not_finite_is_named(several):
    x, c = torch.randn(50, 2), torch.randn(50, 1)
    bad_x, bad_c = x.clone(), c.clone()
    bad_x[7, 1], bad_c[3, 0] = math.nan, math.inf
    for place, data, context in [("data, row 7, column 1", bad_x, c), ("context, row 3", x, bad_c)]:
        flows = [maf(2, layers=1, hidden=(8,), context_features=1) for _ in range(2)]
        before = [list(flow.state_dict()) for flow in flows]
        with pytest.raises(DataError, match=place):
            if several:
                fit_many(flows, 1e3 * data, context=context, steps=2)
            else:
                fit(flows[0], 1e3 * data, context=context, steps=2)
        assert [list(flow.state_dict()) for flow in flows] == before


def test_the_scale_is_named_where_a_loss_overflows():
    flow, x = maf(2, hidden=(8,)), 1e8 * torch.randn(50, 2)
    expected = "gradient of step 1 is inf .*scale of data: column . reaches .*e.08. Give standard"
    with pytest.raises(TrainingError, match=expected):
        fit(flow, x, steps=2, standardize=False)
    with pytest.raises(TrainingError, match=f"of model 0.*{expected[12:]}|{expected[:9]}.*scale"):
        fit_many([flow], x, steps=2, standardize=False)
    assert fit(flow, x, steps=2).stopped == "steps"


@pytest.mark.parametrize(
    "options", [{"bound": (5.0, 6.0, 7.0)}, {"bound": 6.0, "coupling": True}, {"bound": 6.0}]
)
def test_rows_outside_of_a_splines_box_are_warned_of(options):
    torch.manual_seed(0)
    x = torch.randn(1000, 3)
    x[:120, 1] += 50
    flow = nsf(3, hidden=(8,), layers=2, **options)
    message = "feature 1 of transform.transforms.[01] has 12 % of the training rows outside of ± 6"
    with pytest.warns(UserWarning, match=message) as warned:
        fit(flow, x, steps=2, standardize=False)
    assert [w.filename for w in warned] == [__file__]
    assert "feature 0" not in str(warned[0].message)
    heavy = torch.distributions.StudentT(1.5).sample((2000, 1))
    with pytest.warns(UserWarning, match="feature 0 of .* outside of ± 5"):
        fit(nsf(1, hidden=(8,), layers=1), heavy, steps=2)


@pytest.mark.parametrize("options", [{}, {"standardize": False}])
def test_training_rows_outside_of_the_base_are_named(options):
    x = 2 * torch.rand(60, 2) - 1
    x[[7, 12], 1] = 1.5
    flow = Flow(nsf(2, bound=2.0, hidden=(8,)).transform, BoxUniform([-1, -1], [1, 1]))
    message = "zero at 2 of 60 training rows, the first is row 7: they lie outside the support"
    with pytest.raises(TrainingError, match=message):
        fit(flow, x, steps=2, **options)
    weights = torch.ones(60)
    weights[[7, 12]] = 0  # rows without weight have no say
    fit(flow, x, weights=weights, steps=1, **options)


def test_bad_flags_are_named():
    with pytest.raises(ArgumentError, match="^standardize: expected True or False, got 'yes'"):
        fit(maf(2), TRAIN.float(), standardize="yes")


def test_models_and_objectives_of_their_own_are_left_alone():
    x = 500 + 100 * torch.randn(60, 2)
    flow, net = maf(2, layers=1, hidden=(8,)), nn.Linear(2, 2)
    net.log_prob = lambda x: -net(x).square().sum(-1)
    names = list(flow.state_dict())
    step = Step(flow.parameters(), lambda batch, _: {"nll": -flow.log_prob(batch.x / 500).mean()})
    fit(flow, x, objective={"a": step}, steps=2)
    assert list(flow.state_dict()) == names
    fit(net, x, steps=2)
    assert list(net.state_dict()) == ["weight", "bias"]
