import pytest
import torch
from torch import nn

from flowkit.errors import ArgumentError, ShapeError
from flowkit.flows import BoxUniform, Flow, maf
from flowkit.training import Batch, Step, fit, maximum_likelihood
from flowkit.transforms import Affine, Elementwise


class Tug(nn.Module):
    """Two steps that pull one number in two directions."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
        self.calls = []

    def training_steps(self, pull=1.0):
        def up(batch, generator):
            self.calls.append("up")
            return {"a": (self.a - pull - self.b.detach()).square(), "rest": 0 * self.b}

        def down(batch, generator):
            self.calls.append("down")
            # Touches `a` too, which this step must not move.
            return {"b": (self.b - self.a).square()}

        return {"up": Step([self.a], up), "down": Step([self.b], down, every=3)}


def test_named_steps_take_turns_and_move_their_own_parameters():
    model = Tug()
    x = torch.randn(10, 1)
    seen = []
    history = fit(
        model, x, steps=7, pull=2.0, learning_rate=0.1, schedule="constant",
        callbacks=[lambda s: seen.append((s.model.a.item(), s.model.b.item()))],
    )  # fmt: skip
    assert model.calls == ["up", "up", "up", "down", "up", "up", "up", "down", "up"]
    assert list(history.terms) == ["up", "down"]
    assert {k: len(v) for k, v in history.terms["up"].items()} == {"a": 7, "rest": 7}
    assert len(history.terms["down"]["b"]) == 2
    assert history.loss[0] == 4.0
    assert seen[1][1] == 0 != seen[2][1]
    assert [a for a, _ in seen] == pytest.approx([0.1 * i for i in range(1, 8)], abs=0.01)


def test_an_objective_may_bring_parameters_of_its_own():
    flow, x = maf(2, layers=1), torch.randn(40, 2)
    temperature = nn.Parameter(torch.ones(()))

    def loss(batch, generator):
        nll = maximum_likelihood(flow).loss(batch, generator)["negative_log_likelihood"]
        return {"nll": nll, "penalty": (temperature - 2).square()}

    steps = {"both": Step([*flow.parameters(), temperature], loss)}
    history = fit(flow, x, objective=steps, steps=60, learning_rate=0.1)
    assert temperature.item() == pytest.approx(2, abs=0.1)
    assert history.terms["both"]["penalty"][0] == 1
    temperature.data.zero_()
    history = fit(flow, x, objective=steps, steps=10, learning_rate=0.1, validation=0.5)
    assert history.best_step == 10
    assert temperature.item() != 0


def test_noise_comes_from_the_seed():
    weight = nn.Parameter(torch.zeros(()))
    model = nn.Module()
    model.weight = weight
    draws = []

    def loss(batch, generator):
        draws.append(torch.randn(2, generator=generator).tolist())
        return {"a": weight.square()}

    for seed in (0, 0, 1):
        fit(model, torch.randn(4, 1), objective={"a": Step([weight], loss)}, steps=3, seed=seed)
    assert draws[:3] == draws[3:6]
    assert len({tuple(d) for d in draws}) == 6


def test_an_option_of_the_model_and_an_objective_of_its_own():
    class Model(Tug):
        def training_steps(self, objective=None, pull=1.0):
            self.asked = objective
            return super().training_steps(pull)

    model = Model()
    fit(model, torch.randn(10, 1), objective=max, steps=3)
    assert model.asked is max


def test_a_row_outside_the_support_counts_only_with_weight():
    flow = Flow(Elementwise(1, Affine()), BoxUniform(-torch.ones(1), torch.ones(1)))
    x = torch.tensor([[0.5], [7.0]])
    step = maximum_likelihood(flow)
    (value,) = step.loss(Batch(x, None, torch.tensor([2.0, 0.0])), torch.Generator()).values()
    assert value.item() == pytest.approx(-flow.log_prob(x[:1]).item())
    value.backward()
    assert all(p.grad.isfinite().all() for p in flow.parameters())


def test_wrong_steps_are_refused():
    weight, x = nn.Parameter(torch.zeros(2)), torch.randn(9, 2)
    with pytest.raises(ArgumentError, match="^parameters: expected at least one"):
        Step([], lambda *_: {})
    with pytest.raises(ArgumentError, match="^every: expected"):
        Step([weight], lambda *_: {}, every=0)
    model = nn.Module()
    model.weight = weight
    with pytest.raises(ShapeError, match=r"loss: expected a term a of shape \(\) from s"):
        fit(model, x, objective={"s": Step([weight], lambda *_: {"a": weight})}, steps=1)
    names = iter("ab")
    turns = Step([weight], lambda *_: {next(names): weight.sum()})
    with pytest.raises(ArgumentError, match="loss: expected the same terms at every step of s"):
        fit(model, x, objective={"s": turns}, steps=2)
