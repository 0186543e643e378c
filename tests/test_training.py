import math

import pytest
import torch
from zoo import named_flow, two_clusters

from flowkit.errors import ArgumentError, ShapeError, TrainingError
from flowkit.flows import maf
from flowkit.training import fit
from flowkit.training.fit import _batches, _generator


def test_fit_improves_and_is_deterministic():
    x = two_clusters(1000, 2, torch.float32)
    a, b = named_flow("maf", 2), named_flow("maf", 2)
    before = a.log_prob(x).mean()
    first, second = (fit(flow, x, steps=100, seed=3) for flow in (a, b))
    assert a.log_prob(x).mean() > before + 0.1
    assert first.loss == second.loss
    assert len(first.loss) == 100
    assert not a.training
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q)


def test_validation_keeps_the_best_weights():
    x = torch.randn(60, 5)
    flow = maf(5, hidden=(64, 64))
    history = fit(flow, x, validation=0.5, steps=600, learning_rate=5e-3, seed=1)
    scores = dict(history.validation)
    assert scores[history.best_step] == min(scores.values()) < scores[600]
    rows = torch.randperm(60, generator=_generator(1, 0))[:30]
    assert -flow.log_prob(x[rows]).mean().item() == pytest.approx(scores[history.best_step])


def test_each_row_comes_once_an_epoch_in_an_order_of_its_own():
    rows = torch.arange(100, 110)
    steps = list(_batches(rows, 5, 6, seed=0))
    epochs = [torch.cat(steps[i : i + 2]) for i in (0, 2, 4)]
    assert all(torch.equal(e.sort().values, rows) for e in epochs)
    assert not torch.equal(epochs[0], epochs[1])
    again = list(_batches(rows, 5, 6, seed=0))
    assert all(torch.equal(a, b) for a, b in zip(steps, again, strict=True))
    assert not torch.equal(torch.cat(list(_batches(rows, 5, 2, seed=1))), epochs[0])


def test_context_and_progress():
    seen = []
    x, c = torch.randn(50, 2), torch.randn(50, 1)
    fit(maf(2, context_features=1), x, context=c, steps=3, progress=lambda *a: seen.append(a))
    assert [(step, steps) for step, steps, _ in seen] == [(1, 3), (2, 3), (3, 3)]


def test_a_loss_that_is_no_number_stops_and_names_the_step():
    x = torch.randn(50, 2)
    x[7, 1] = math.nan
    with pytest.raises(TrainingError, match="the loss of step 1 is nan"):
        fit(maf(2), x, steps=5)


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("steps", {"steps": 0}),
        ("batch_size", {"batch_size": 0}),
        ("learning_rate", {"learning_rate": -1.0}),
        ("clip", {"clip": 0.0}),
        ("validation", {"validation": 1.0}),
        ("validation", {"validation": 0.001}),
        ("x", {"x": torch.empty(0, 2)}),
    ],
)
def test_bad_options_are_named(argument, options):
    with pytest.raises(ArgumentError, match=f"^{argument}: expected"):
        fit(maf(2), **{"x": torch.randn(20, 2), **options})


def test_context_must_have_the_rows_of_x():
    with pytest.raises(ShapeError, match="context: expected 20 rows"):
        fit(maf(2, context_features=1), torch.randn(20, 2), context=torch.randn(19, 1))
