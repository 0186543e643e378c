"""Counts by dequantisation, and binary vectors by a MADE."""

import itertools
import math

import pytest
import torch

from flowkit.errors import ArgumentError, DataError, DtypeError
from flowkit.flows import BinaryMADE, Dequantized, Flow, binary_made, dequantize, maf, nsf
from flowkit.nets import MADE
from flowkit.training import fit
from flowkit.transforms import Chain, Interval, Standardize


def test_dequantize_stays_in_its_cell_and_follows_its_generator():
    x = torch.tensor([0, 3, 255, 2**24 - 2]).expand(10_000, 4)
    y = dequantize(x)
    assert torch.equal(y.floor().long(), x)
    assert (y[:, 0].mean() - 0.5).abs() < 0.02
    draw = lambda seed: dequantize(x, generator=torch.Generator().manual_seed(seed))  # noqa: E731
    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    assert dequantize(x.double()).dtype == torch.float64


def test_a_dequantised_poisson_count():
    """The bound is below the truth, and the importance estimate within 0.01 nats of it."""
    torch.manual_seed(0)
    law = torch.distributions.Poisson(torch.tensor([4.0]))
    train, test = law.sample((20_000,)), law.sample((5_000,))
    spline = nsf(1, layers=3, bins=16, hidden=(16,), limit=None)
    support = Interval(1, low=0.0)
    scale = Standardize.of(support(dequantize(train))[0])
    flow = Flow(Chain(support, scale, spline.transform), spline.base)
    model = Dequantized(flow)
    noisy = dequantize(train.repeat(5, 1))
    fit(flow, noisy, steps=900, learning_rate=5e-3)
    truth = law.log_prob(test)[:, 0].mean().item()
    with torch.no_grad():
        bound = model.log_prob_bound(test, samples=20).mean().item()
        estimate = model.log_prob(test, samples=200).mean().item()
        counts = torch.arange(0, 40.0)[:, None]
        total = model.log_prob(counts, samples=500).exp().sum().item()
    assert bound < truth
    assert bound < estimate
    assert estimate == pytest.approx(truth, abs=0.01)
    assert total == pytest.approx(1, abs=0.02)
    sample = model.sample((1000,))
    assert torch.equal(sample, sample.floor())
    assert (sample >= 0).all()
    with pytest.raises(ArgumentError, match="samples: expected"):
        model.log_prob(test, samples=0)


def test_dequantized_takes_a_context_and_trains():
    model = Dequantized(nsf(2, context_features=1, hidden=(8,), layers=1))
    x, c = torch.randint(0, 5, (6, 2)), torch.randn(6, 1)
    assert model.log_prob_bound(x, c).shape == (6,)
    assert model.log_prob(x, c, samples=3).shape == (6,)
    assert model.sample((3,), c).shape == (3, 6, 2)
    model.log_prob_bound(x, c).mean().backward()
    assert any(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("bad", [0.5, -1e-3, math.inf, 2.0**24])
def test_what_is_no_integer_is_refused_by_row_and_column(bad):
    model = Dequantized(maf(3, layers=1, hidden=(8,)))
    x = torch.tensor([[0.0, 4.0, 2.0], [1.0, bad, -3.0]])
    message = r"^x, row 1, column 1: expected an integer"
    for call in (dequantize, model.log_prob, model.log_prob_bound):
        with pytest.raises(DataError, match=message):
            call(x)
    with pytest.raises(DataError, match=r"^x, row \(1, 0\), column 1: expected an integer"):
        model.log_prob(x[:, None])
    with pytest.raises(DataError, match=r"^x, column 1: expected an integer"):
        dequantize(x[1])
    with pytest.raises(DataError, match=r"^data, row 1, column 1: expected an integer"):
        fit(model, x, steps=1)
    if bad == 2.0**24:  # which float64 tells from its neighbours
        assert model.double().log_prob(x).isfinite().all()


def test_digits_that_a_flow_would_round_away_are_looked_at_before():
    model = Dequantized(maf(1, layers=1, hidden=(8,)))
    with pytest.raises(DataError, match=r"row 0, column 0: .*, got 3\.00000001"):
        model.log_prob(torch.tensor([[3.00000001]], dtype=torch.float64))
    with pytest.raises(DataError, match=r"below 16777216 in size"):
        model.log_prob(torch.tensor([[2**24 + 1]]))
    with pytest.raises(DataError, match=r"below 256 in size; torch\.bfloat16"):
        dequantize(torch.tensor([257], dtype=torch.bfloat16))
    with pytest.raises(DtypeError, match=r"^x: expected a torch\.Tensor of integers, got list"):
        dequantize([1, 2])
    assert model.log_prob(torch.tensor([[True], [False]])).isfinite().all()
    assert model.log_prob(torch.tensor([[math.nan], [2.0]])).isnan().tolist() == [True, False]
    assert model.log_prob(torch.zeros(0, 1)).shape == (0,)


def test_a_compiled_dequantised_density_reads_no_value():
    model = Dequantized(maf(2, layers=1, hidden=(8,)))
    torch.compiler.reset()
    compiled = torch.compile(model.log_prob_bound, fullgraph=True, backend="eager")
    x = torch.tensor([[1.0, 0.0], [2.5, 0.0], [3.0, 1.0]])
    with torch.no_grad():
        assert compiled(x).isnan().tolist() == [False, True, False]
        torch.manual_seed(0)
        got = compiled(x[::2])
        torch.manual_seed(0)
        assert torch.allclose(got, model.log_prob_bound(x[::2]))


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 3, 1)])
def test_binary_probabilities_sum_to_one(order, context):
    model = BinaryMADE(MADE(4, 1, (16,), order=order, context_features=context))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)))
    c = torch.randn(2) if context else None
    p = model.log_prob(every, c).exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-5)
    sample = model.sample((20_000,), c)
    codes = (sample @ torch.tensor([8.0, 4.0, 2.0, 1.0])).long()
    shares = torch.bincount(codes, minlength=16) / len(codes)
    assert (shares - p).abs().max() < 0.02


def test_binary_made_learns_and_refuses():
    torch.manual_seed(0)
    first = (torch.rand(4000, 1) < 0.3).float()
    x = torch.cat([first, 1 - first, (torch.rand(4000, 1) < 0.5).float()], 1)
    model = binary_made(3, hidden=(16,))
    fit(model, x, steps=400, learning_rate=0.02)
    entropy = -(0.3 * math.log(0.3) + 0.7 * math.log(0.7)) + math.log(2)
    assert model.log_prob(x).mean().item() == pytest.approx(-entropy, abs=0.03)
    odd = torch.tensor([[0.5, 0.0, 1.0], [2.0, 0.0, 1.0], [math.nan, 0.0, 1.0]])
    log_prob = model.log_prob(odd)
    assert (log_prob[:2] == -math.inf).all()
    assert log_prob[2].isnan()
    assert model.sample((5,)).shape == (5, 3)
    with pytest.raises(ArgumentError, match="features: expected"):
        binary_made(0)


def test_draws_of_noise_come_in_front_of_the_contexts():
    model = Dequantized(nsf(3, context_features=2))
    assert model.log_prob(torch.ones(3), torch.randn(3, 2), samples=3).shape == (3,)
    assert model.log_prob(torch.ones(3), torch.randn(4, 2), samples=3).shape == (4,)
