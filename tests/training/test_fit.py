import math

import pytest
import torch
from torch import nn
from zoo import two_clusters

from flowkit.errors import ArgumentError, ContextError, DtypeError, ShapeError, TrainingError
from flowkit.flows import maf
from flowkit.training import Batch, Step, fit
from flowkit.training.rows import split


def weights_of(model):
    return [p.detach().clone() for p in model.parameters()]


def test_fit_improves_and_is_deterministic():
    x = two_clusters(1000, 2, torch.float32)
    a, b = maf(2, layers=2, hidden=(16,)), maf(2, layers=2, hidden=(16,))
    b.load_state_dict(a.state_dict())
    before = a.log_prob(x).mean()
    first, second = (fit(flow, x, steps=100, learning_rate=1e-2, seed=3) for flow in (a, b))
    assert a.log_prob(x).mean() > before + 0.1
    assert first.loss == second.loss
    assert len(first.loss) == 100
    assert (first.best_step, first.stopped) == (100, "steps")
    assert not a.training
    assert all(p.grad is None for p in a.parameters())
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q)


def test_the_loop_takes_the_steps_of_a_loop_written_by_hand():
    x = torch.randn(64, 2)
    flow, by_hand = maf(2, layers=1), maf(2, layers=1)
    by_hand.load_state_dict(flow.state_dict())
    options = {"batch_size": 64, "learning_rate": 0.05, "clip": 0.3, "standardize": False}
    losses = fit(flow, x, steps=20, **options).loss
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=0.05)
    for step in range(20):
        optimizer.param_groups[0]["lr"] = 0.05 * 0.5 * (1 + math.cos(math.pi * step / 20))
        optimizer.zero_grad()
        loss = -by_hand.log_prob(x).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(by_hand.parameters(), 0.3)
        optimizer.step()
        assert losses[step] == pytest.approx(loss.item(), abs=1e-5)
    for p, q in zip(flow.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-4, rtol=1e-4)


def test_validation_keeps_the_best_weights():
    x = torch.randn(60, 5)
    x[:, 1:] += x[:, :1] ** 2
    flow = maf(5, layers=2, hidden=(64,))
    options = {"steps": 300, "learning_rate": 1e-2, "validate_every": 20, "seed": 1}
    history = fit(flow, x, validation=0.5, **options)
    scores = {0: history.starting_score, **dict(history.validation)}
    assert 0 < history.best_step < 300
    assert scores[history.best_step] == min(scores.values()) < scores[300]
    held_out = split(1, 60, 30)[1]
    assert -flow.log_prob(x[held_out]).mean().item() == pytest.approx(scores[history.best_step])


def test_patience_ends_a_fit_that_no_longer_gets_better():
    x = torch.randn(60, 5)
    history = fit(
        maf(5, layers=2, hidden=(64,)),
        x[:30],
        validation=x[30:],
        steps=2000,
        learning_rate=1e-2,
        validate_every=20,
        patience=3,
    )
    assert history.stopped == "patience"
    assert len(history.loss) == history.validation[-1][0] == history.best_step + 3 * 20


def test_validation_rows_of_their_own_with_context_and_weights():
    x, c, w = torch.randn(40, 2), torch.randn(40, 1), torch.rand(40)
    flow = maf(2, layers=1, context_features=1)
    history = fit(flow, x, context=c, validation=Batch(x[:9], c[:9], w[:9]), steps=3)
    mean = -(w[:9] * flow.log_prob(x[:9], c[:9])).sum() / w[:9].sum()
    assert history.validation == [(3, pytest.approx(mean.item(), rel=1e-6))]


def test_many_validation_rows_are_scored_in_chunks():
    x, seen = torch.randn(10_000, 1), []
    flow = maf(1, layers=1)
    flow.validation_loss = lambda b, _: seen.append(len(b.x)) or {"a": b.x.mean()}
    history = fit(flow, x[:50], validation=x, steps=1)
    assert seen == [4096, 4096, 1808] * 2  # before the first step, and after it
    assert history.validation[0][1] == pytest.approx(x.double().mean().item(), abs=1e-7)


