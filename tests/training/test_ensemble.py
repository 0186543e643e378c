import pytest
import torch
from torch import nn

from flowkit.errors import ArgumentError, TrainingError
from flowkit.flows import maf, nsf
from flowkit.training import fit, fit_many
from flowkit.transforms import Chain, RandomPermutation


def makers():
    return {
        "maf": lambda: maf(3, layers=2, hidden=(8, 8)),
        "nsf": lambda: nsf(3, layers=1, hidden=(8,), bins=4),
    }


def batch(make, count=3):
    torch.manual_seed(1)
    return [make() for _ in range(count)]


def assert_same(alone, together, atol=2e-5):
    for one, other in zip(alone, together, strict=True):
        for (name, p), q in zip(one.named_parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(p, q, atol=atol, rtol=1e-4, msg=name)


@pytest.mark.parametrize("name", makers())
def test_models_end_as_they_would_alone(name):
    x = torch.randn(200, 3)
    alone, together = batch(makers()[name]), batch(makers()[name])
    options = {
        "steps": 25, "validation": 0.2, "validate_every": 5, "average": 0.8,
        "learning_rate": 3e-3, "batch_size": 64, "clip": 0.5,
    }  # fmt: skip
    expected = [fit(model, x, seed=seed, **options) for seed, model in enumerate(alone)]
    histories = fit_many(together, x, **options)
    for one, other in zip(expected, histories, strict=True):
        assert other.loss == pytest.approx(one.loss, abs=1e-4)
        assert [s for _, s in other.validation] == pytest.approx(
            [s for _, s in one.validation], abs=1e-4
        )
        assert (other.best_step, other.stopped) == (one.best_step, one.stopped)
    assert_same(alone, together)
    assert not any(model.training for model in together)


def test_each_model_keeps_its_own_best_weights_and_patience():
    x = torch.randn(100, 3)
    x[:, 1] += x[:, 0] ** 2
    make = lambda: maf(3, layers=1, hidden=(64,))  # noqa: E731
    alone, together = batch(make), batch(make)
    options = {"validation": 0.5, "validate_every": 2, "patience": 2, "steps": 200}
    options |= {"learning_rate": 2e-3, "schedule": "constant", "precision": "64"}
    expected = [fit(m, x, seed=s, **options) for m, s in zip(alone, (5, 6, 7), strict=True)]
    histories = fit_many(together, x, seeds=(5, 6, 7), **options)
    assert len({history.best_step for history in expected}) > 1
    assert [h.best_step for h in histories] == [h.best_step for h in expected]
    assert [len(h.validation) for h in histories] == [len(h.validation) for h in expected]
    assert_same(alone, together)


def test_weights_per_model_context_and_shared_rows():
    x, c, w = torch.randn(60, 2), torch.randn(60, 1), torch.rand(3, 60)
    make = lambda: maf(2, layers=1, hidden=(8,), context_features=1)  # noqa: E731
    alone, together = batch(make), batch(make)
    options = {"context": c, "steps": 15, "batch_size": 32, "learning_rate": 0.02}
    expected = [fit(m, x, weights=w[i], seed=4, **options) for i, m in enumerate(alone)]
    histories = fit_many(together, x, weights=w, seeds=4, **options)
    for one, other in zip(expected, histories, strict=True):
        assert other.loss == pytest.approx(one.loss, abs=1e-5)
    assert_same(alone, together)
    valid = (x[:20], c[:20], w[0, :20])
    histories = fit_many(together, x, weights=w, seeds=4, validation=valid, **options)
    mean = -(w[0, :20] * together[1].log_prob(x[:20], c[:20])).sum() / w[0, :20].sum()
    scores = {0: histories[1].starting_score, **dict(histories[1].validation)}
    assert scores[histories[1].best_step] == pytest.approx(mean.item(), rel=1e-5)


def test_buffers_may_differ():
    x = torch.randn(60, 4)

    def make():
        flow = maf(4, layers=1, hidden=(8,))
        flow.transform = Chain(RandomPermutation(4), flow.transform)
        return flow

    alone, together = batch(make), batch(make)
    options = {"steps": 10, "learning_rate": 0.02}
    expected = [fit(model, x, seed=seed, **options).loss for seed, model in enumerate(alone)]
    for one, other in zip(expected, fit_many(together, x, **options), strict=True):
        assert other.loss == pytest.approx(one, abs=1e-5)
    assert_same(alone, together)


def test_a_model_that_fails_is_named():
    models = batch(lambda: maf(2, layers=1, hidden=(8,)))
    with torch.no_grad():
        next(models[1].parameters()).fill_(torch.nan)
    with pytest.raises(TrainingError, match="the loss of step 1 of model 1 is nan"):
        fit_many(models, torch.randn(20, 2), steps=3)


@pytest.mark.parametrize(
    ("argument", "message", "models", "options"),
    [
        ("models", "BatchNorm at transform", [maf(2, batch_norm=True)], {}),
        ("models", "BatchNorm1d at 1", [nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))], {}),
        ("models", "at least one", [], {}),
        ("models", "none twice", [maf(2, layers=1)] * 2, {}),
        ("models", "one architecture", [maf(2, layers=1), maf(2, layers=2)], {}),
        ("models", "in model 1", [maf(2, hidden=(8,)), maf(2, hidden=(9,))], {}),
        ("seeds", "one, or 1", [maf(2)], {"seeds": (1, 2)}),
        ("weights", r"\(20,\) or \(1, 20\)", [maf(2)], {"weights": torch.ones(2, 20)}),
        ("objective", "named steps", [maf(2)], {"objective": {}}),
        ("stpes", "no such option", [maf(2)], {"stpes": 3}),
    ],
)
def test_what_cannot_be_batched_is_refused(argument, message, models, options):
    with pytest.raises(ArgumentError, match=f"^{argument}: expected .*{message}"):
        fit_many(models, torch.randn(20, 2), **options)
