"""The weights that a fit leaves: the best of the starting ones and those validated."""

import math

import pytest
import torch
from zoo import two_clusters

from flowkit.errors import DataError, TrainingError
from flowkit.files import read_file
from flowkit.flows import BoxUniform, maf
from flowkit.training import Batch, fit, fit_many
from flowkit.training.best import Best
from flowkit.training.rows import split

X = two_clusters(600, 2, torch.float32)
SMALL = {"layers": 2, "hidden": (16,)}


def good_flow():
    torch.manual_seed(0)
    flow = maf(2, **SMALL)
    fit(flow, X, steps=300, learning_rate=1e-2)
    return flow


def mean_score(flow, x):
    return -flow.log_prob(x).mean().item()


@pytest.mark.parametrize("several", [False, True])
def test_a_good_flow_survives_a_learning_rate_of_thirty(several):
    """At 30 nothing improves on it, and the history has step 0 for its best."""
    flow, held_out = good_flow(), X[split(0, 600, 180)[1]]
    before = {name: t.clone() for name, t in flow.state_dict().items()}
    score = mean_score(flow, held_out)
    options = {"validation": 0.3, "steps": 60, "learning_rate": 30.0, "validate_every": 20}
    history = fit_many([flow], X, **options)[0] if several else fit(flow, X, **options)
    assert min(s for _, s in history.validation) > score + 1
    assert (history.best_step, history.stopped) == (0, "steps")
    assert history.starting_score == pytest.approx(score, abs=1e-5)
    assert mean_score(flow, held_out) == pytest.approx(score, abs=1e-5)
    assert all(torch.equal(before[name], t) for name, t in flow.state_dict().items())


def test_starting_weights_survive_averaging_and_a_resumed_fit(tmp_path):
    flow, path = good_flow(), tmp_path / "run"
    before = {name: t.clone() for name, t in flow.state_dict().items()}
    settings = {"validation": 0.3, "steps": 30, "learning_rate": 30.0, "validate_every": 5}
    settings |= {"average": 0.5, "checkpoint": path, "checkpoint_every": 7}
    with pytest.raises(ZeroDivisionError):
        fit(flow, X, callbacks=[lambda state: 1 / (state.step - 12)], **settings)
    assert read_file(path)[1]["loop"]["step"] == 7
    history = fit(flow, X, **settings)
    assert history.best_step == 0
    assert history.starting_score < min(score for _, score in history.validation)
    assert all(torch.equal(before[name], t) for name, t in flow.state_dict().items())


def test_an_error_before_the_first_validation_leaves_the_starting_weights():
    flow = good_flow()
    before = {name: t.clone() for name, t in flow.state_dict().items()}
    options = {"validation": 0.3, "steps": 50, "validate_every": 40, "learning_rate": 1e20}
    with pytest.raises(TrainingError, match="the loss of step [0-9]+ is"):
        fit(flow, X, **options)
    assert all(torch.equal(before[name], t) for name, t in flow.state_dict().items())


# Scores that are not finite


def test_no_score_that_is_not_finite_is_the_best():
    best, weight = Best(None, patience=3), {"w": torch.zeros(())}
    for step, score in enumerate((math.nan, -math.inf, math.inf)):
        best.offer([score], step, weight)
    assert (best.scored, best.done) == ([False], [False])
    best.offer([5.0], 3, weight)
    assert (best.scored, best.steps, best.scores) == ([True], [3], [5.0])


def holed(rows, row, column, value=math.nan):
    rows = rows.clone()
    rows[row, column] = value
    return rows


def conditional():
    torch.manual_seed(0)
    return maf(2, context_features=1, layers=1, hidden=(8,))


HELD_OUT = int(split(0, 600, 60)[1][7])  # a row that the split puts among those validated
C = X[:, :1].contiguous()


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(
    ("place", "data", "context", "validation"),
    [
        (f"data, row {HELD_OUT}, column 1: .* got nan", holed(X, HELD_OUT, 1), C, 0.1),
        (f"data, row {HELD_OUT}, column 0: .* got inf", holed(X, HELD_OUT, 0, math.inf), C, 0.1),
        (f"context, row {HELD_OUT}, column 0: .* got nan", X, holed(C, HELD_OUT, 0), 0.1),
        ("validation, row 3, column 1: .* got nan", X, C, (holed(X, 3, 1), C)),
        ("validation context, row 4, column 0: .* got nan", X, C, (X, holed(C, 4, 0))),
    ],
)
def test_what_is_not_finite_among_validation_rows_is_named(
    place, data, context, validation, several
):
    steps = []
    options = {"context": context, "validation": validation, "steps": 5}
    options["callbacks"] = [steps.append]
    with pytest.raises(DataError, match=f"^{place}"):
        if several:
            fit_many(
                [conditional(), maf(2, context_features=1, layers=1, hidden=(8,))],
                data,
                seeds=0,
                **options,
            )
        else:
            fit(conditional(), data, **options)
    assert not steps


def test_a_validation_row_without_weight_may_hold_anything():
    weights = torch.ones(600)
    weights[3] = 0
    history = fit(
        maf(2, layers=1, hidden=(8,)), X, validation=Batch(holed(X, 3, 1), None, weights), steps=2
    )
    assert math.isfinite(history.starting_score)


@pytest.mark.parametrize("several", [False, True])
def test_a_validation_row_outside_the_support_is_named(several):
    x = torch.rand(50, 2)
    outside = torch.cat([x[:40], torch.tensor([[0.5, 1.5]]), x[40:]])

    def make():
        return _Bounded(maf(2, layers=1, hidden=(8,)), BoxUniform([0.0, 0.0], [1.0, 1.0]))

    with pytest.raises(DataError, match="^validation, row 40: .*inside of its support, got one"):
        if several:
            fit_many([make(), make()], x, validation=outside, steps=3)
        else:
            fit(make(), x, validation=outside, steps=3)


class _Bounded(torch.nn.Module):
    """A flow's density, cut to a box."""

    def __init__(self, flow, base):
        super().__init__()
        self.flow, self.base = flow, base

    def log_prob(self, x):
        return self.flow.log_prob(x) + self.base.log_prob(x)


def diverging(after):
    """Return a flow whose validation loss is NaN after so many validations."""
    flow, calls = maf(2, layers=1, hidden=(8,)), []

    def validation_loss(batch, generator):
        calls.append(1)
        value = -flow.log_prob(batch.x).mean()
        return {"nll": value * (math.nan if len(calls) > after else 1)}

    flow.validation_loss = validation_loss
    return flow


def test_a_later_score_that_is_not_finite_counts_as_worst_with_a_warning():
    flow, seen = diverging(after=3), {}
    keep = [lambda s: seen.update({s.step: [p.detach().clone() for p in s.model.parameters()]})]
    settings = {"steps": 60, "validate_every": 10, "patience": 3, "learning_rate": 1e-2}
    with pytest.warns(UserWarning, match="score of step 30 is nan: it counts as worse") as warned:
        history = fit(flow, X, validation=0.2, callbacks=keep, **settings)
    assert [w.filename for w in warned] == [__file__]
    assert (history.best_step, history.stopped) == (20, "patience")
    assert all(map(torch.equal, flow.parameters(), seen[20]))


def test_a_fit_without_any_finite_score_does_not_end_in_silence():
    with (
        pytest.warns(UserWarning, match="score of step 10 is nan"),
        pytest.raises(TrainingError, match="no validation score is finite, .* nor any of 2"),
    ):
        fit(diverging(after=0), X, validation=0.2, steps=20, validate_every=10)