def test_a_weight_counts_as_often_as_it_says():
    x = torch.randn(30, 2)
    counts = torch.randint(0, 4, (30,))
    repeated = x.repeat_interleave(counts, 0)
    a, b = maf(2, layers=1), maf(2, layers=1)
    b.load_state_dict(a.state_dict())
    # Standardised, both would start where the gradient is rounding, which Adam magnifies.
    options = {"steps": 30, "learning_rate": 0.02, "batch_size": 1000, "standardize": False}
    losses = fit(a, x, weights=counts.float(), **options).loss
    assert losses == pytest.approx(fit(b, repeated, **options).loss, abs=1e-5)
    torch.testing.assert_close(a.log_prob(repeated), b.log_prob(repeated), atol=1e-4, rtol=1e-4)


def test_schedules_and_their_callables():
    x = torch.randn(40, 2)
    rates = {}
    for schedule in ("cosine", "constant", lambda fraction: 1 - fraction):
        weight, used = nn.Parameter(torch.zeros(2)), []

        class Recording(torch.optim.SGD):
            def step(self, used=used):
                used.append(self.param_groups[0]["lr"])

        flow = maf(2, layers=1)
        step = Step(
            [weight],
            lambda b, _, weight=weight: {"a": (b.x - weight).square().mean()},
            optimizer=lambda p, lr: Recording(p, lr=lr),
        )
        fit(flow, x, objective={"a": step}, steps=4, learning_rate=0.1, schedule=schedule)
        rates[str(schedule)[:8]] = used
    cosine, constant, linear = rates.values()
    assert cosine == pytest.approx([0.1, 0.085355, 0.05, 0.014645], abs=1e-5)
    assert constant == [0.1] * 4
    assert linear == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_averaged_weights_are_validated_and_kept():
    x = torch.randn(64, 1)
    flow = maf(1, layers=1)
    path = [weights_of(flow)]
    fit(
        flow,
        x,
        steps=5,
        average=0.3,
        learning_rate=0.1,
        callbacks=[lambda state: path.append(weights_of(state.model))],
    )
    expected = path[0]
    for step, live in enumerate(path[1:], start=1):
        decay = min(0.3, (1 + step) / (10 + step))
        expected = [decay * e + (1 - decay) * w for e, w in zip(expected, live, strict=True)]
    for p, e in zip(flow.parameters(), expected, strict=True):
        torch.testing.assert_close(p.detach(), e)
    assert not all(map(torch.equal, flow.parameters(), path[-1]))
    flow, x = maf(1, layers=1), x + 1
    options = {"steps": 20, "average": 0.9, "learning_rate": 0.1, "standardize": False}
    history = fit(flow, x, validation=0.5, **options)
    held_out = split(0, 64, 32)[1]
    score = -flow.log_prob(x[held_out]).mean().item()
    assert history.validation == [(20, pytest.approx(score, rel=1e-6))]


@pytest.mark.parametrize("validation", [None, 0.5])
def test_averaged_weights_have_running_statistics_of_their_own(validation):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    step = Step(model.parameters(), lambda batch, _: {"a": model(batch.x).pow(4).mean()})
    x = torch.randn(64, 2) + 3
    fit(
        model,
        x,
        objective={"a": step},
        steps=20,
        batch_size=32,
        learning_rate=0.3,
        average=0.9,
        validation=validation,
    )
    rows = x if validation is None else x[split(0, 64, 32)[0]]
    seen = model[0](rows)
    torch.testing.assert_close(model[1].running_mean, seen.mean(0), atol=0.05, rtol=0.05)
    torch.testing.assert_close(model[1].running_var, seen.var(0), atol=0.05, rtol=0.1)
    assert model[1].momentum == 0.1
    assert not model[1].training


def test_callbacks_see_the_fit_and_may_stop_it():
    seen = []

    def callback(state):
        seen.append((state.step, state.steps, len(state.history.loss), state.model is flow))
        if state.step == 3:
            state.stop()

    flow = maf(2, layers=1)
    history = fit(flow, torch.randn(50, 2), steps=10, callbacks=[callback])
    assert seen == [(1, 10, 1, True), (2, 10, 2, True), (3, 10, 3, True)]
    assert (history.stopped, history.best_step) == ("callback", 3)


