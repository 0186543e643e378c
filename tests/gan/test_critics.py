"""Critics in closed form: slopes, penalties, clipping, and the distance that they estimate."""

import math
import warnings

import pytest
import torch
from torch import nn

from flowkit.errors import ArgumentError, ShapeError
from flowkit.gan import (
    WGAN,
    CriticSchedule,
    Game,
    Generator,
    clip_weights_,
    critic_estimate,
    gradient_penalty,
    hinge,
    interpolate,
    least_squares,
    non_saturating,
    slopes,
    spectral_norm_,
    wasserstein,
)
from flowkit.gan.losses import game_named
from flowkit.nets import MLP
from flowkit.training import fit


def linear(*weights):
    critic = nn.Linear(len(weights), 1).double()
    with torch.no_grad():
        critic.weight.copy_(torch.tensor([weights], dtype=torch.float64))
    return critic


def smooth(inputs):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, 1)).double()


def test_the_penalty_of_a_linear_critic_is_that_of_its_slope():
    critic = linear(0.6, -2.0, 1.1)
    x, y = torch.randn(2, 9, 3).double()
    slope = math.sqrt(0.6**2 + 2.0**2 + 1.1**2)
    assert gradient_penalty(critic, x, y).item() == pytest.approx((slope - 1) ** 2, abs=1e-12)


def test_two_point_masses_have_the_slope_and_the_objective_of_the_closed_form():
    """Distance t, weight l: the best slope is 1 + t / (2 l), the objective t + t² / (4 l)."""
    t, weight = 1.0, 10.0
    critic = linear(0.2)
    real, fake = torch.full((4, 1), t).double(), torch.zeros(4, 1).double()
    optimizer = torch.optim.LBFGS(critic.parameters(), max_iter=100, tolerance_grad=1e-12)

    def objective():
        gain = critic(real).mean() - critic(fake).mean()
        return gain - weight * gradient_penalty(critic, real, fake)

    def closure():
        optimizer.zero_grad()
        loss = -objective()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert critic.weight.item() == pytest.approx(1.05, abs=1e-6)
    assert objective().item() == pytest.approx(1.025, abs=1e-6)


def test_images_have_the_penalty_of_their_pixels_in_a_row():
    net = smooth(12)
    x, y = torch.randn(2, 5, 3, 2, 2).double()
    flat = gradient_penalty(net, x.flatten(1), y.flatten(1), torch.Generator().manual_seed(0))
    shaped = nn.Sequential(nn.Flatten(), net)
    assert gradient_penalty(shaped, x, y, torch.Generator().manual_seed(0)) == flat
    assert flat > 0.1


def test_one_mixing_weight_for_each_pair_of_rows():
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(x.detach())
            return x.sum(1)

    gradient_penalty(Spy(), torch.ones(50, 6), torch.zeros(50, 6))
    (between,) = seen
    assert torch.equal(between, between[:, :1].expand(-1, 6))
    assert between[:, 0].unique().numel() == 50
    assert between.min() < 0.1 < 0.9 < between.max()


def test_second_derivatives_are_those_of_finite_differences():
    net = smooth(4)
    x, y = torch.randn(2, 6, 4).double()

    def penalty():
        return gradient_penalty(net, x, y, torch.Generator().manual_seed(0))

    gradients = torch.autograd.grad(penalty(), list(net.parameters())[:3])
    step = 1e-6
    for parameter, gradient in zip(net.parameters(), gradients, strict=False):
        for index in range(0, parameter.numel(), 5):
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.view(-1)[index] += sign * step
                values.append(penalty().item())
                with torch.no_grad():
                    parameter.view(-1)[index] -= sign * step
            slope = (values[0] - values[1]) / (2 * step)
            assert gradient.view(-1)[index].item() == pytest.approx(slope, abs=1e-6)


def test_a_clipped_linear_critic_tells_a_shift_by_the_clip():
    """On the line, shifted by theta, the value is clip * theta."""
    critic, clip, theta = linear(5.0), 0.01, 3.0
    clip_weights_(critic, clip)
    x = torch.randn(100, 1).double()
    found = critic_estimate(critic, x + theta, x)
    assert found.difference == pytest.approx(clip * theta, abs=1e-6)
    assert found.slope == pytest.approx(clip)
    assert found.distance == pytest.approx(theta, abs=1e-6)


def test_a_spectral_norm_is_one():
    torch.manual_seed(0)
    net = spectral_norm_(nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 1)))
    for _ in range(100):
        net(torch.zeros(1, 6))
    for layer in (net[0], net[2]):
        assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1, abs=1e-4)
    x, y = torch.randn(2, 500, 6)
    found = critic_estimate(net.eval(), x, y)
    assert found.slope <= 1 + 1e-4


