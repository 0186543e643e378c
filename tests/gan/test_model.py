"""Adversarial training: distances that critics learn, flows as generators, tables, bad input."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from flowkit.errors import (
    ArgumentError,
    ContextError,
    DataError,
    DtypeError,
    ModelFileError,
    ShapeError,
    TrainingError,
)
from flowkit.flows import (
    BoxUniform,
    Flow,
    PixelDistribution,
    StandardNormal,
    maf,
    nice,
    nsf,
    real_nvp,
)
from flowkit.gan import (
    GAN,
    WGAN,
    AdversarialAutoencoder,
    CriticSchedule,
    DequantizedTable,
    Factorized,
    FlowGAN,
    Generator,
    ImageClassifier,
    critic_estimate,
    hinge,
    interpolate,
    networks,
    spectral_norm_,
)
from flowkit.gan.critics import clip_weights_
from flowkit.gan.losses import Game
from flowkit.gan.snapshots import draw
from flowkit.metrics import energy_distance
from flowkit.nets import MLP, PixelCNN
from flowkit.schema import Schema
from flowkit.training import Batch, fit


class Tenth(nn.Module):
    def forward(self, x):
        return 0.1 * x


def learned(shift, **options):
    """What a critic says of N(shift, 1) and N(0, 1), once it has learned all it can."""
    torch.manual_seed(0)
    # So that what clipped biases can move are data: of about unit size.
    critic = nn.Sequential(Tenth(), MLP(1, 1, (32, 32)))
    gan = WGAN(Generator(nn.Identity(), 1), critic, **options)
    fit(gan, shift + torch.randn(20_000, 1), steps=500, learning_rate=5e-3)
    if gan.clip is not None:
        clip_weights_(gan.critic, gan.clip)
    return gan.estimate(shift + torch.randn(50_000, 1))


@pytest.mark.parametrize("shift", [0.5, 1.0, 4.0])
def test_a_penalised_critic_learns_the_distance(shift):
    found = learned(shift, penalty=100.0, one_sided=True)
    assert found.difference == pytest.approx(shift, rel=0.05)
    assert found.distance == pytest.approx(shift, rel=0.05)


def test_a_clipped_critic_learns_it_up_to_a_factor():
    ratios = [learned(shift, clip=0.2).difference / shift for shift in (0.5, 1.0, 4.0)]
    assert ratios == pytest.approx([ratios[0]] * 3, rel=0.1)
    assert abs(ratios[0] - 1) > 0.2


def ring(n, seed=0):
    """Eight points on a circle, blurred."""
    generator = torch.Generator().manual_seed(seed)
    angle = torch.randint(8, (n,), generator=generator) * (math.pi / 4)
    centres = 2 * torch.stack([angle.cos(), angle.sin()], 1)
    return centres + 0.1 * torch.randn(n, 2, generator=generator)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "non_saturating", "penalty": 1.0},
        {"loss": "least_squares", "penalty": 1.0},
        {"loss": "hinge"},
        {"loss": "wasserstein", "penalty": 10.0, "critic_steps": 2},
    ],
    ids=lambda o: o["loss"],
)
def test_every_game_brings_samples_nearer_to_the_data(options):
    torch.manual_seed(0)
    critic = networks("mlp", (2,), 2, widths=(32, 32)).critic
    if "penalty" not in options:
        critic = spectral_norm_(critic)
    gan, x = GAN(Generator(nn.Linear(2, 2), 2), critic, **options), 0.5 + 0.3 * ring(2_000)
    before = energy_distance(x[:1_000], gan.sample(1_000))
    history = fit(gan, x, steps=600, batch_size=64, learning_rate=5e-3)
    after = energy_distance(x[:1_000], gan.sample(1_000))
    assert after < 0.25 * before
    every = options.get("critic_steps", 1)
    assert len(history.terms["critic"]["critic"]) == 600
    assert len(history.terms["generator"]["adversarial"]) == 600 // every


@pytest.mark.parametrize("make", [nice, real_nvp, maf, nsf], ids=lambda make: make.__name__)
def test_any_flow_is_a_generator(make):
    torch.manual_seed(0)
    flow = make(2, layers=2, hidden=(8,))
    gan, x = WGAN(flow, MLP(2, 1, (16, 16)), one_sided=True), 1 + 0.3 * ring(500)
    before = energy_distance(x, gan.sample(500))
    fit(gan, x, steps=300, batch_size=32, learning_rate=1e-2)
    assert energy_distance(x, gan.sample(500)) < 0.5 * before
    z = torch.randn(4, 2)
    torch.testing.assert_close(gan.generate(z), gan.generator.transform.inverse(z)[0])


def test_a_penalised_critic_learns_where_networks_multiply_in_half():
    nets = networks("mlp", (3,), 2, widths=(16,))
    history = fit(WGAN(*nets), torch.randn(64, 3), steps=10, precision="bf16-mixed", seed=0)
    assert history.stopped == "steps"
    assert torch.tensor(history.terms["critic"]["gradient_penalty"]).isfinite().all()


def test_weights_are_clipped_before_each_step_of_the_critic():
    torch.manual_seed(0)
    gan = WGAN(Generator(nn.Linear(2, 2), 2), MLP(2, 1), clip=0.01)
    steps = gan.training_steps()
    assert isinstance(gan.critic_steps, CriticSchedule)
    assert max(p.abs().max() for p in gan.critic.parameters()) > 0.01
    steps["critic"].before(1)
    assert max(p.abs().max() for p in gan.critic.parameters()) <= 0.01
    optimizer = steps["critic"].optimizer(list(gan.critic.parameters()), 5e-5)
    assert isinstance(optimizer, torch.optim.RMSprop)
    history = fit(gan, ring(200), steps=200, batch_size=32)
    assert len(history.terms["generator"]["adversarial"]) == 2  # a hundred for each at first


def test_steps_move_their_own_side_only():
    gan = WGAN(Generator(nn.Linear(2, 2), 2), MLP(2, 1), critic_steps=3)
    start = [p.detach().clone() for p in gan.generator.parameters()]
    critics = []

    def look(state):
        moved = any((a != b).any() for a, b in zip(start, gan.generator.parameters(), strict=True))
        critics.append((state.step, moved))

    fit(gan, ring(64), steps=4, callbacks=[look])
    assert critics == [(1, False), (2, False), (3, True), (4, True)]


@pytest.mark.parametrize("options", [{"clip": 0.05, "critic_steps": 2}, {"penalty": 1.0}])
def test_a_fit_goes_on_where_it_broke_off(tmp_path, options):
    x, end = ring(300), []
    for broken in (False, True):
        torch.manual_seed(0)
        nets = networks("mlp", (2,), 2, widths=(16,))
        gan = WGAN(nets.generator, nets.critic, **options)
        settings = {
            "steps": 40, "batch_size": 32, "checkpoint": tmp_path / f"{broken}.safetensors",
            "checkpoint_every": 7, "validation": 0.2, "validate_every": 10,
        }  # fmt: skip
        if broken:
            with pytest.raises(ZeroDivisionError):
                fit(gan, x, **settings, callbacks=[lambda s: 1 / (s.step - 23)])
            torch.manual_seed(5)
            nets = networks("mlp", (2,), 2, widths=(16,))
            gan = WGAN(nets.generator, nets.critic, **options)
        fit(gan, x, **settings)
        end.append(torch.cat([p.detach().flatten() for p in gan.parameters()]))
    assert torch.equal(*end)


def test_a_fit_does_not_go_on_by_another_schedule(tmp_path):
    x, path = ring(64), tmp_path / "fit.safetensors"
    schedules = [CriticSchedule(s, many=4, first=1, period=0) for s in (2, 3)]
    for schedule, stops in zip(schedules, (True, False), strict=True):
        torch.manual_seed(0)
        gan = WGAN(Generator(nn.Linear(2, 2), 2), MLP(2, 1), clip=0.1, critic_steps=schedule)
        settings = {"steps": 9, "batch_size": 16, "checkpoint": path, "checkpoint_every": 3}
        if stops:
            fit(gan, x, **settings)
        else:
            with pytest.raises(ModelFileError, match="steps=2.* in the file, .*steps=3"):
                fit(gan, x, **settings)


def test_a_flow_gan_logs_the_likelihood_whatever_its_weight():
    x, found = ring(600), {}
    for name, weights in {
        "likelihood": (1.0, 0.0),
        "adversarial": (0.0, 1.0),
        "hybrid": (1.0, 1.0),
    }.items():
        torch.manual_seed(0)
        flow, critic = real_nvp(2, layers=4, hidden=(32,)), MLP(2, 1, (64, 64))
        gan = FlowGAN(flow, critic, weights[0], adversarial_weight=weights[1], critic_steps=2)
        history = fit(gan, x, steps=300, batch_size=64, learning_rate=2e-3)
        terms = history.terms["generator"]
        assert len(terms["negative_log_likelihood"]) == len(terms["adversarial"]) == 150
        found[name] = terms["negative_log_likelihood"]
        if name != "adversarial":  # whose nats are thrown about
            nats = -gan.log_prob(x).mean().item()
            assert nats == pytest.approx(np.mean(found[name][-10:]), abs=0.2)
    first = {name: values[0] for name, values in found.items()}
    assert len(set(first.values())) == 1  # the same flow, the same rows, the same nats
    last = {name: np.mean(values[-10:]) for name, values in found.items()}
    assert last["likelihood"] < last["adversarial"] - 0.3
    assert last["hybrid"] < last["adversarial"] - 0.2


def test_the_gradient_of_a_weighed_term_counts_as_often():
    gradients = []
    for weight in (0.0, 1.0, 3.0):
        torch.manual_seed(0)
        gan = FlowGAN(nice(2), MLP(2, 1), weight)
        steps = gan.training_steps()
        terms = steps["generator"].loss(Batch(ring(50)), torch.Generator().manual_seed(0))
        total = sum(terms.values())
        grads = torch.autograd.grad(total, list(gan.generator.parameters()), allow_unused=True)
        gradients.append(torch.cat([g.flatten() for g in grads if g is not None]))
    none, once, thrice = gradients
    torch.testing.assert_close(thrice - none, 3 * (once - none), atol=1e-5, rtol=1e-4)
    assert (once - none).norm() > 0.1


def mixed_table(n=400):
    rng = np.random.default_rng(0)
    amount = rng.gamma(2, 10, n)
    amount[rng.random(n) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "amount": amount,
            "count": rng.poisson(3, n),
            "kind": rng.choice(["a", "b", "c"], n),
            "x": rng.normal(100, 20, n),
        }
    )


def test_a_table_of_reals_is_scored_exactly():
    table = np.random.default_rng(0).normal([3, -50], [1, 20], size=(300, 2))
    rows = DequantizedTable(Schema.infer(table), table)
    x, log_slope = rows.encode(table)
    scale = table.std(0)
    expected = StandardNormal(2).log_prob(x.double()) - np.log(scale).sum()
    torch.testing.assert_close(
        StandardNormal(2).log_prob(x) + log_slope, expected, atol=1e-4, rtol=0
    )
    np.testing.assert_allclose(rows.decode(x), table, rtol=1e-4)


def test_a_mixed_table_comes_back_and_its_noise_bounds_its_mass():
    table = mixed_table()
    rows = DequantizedTable(Schema.infer(table), table)
    x, log_slope = rows.encode(table)
    assert x.isfinite().all()
    back = rows.decode(x)
    pd.testing.assert_frame_equal(back, table, check_exact=False, rtol=1e-3)
    # One category out of three, told by a uniform law over three unit bins, has mass one third.
    kinds = table[["kind"]]
    rows = DequantizedTable(Schema.infer(kinds), kinds)
    x, log_slope = rows.encode(kinds)
    width = 3 / rows._statistics.scale[0]
    assert (log_slope - math.log(width)).exp().mean().item() == pytest.approx(1 / 3, abs=1e-6)
    with pytest.raises(ShapeError, match="x"):
        rows.decode(x[:, :0])


def test_the_noise_in_place_of_what_is_missing_has_no_say():
    """A value that is missing counts by its flag alone, whatever noise stands there."""
    table = mixed_table()[["amount"]]
    rows = DequantizedTable(Schema.infer(table), table)
    x, log_slope = rows.encode(table)
    width = 2 / rows._statistics.scale[0]  # of a uniform law over both values of the flag
    nats = StandardNormal(1).log_prob(x[:, 1:]).double() - math.log(width) + log_slope
    missing = torch.tensor(table["amount"].isna().tolist())
    assert 0 < missing.sum() < len(missing)
    torch.testing.assert_close(
        nats[missing].exp(), torch.full_like(nats[missing], 0.5), atol=1e-4, rtol=0
    )


def test_a_flow_gan_on_a_mixed_table_draws_rows_of_it():
    table = mixed_table()
    rows = DequantizedTable(Schema.infer(table), table)
    x, _ = rows.encode(table)
    torch.manual_seed(0)
    flow = real_nvp(rows.width, layers=4, hidden=(32,))
    gan = FlowGAN(flow, MLP(rows.width, 1), adversarial_weight=0.1, critic_steps=1)
    fit(gan, x, steps=200, batch_size=128, learning_rate=3e-3)
    drawn = rows.decode(gan.sample(500))
    assert list(drawn.columns) == list(table.columns)
    assert set(drawn["kind"]) <= {"a", "b", "c"}
    assert drawn["count"].min() >= 0
    assert drawn["x"].mean() == pytest.approx(100, abs=8)
    assert 0.02 < drawn["amount"].isna().mean() < 0.25


@pytest.mark.parametrize("name", ["mlp", "dcgan", "resnet"])
@pytest.mark.parametrize("row", [(1, 28, 28), (3, 8, 16)])
def test_networks_of_images_fit_one_another(name, row):
    nets = networks(name, row, 5, activation="sigmoid", widths=(8, 12))
    drawn = nets.generator.sample((3, 2))
    assert drawn.shape == (3, 2, *row)
    assert 0 <= drawn.min() < drawn.max() <= 1
    gan = WGAN(nets.generator, nets.critic, critic_steps=1)
    history = fit(gan, torch.rand(20, *row), steps=2, batch_size=10)
    assert all(map(math.isfinite, history.loss))
    assert nets.critic(drawn[0].flatten(1)).shape == (2, 1)


@pytest.mark.parametrize("name", ["dcgan", "resnet"])
def test_hidden_layers_of_networks_of_images_lie_innermost(name):
    nets = networks(name, (1, 8, 8), 5, widths=(4, 6), hidden=(16, 9))
    flat = [layer for net in nets for layer in net.modules() if isinstance(layer, nn.Linear)]
    inner = 6 if name == "resnet" else 6 * 2 * 2  # what the outermost hidden layer of critics sees
    shapes = [(5, 9), (9, 16), (16, 6 * 2 * 2), (inner, 16), (16, 9), (9, 1)]
    assert [(layer.in_features, layer.out_features) for layer in flat] == shapes
    gan = WGAN(nets.generator, nets.critic, critic_steps=1)
    history = fit(gan, torch.rand(20, 1, 8, 8), steps=2, batch_size=10)
    assert all(map(math.isfinite, history.loss))


def test_the_way_from_latents_to_others_keeps_their_length():
    torch.manual_seed(0)
    generator = Generator(nn.Identity(), 50)
    start, end = torch.randn(2, 3, 50)
    end = end * start.norm(dim=1, keepdim=True) / end.norm(dim=1, keepdim=True)
    rows = interpolate(generator, start, end, 5)
    torch.testing.assert_close(rows[0], start)
    torch.testing.assert_close(rows[-1], end, atol=1e-5, rtol=1e-5)
    lengths = rows.norm(dim=-1)
    torch.testing.assert_close(lengths, lengths[:1].expand(5, 3), atol=1e-4, rtol=1e-4)


def test_a_classifier_judges_samples():
    torch.manual_seed(0)
    x, y = torch.rand(400, 1, 8, 8) * 0.2, torch.arange(400) % 2
    x[y == 1, :, :4] += 0.8
    classifier = ImageClassifier((1, 8, 8), 2, channels=(4, 8), features=8)
    fit(classifier, x, context=y, steps=150, batch_size=64, learning_rate=1e-2)
    assert classifier.error(x, y) < 0.01
    found = classifier.judge(x[y == 1])
    assert found.confident > 0.9
    assert found.shares[1] == pytest.approx(1, abs=0.02)
    with pytest.raises(ContextError, match="context"):
        fit(classifier, x, steps=1)
    with pytest.raises(DataError, match="row 3"):
        fit(classifier, x, context=torch.where(torch.arange(400) == 3, 2, y), steps=1)
    with pytest.raises(ArgumentError, match="image"):
        ImageClassifier((1, 9, 9), 2)
    nn.init.zeros_(classifier.head.weight)
    nn.init.constant_(classifier.head.bias, 0.0)
    assert classifier.judge(x).confident == 0  # one half each


def test_what_does_not_fit_is_refused_before_the_first_step():
    x, critic = ring(20), MLP(2, 1)
    with pytest.raises(ShapeError, match="generator"):
        fit(GAN(nice(3), MLP(3, 1)), x, steps=1)
    with pytest.raises(ShapeError, match="critic"):
        fit(GAN(nice(2), MLP(3, 1)), x, steps=1)
    with pytest.raises(ShapeError, match="critic"):
        fit(GAN(nice(2), nn.Linear(2, 2)), x, steps=1)
    with pytest.raises(ShapeError, match="data"):
        fit(GAN(nice(2), critic), x[:, 0], steps=1)
    with pytest.raises(ArgumentError, match="critic_steps"):
        GAN(nice(2), critic, critic_steps=0)
    with pytest.raises(ArgumentError, match="generator"):
        GAN(nn.Linear(2, 2), critic)
    with pytest.raises(ContextError, match="generator"):
        GAN(nsf(2, context_features=1), critic)
    with pytest.raises(ArgumentError, match="clip"):
        WGAN(nice(2), critic, clip=0.01, penalty=10.0)
    with pytest.raises(ArgumentError, match="loss"):
        GAN(nice(2), critic, "zero_sum")
    with pytest.raises(ShapeError, match="z"):
        WGAN(nice(2), critic).generate(torch.zeros(5, 3))
    with pytest.raises(ArgumentError, match="net"):
        Generator(nice(2), 2)
    with pytest.raises(ShapeError, match="prior"):
        Generator(nn.Linear(2, 2), 2, StandardNormal(3))
    with pytest.raises(ArgumentError, match="image"):
        networks("dcgan", (1, 30, 30), 8)
    with pytest.raises(ArgumentError, match="hidden"):
        networks("mlp", (2,), 8, hidden=(16,))
    with pytest.raises(ArgumentError, match="hidden"):
        networks("dcgan", (1, 8, 8), 8, hidden=(0,))
    with pytest.raises(ArgumentError, match="likelihood_weight"):
        FlowGAN(nice(2), critic, -1.0)
    with pytest.raises(ArgumentError, match="likelihood_weight"):
        FlowGAN(nice(2), critic, 0.0, adversarial_weight=0.0)
    with pytest.raises(ArgumentError, match="generator"):
        FlowGAN(Generator(nn.Linear(2, 2), 2), critic)


def test_batch_norm_in_a_penalised_critic_is_warned_of():
    critic = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    with pytest.warns(UserWarning, match="batch norm"):
        WGAN(nice(2), critic)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        WGAN(nice(2), critic, clip=0.01)


def test_a_run_that_diverges_names_the_term_and_keeps_finite_weights():
    gan, x = GAN(nice(2), MLP(2, 1)), ring(50)

    def spoil(state):
        if state.step == 10:
            x.fill_(math.nan)

    with pytest.raises(TrainingError, match=r"step 11 is nan \(critic: critic\)"):
        fit(gan, x, steps=50, callbacks=[spoil])
    assert all(p.isfinite().all() for p in gan.parameters())


def normed(latents=4):
    """A generator with a batch norm, of two columns."""
    net = nn.Sequential(nn.Linear(latents, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    return Generator(net, latents)


def test_a_run_that_diverges_keeps_what_the_last_good_step_left():
    torch.manual_seed(0)
    gan, x, kept = GAN(normed(), MLP(2, 1)), torch.randn(50, 2) + 5, {}

    def spoil(state):
        if state.step == 10:
            kept.update({k: v.clone() for k, v in gan.state_dict().items()})
            x.fill_(math.nan)

    start = {k: v.clone() for k, v in gan.state_dict().items()}
    with pytest.raises(TrainingError, match=r"step 11 is nan \(critic: critic\)"):
        fit(gan, x, steps=50, callbacks=[spoil])
    for name, tensor in gan.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(tensor, kept[name], rtol=0, atol=0)
    assert not torch.equal(kept["generator.net.0.weight"], start["generator.net.0.weight"])


def test_batch_norms_that_a_bad_row_went_through_are_those_of_the_step_before():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))
    model.log_prob = lambda x: -model(x).square().sum(-1)
    x, kept = torch.randn(50, 2) + 50, []

    def spoil(state):
        if state.step == 20:
            kept.append(model[0].running_mean.clone())
            x.fill_(math.inf)

    with pytest.raises(TrainingError, match="step 21"):
        fit(model, x, steps=50, callbacks=[spoil])
    torch.testing.assert_close(model[0].running_mean, kept[0], rtol=0, atol=0)
    assert model[0].running_mean.min() > 40


def test_frozen_batch_norms_stay_as_they_are():
    gan, x = GAN(normed(), MLP(2, 1)), torch.randn(50, 2)
    norm = gan.generator.net[1]
    norm.eval()
    draw(gan, 3)
    assert not norm.training
    assert gan.generator.net[0].training
    norm.train = lambda _=True: norm  # as who freezes one for good writes it
    norm.running_mean.fill_(7.0)
    fit(gan, x, steps=5, average=0.9)
    assert (norm.running_mean == 7).all()


def test_other_games_are_other_models_to_a_checkpoint(tmp_path):
    x = torch.randn(50, 2)
    mine = Game(real=torch.neg, fake=torch.abs, generator=torch.neg)
    makers = {
        "penalty": lambda: WGAN(normed(), MLP(2, 1), penalty=1.0),
        "weaker": lambda: WGAN(normed(), MLP(2, 1), penalty=0.1),
        "one side": lambda: WGAN(normed(), MLP(2, 1), penalty=1.0, one_sided=True),
        "clip": lambda: WGAN(normed(), MLP(2, 1), clip=0.1, critic_steps=5),
        "hinge": lambda: GAN(normed(), MLP(2, 1), hinge, critic_steps=5),
        "mine": lambda: GAN(normed(), MLP(2, 1), mine, critic_steps=5),
    }
    for name, make in makers.items():
        path = tmp_path / name
        fit(make(), x, steps=5, checkpoint=path)
        fit(make(), x, steps=5, checkpoint=path)
        for other in makers:
            if other != name:
                with pytest.raises(ValueError, match="checkpoint"):
                    fit(makers[other](), x, steps=5, checkpoint=path)
    path = tmp_path / "flow"
    fit(FlowGAN(nice(2), MLP(2, 1), 1.0), x, steps=5, checkpoint=path)
    with pytest.raises(ValueError, match="likelihood_weight=1.0"):
        fit(FlowGAN(nice(2), MLP(2, 1), 0.0), x, steps=5, checkpoint=path)


def test_held_out_rows_count_by_their_weight_in_whatever_parts_they_come(monkeypatch):
    monkeypatch.setattr("flowkit.training.evaluation._CHUNK", 500)
    torch.manual_seed(0)
    near, far = torch.randn(600, 1), 100 + torch.randn(500, 1)
    weights = torch.cat([torch.ones(600), torch.full((500,), 1e-7)])
    for late in (far, far[:400]):  # the last part has near rows, too
        x, w = torch.cat([near, late]), weights[: 600 + len(late)]
        w = torch.where(w < 1, 0, w) if late is not far else w
        gan = GAN(Generator(nn.Identity(), 1), MLP(1, 1))
        history = fit(gan, torch.randn(100, 1), validation=(x, None, w), steps=1)
        assert abs(history.validation[0][1]) < 0.1


def test_scores_and_likelihoods_keep_their_digits_under_autocast():
    torch.manual_seed(0)
    critic = nn.Linear(2, 1)
    nn.init.constant_(critic.bias, 100.0)
    gan = WGAN(nice(2), critic, clip=100.0, critic_steps=1)
    x = torch.randn(512, 2) + 0.3
    terms = fit(gan, x, steps=1, batch_size=512, precision="bf16-mixed").terms
    assert terms["critic"]["critic"][0] % 0.5 != 0
    images = torch.randint(0, 256, (16, 1, 16, 16)).float()
    pixels = PixelDistribution(
        PixelCNN((1, 16, 16), outputs=256, hidden=8, layers=1, reach=1), "categorical"
    )
    nats = fit(pixels, images, steps=1, precision="bf16-mixed").loss[0]
    assert nats % 1 != 0


def test_a_likelihood_that_only_looks_on_may_be_none_at_all():
    flow = Flow(nice(2).transform, base=BoxUniform(torch.full((2,), -1.0), torch.ones(2)))
    gan = FlowGAN(flow, MLP(2, 1), 0.0, critic_steps=1)
    history = fit(gan, 9 * torch.randn(50, 2), steps=3)
    assert history.terms["generator"]["negative_log_likelihood"][0] > 1e30
    gan = FlowGAN(flow, MLP(2, 1), 2.0, critic_steps=1)
    with pytest.raises(TrainingError, match="negative_log_likelihood"):
        fit(gan, 9 * torch.randn(50, 2), steps=3)


def test_a_generator_without_gradient_cannot_play():
    pixels = PixelDistribution(PixelCNN((1, 4, 4), hidden=4, layers=1))
    critic, x = nn.Sequential(nn.Flatten(), MLP(16, 1)), torch.rand(20, 1, 4, 4).round()
    for gan in (WGAN(pixels, critic, clip=0.1), FlowGAN(pixels, critic)):
        with pytest.raises(ArgumentError, match="generator: expected a generator whose rows carry"):
            fit(gan, x, steps=1)
    fit(FlowGAN(pixels, critic, adversarial_weight=0.0, critic_steps=1), x, steps=1)


def test_what_goes_wrong_is_named():
    nets = networks("dcgan", (1, 8, 8), 4, widths=(4, 8))
    with pytest.raises(DtypeError, match="data: expected a floating-point dtype"):
        fit(GAN(*nets), torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8), steps=1)
    normed_critic = nn.Sequential(nn.BatchNorm1d(1), nn.Flatten(), nn.Linear(64, 1))
    with pytest.raises(ShapeError, match="critic"):
        fit(GAN(nets.generator, normed_critic), torch.rand(20, 1, 8, 8), steps=1)
    with pytest.raises(ArgumentError, match="net: expected a PixelCNN"):
        PixelDistribution(MLP(3, 3))
    encoder = nn.Sequential(MLP(8, 3), nn.BatchNorm1d(3))
    with pytest.raises(ArgumentError, match="decoder"):
        AdversarialAutoencoder(encoder, nn.Linear(3, 8), MLP(3, 1), categories=3)
    decoder = Factorized(MLP(3, 8), (8,), codes=3)
    model, x = AdversarialAutoencoder(encoder, decoder, MLP(3, 1), categories=3), torch.zeros(9, 8)
    half, labels = torch.cat([x[:3], x[:1] + 0.5]), torch.tensor([0, 1, 2, 0])
    with pytest.raises(DataError, match="labelled, row 3"):
        fit(model, x, steps=1, labelled=(half, labels))
    with pytest.raises(ArgumentError, match="labelled: expected at least 2 rows"):
        fit(model, x, steps=1, labelled=(x[:1], labels[:1]))
    with pytest.raises(ShapeError, match="fake"):
        critic_estimate(nn.Linear(1, 1), torch.zeros(4, 1), torch.ones(1, 1))
    rows = np.arange(12.0).reshape(6, 2)
    table = DequantizedTable(Schema.infer(rows), rows)
    with pytest.raises(DataError, match="x, row 1"):
        table.decode(torch.tensor([[0.0, 0.0], [0.0, math.nan]]))


def test_the_warning_of_batch_norms_is_given_where_the_model_is_made():
    critic = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))
    makers = (
        lambda: GAN(nice(2), critic, penalty=1.0),
        lambda: WGAN(nice(2), critic),
        lambda: FlowGAN(nice(2), critic),
    )
    for make in makers:
        with pytest.warns(UserWarning, match="batch norm") as found:
            make()
        assert found[0].filename == __file__


def test_no_rows_are_no_mistake_to_networks_and_one_to_a_judge():
    critic = networks("dcgan", (1, 8, 8), 4, widths=(4, 8)).critic
    assert critic(torch.empty(0, 1, 8, 8)).shape == (0, 1)
    classifier = ImageClassifier((1, 8, 8), 2, channels=(4, 8))
    assert classifier(torch.empty(0, 1, 8, 8)).shape == (0, 2)
    with pytest.raises(ShapeError, match="samples"):
        classifier.judge(torch.empty(0, 1, 8, 8))


def test_a_judge_does_not_drop_out_what_it_sees():
    torch.manual_seed(0)
    classifier, x = ImageClassifier((1, 8, 8), 2, channels=(4, 8)), torch.rand(50, 1, 8, 8)
    classifier.train()
    y = torch.arange(50) % 2
    assert {classifier.error(x, y) for _ in range(5)} == {classifier.error(x, y)}
    assert classifier.training


def test_a_resumed_run_that_diverges_at_once_keeps_what_it_took_up(tmp_path):
    torch.manual_seed(0)
    x, path = torch.randn(50, 2) + 5, tmp_path / "fit"
    settings = {"steps": 20, "checkpoint": path, "checkpoint_every": 5}

    class Stopped(Exception):
        pass

    def stop(state):
        if state.step == 6:
            raise Stopped

    def spoiled(batch, generator):
        del generator
        return {"adversarial": gan.generator(torch.randn(9, 4)).sum() * math.nan + batch.x.sum()}

    gan = GAN(normed(), MLP(2, 1))
    with pytest.raises(Stopped):
        fit(gan, x, callbacks=[stop], **settings)
    gan = GAN(normed(), MLP(2, 1))
    gan.generator_loss = spoiled
    with pytest.raises(TrainingError, match="step 6"):
        fit(gan, x, **settings)
    assert (gan.generator.net[1].running_var < 0.99).any()
    assert not (gan.generator.net[1].running_mean == 0).any()