def test_the_clock_is_read_only_if_asked(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    x = torch.randn(50, 2)
    assert fit(maf(2, layers=1), x, steps=10, max_seconds=4).stopped == "max_seconds"
    assert next(now) == 6
    assert fit(maf(2, layers=1), x, steps=10).stopped == "steps"
    assert next(now) == 7


def test_context_and_progress():
    seen = []
    x, c = torch.randn(50, 2), torch.randn(50, 1)
    history = fit(
        maf(2, context_features=1),
        x,
        context=c,
        steps=3,
        progress=lambda *a: seen.append(a),
    )
    assert seen == [(i + 1, 3, loss) for i, loss in enumerate(history.loss)]


def test_progress_writes_lines_where_there_is_no_terminal(capsys):
    history = fit(maf(2, layers=1), torch.randn(50, 2), steps=25, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[-1] == f"step 25 of 25: loss {history.loss[-1]:.4g}"


def test_torch_is_left_as_it_was():
    def state():
        return (
            torch.get_rng_state().tolist(),
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.get_float32_matmul_precision(),
            torch.is_grad_enabled(),
        )

    model = nn.Sequential(nn.Linear(2, 8), nn.Dropout(), nn.Linear(8, 1))
    model.log_prob = lambda x: -model(x).square().squeeze(-1)
    initial = {k: t.clone() for k, t in model.state_dict().items()}
    before, losses = state(), []
    for _ in range(2):
        model.load_state_dict(initial)
        torch.rand(1)
        after = torch.get_rng_state()
        losses.append(
            fit(
                model,
                torch.randn(50, 2, generator=torch.Generator().manual_seed(0)),
                steps=5,
                validation=0.2,
            ).loss
        )
        assert torch.equal(torch.get_rng_state(), after)
    assert losses[0] == losses[1]  # dropout too draws from the seed of the fit
    assert state()[1:] == before[1:]


@pytest.mark.parametrize("clip", [5.0, None])
def test_a_loss_that_is_no_number_stops_and_names_step_and_term(clip):
    x = torch.randn(50, 2)
    x[7, 1] = math.nan
    flow = maf(2, batch_norm=True)
    message = (
        r"the loss of step 1 is nan \(likelihood: negative_log_likelihood\), and must be finite. "
        "Check the rows for NaN"
    )
    with pytest.raises(TrainingError, match=message):
        fit(flow, x, steps=5, clip=clip, standardize=False)
    assert all(t.isfinite().all() for t in flow.state_dict().values())
    assert not flow.training


def spoiled(x, after):
    """Return a flow whose loss, or gradient, is infinite from some step on."""
    flow, calls = maf(2, layers=1), []

    def validation_loss(batch, generator):
        return {"a": -flow.log_prob(batch.x).mean()}

    def training_steps(kind="loss"):
        def loss(batch, generator):
            calls.append(1)
            value = -flow.log_prob(batch.x).mean()
            if len(calls) > after and kind == "loss":
                value = value / 0
            elif len(calls) > after:
                value = value + (batch.x[0, 0] - batch.x[0, 0] + 0 * value).sqrt()
            return {"nll": value}

        return {"step": Step(flow.parameters(), loss)}

    flow.validation_loss, flow.training_steps = validation_loss, training_steps
    return flow


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_failed_fit_leaves_the_last_or_the_best_weights(kind):
    x = torch.randn(50, 2) + 1
    seen = {}
    flow = spoiled(x, after=7)
    keep = [lambda s: seen.update({s.step: weights_of(s.model)})]
    with pytest.raises(TrainingError, match=f"the {kind} of step 8 is"):
        fit(flow, x, steps=50, callbacks=keep, kind=kind)
    assert all(map(torch.equal, flow.parameters(), seen[7]))
    flow = spoiled(x, after=7)
    with pytest.raises(TrainingError, match=f"the {kind} of step 8 is"):
        fit(flow, x, steps=50, validation=0.2, validate_every=5, callbacks=keep, kind=kind)
    assert all(map(torch.equal, flow.parameters(), seen[5]))


def test_numbers_read_late_are_the_same_and_stop_all_the_same(monkeypatch):
    """As on an accelerator, whose numbers are fetched every so many steps."""
    x = torch.randn(50, 2)
    flow = maf(2, layers=1)
    start = {k: t.clone() for k, t in flow.state_dict().items()}
    at_once = fit(flow, x, steps=23, learning_rate=0.1, clip=0.1).loss
    expected = weights_of(flow)
    monkeypatch.setattr("flowkit.training.loop._delay", lambda *_: 10)
    flow.load_state_dict(start)
    late = fit(flow, x, steps=23, learning_rate=0.1, clip=0.1).loss
    assert late == at_once
    assert all(map(torch.equal, flow.parameters(), expected))
    flow = spoiled(x, after=7)
    with pytest.raises(TrainingError, match="the loss of step 8 is"):
        fit(flow, x, steps=50)
    assert all(p.isfinite().all() for p in flow.parameters())


def test_precision_and_dtype():
    x = torch.randn(500, 3)
    flow = maf(3, layers=1)
    start = {k: t.clone() for k, t in flow.state_dict().items()}
    losses = {}
    for precision in (None, "bf16-mixed", "64"):
        flow.load_state_dict(start)
        losses[precision] = fit(flow, x, steps=20, learning_rate=1e-2, precision=precision).loss
        assert next(flow.parameters()).dtype == (
            torch.float64 if precision == "64" else torch.float32
        )
    assert losses["64"] == pytest.approx(losses[None], abs=2e-4)
    assert losses["bf16-mixed"] != losses[None]
    assert losses["bf16-mixed"] == pytest.approx(losses[None], abs=0.02)


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("steps", {"steps": 0}),
        ("batch_size", {"batch_size": 0}),
        ("learning_rate", {"learning_rate": -1.0}),
        ("clip", {"clip": 0.0}),
        ("validation", {"validation": 1.0}),
        ("validation", {"validation": 0.001}),
        ("validation", {"validation": torch.randn(3, 3)}),
        ("validation", {"validation": (torch.randn(3, 2),) * 4}),
        ("validation", {"validation": torch.empty(0, 2)}),
        ("data", {"data": torch.empty(0, 2)}),
        ("data", {"data": [[1.0, 2.0]]}),
        ("context", {"context": torch.randn(19, 1)}),
        ("weights", {"weights": torch.rand(19)}),
        ("weights", {"weights": -torch.ones(20)}),
        ("weights", {"weights": torch.zeros(20)}),
        ("weights", {"weights": torch.full((20,), math.nan)}),
        ("schedule", {"schedule": "linear"}),
        ("average", {"average": 1.0}),
        ("patience", {"patience": 3}),
        ("precision", {"precision": "16"}),
        ("device", {"device": "cuda:7"}),
        ("device", {"device": "gpu"}),
        ("compile", {"compile": "always"}),
        ("seed", {"seed": -1}),
        ("max_seconds", {"max_seconds": 0}),
        ("validate_every", {"validate_every": 0}),
        ("checkpoint_every", {"checkpoint_every": 0}),
        ("stpes", {"stpes": 3}),
        ("objective", {"objective": {}}),
        ("objective", {"objective": "likelihood"}),
        ("model", {"model": nn.Linear(2, 2)}),
    ],
)
def test_bad_options_are_named(argument, options):
    with pytest.raises(ArgumentError, match=f"^{argument}: expected"):
        fit(**{"model": maf(2), "data": torch.randn(20, 2), **options})


def test_shapes_and_types_have_their_own_errors():
    flow, x = maf(2, context_features=1), torch.randn(20, 2)
    with pytest.raises(ShapeError, match="context: expected 20 rows"):
        fit(flow, x, context=torch.randn(19, 1))
    with pytest.raises(ContextError, match="context: expected"):
        fit(flow, x)
    with pytest.raises(DtypeError, match="x: expected the dtype of the flow"):
        fit(flow, x.double(), context=torch.randn(20, 1))