GAMES = {
    "non_saturating": (non_saturating, lambda s: (math.log1p(math.exp(-s)),
                                                  math.log1p(math.exp(s)),
                                                  math.log1p(math.exp(-s)))),
    "least_squares": (least_squares, lambda s: ((s - 1) ** 2 / 2, s * s / 2, (s - 1) ** 2 / 2)),
    "hinge": (hinge, lambda s: (max(1 - s, 0), max(1 + s, 0), -s)),
    "wasserstein": (wasserstein, lambda s: (-s, s, -s)),
}  # fmt: skip


@pytest.mark.parametrize("name", GAMES)
def test_games_are_their_formulas(name):
    game, formula = GAMES[name]
    assert game_named(name) is game
    for score in (-2.0, 0.3, 1.5):
        found = [part(torch.tensor(score, dtype=torch.float64)).item() for part in game]
        assert found == pytest.approx(formula(score), abs=1e-12)


def test_a_critic_that_cannot_tell_pays_log_four():
    score = torch.zeros(3)
    loss = non_saturating.real(score).mean() + non_saturating.fake(score).mean()
    assert loss.item() == pytest.approx(math.log(4))


def test_a_game_of_ones_own():
    game = Game(real=torch.neg, fake=torch.exp, generator=torch.neg)
    assert game_named(game) is game
    with pytest.raises(ArgumentError, match="loss"):
        game_named("zero_sum")


def test_the_schedule_of_the_paper():
    """100 critic steps before each of the first 25 of the generator's, and of every 500th."""
    often, needed, step = CriticSchedule(), [], 0
    last = 0
    while len(needed) < 1_600:
        step += 1
        if often(step):
            needed.append(step - last)
            last = step
    expected = [100 if g < 25 or g % 500 == 0 else 5 for g in range(1_600)]
    assert needed == expected


@pytest.mark.parametrize("options", [{"period": 0}, {"first": 0}, {"first": 0, "period": 0}])
def test_schedules_without_a_start_or_without_rounds(options):
    often = CriticSchedule(steps=2, many=6, **({"first": 3, "period": 7} | options))
    taken = [step for step in range(1, 100) if often(step)]
    gaps = [b - a for a, b in zip([0, *taken], taken, strict=False)]
    first, period = options.get("first", 3), options.get("period", 7)
    expected = [6 if g < first or (period and g % period == 0) else 2 for g in range(len(gaps))]
    assert gaps == expected


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ArgumentError, match="steps"):
        CriticSchedule(steps=0)
    with pytest.raises(ArgumentError, match="period"):
        CriticSchedule(first=25, period=10)
    with pytest.raises(ShapeError, match="fake"):
        gradient_penalty(linear(1.0), torch.zeros(3, 1), torch.zeros(4, 1))
    with pytest.raises(ArgumentError, match="bound"):
        clip_weights_(linear(1.0), 0.0)
    with pytest.raises(ShapeError, match="z"):
        Generator(nn.Linear(3, 2), 3)(torch.zeros(5, 4))


def normed(latents=4):
    """A generator with a batch norm, of two columns."""
    net = nn.Sequential(nn.Linear(latents, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    return Generator(net, latents)


def test_a_penalty_is_left_out_of_what_is_compiled(monkeypatch):
    """The derivative of a derivative cannot be compiled; without a penalty there is none."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **o: compile_(f, backend="aot_eager", **o))
    x, losses = torch.randn(50, 2), []
    for compiled in (False, True):
        torch.manual_seed(0)
        gan = WGAN(normed(), MLP(2, 1, (8,)), critic_steps=2)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")  # what torch warns of while it traces is its own
            losses.append(fit(gan, x, steps=4, batch_size=16, compile=compiled).loss)
        assert not [w for w in warned if "not compiled" in str(w.message)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)


def test_interpolations_from_the_origin_and_to_the_same_place():
    z = torch.randn(3, 4)
    generator = Generator(nn.Identity(), 4)
    line = interpolate(generator, torch.zeros(3, 4), z, 3)
    torch.testing.assert_close(line[1], 0.5 * z)
    torch.testing.assert_close(interpolate(generator, z, z, 3)[1], z)
    assert interpolate(generator, z.half(), z.half(), 3).isfinite().all()


def test_slopes_are_norms_of_gradients():
    x = torch.tensor([[1.0, 2.0], [0.0, -3.0]])
    critic = nn.Sequential(nn.Identity())
    critic.forward = lambda x: x.square().sum(1)
    torch.testing.assert_close(slopes(critic, x), 2 * x.norm(dim=1))
