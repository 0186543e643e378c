"""What goes wrong at the edges of a game: broken runs, few digits, weights, frozen parts."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from flowkit.errors import ArgumentError, DataError, DtypeError, ShapeError, TrainingError
from flowkit.flows import BoxUniform, Flow, PixelDistribution, nice
from flowkit.gan import (
    GAN,
    WGAN,
    AdversarialAutoencoder,
    DequantizedTable,
    Factorized,
    FlowGAN,
    Generator,
    ImageClassifier,
    critic_estimate,
    hinge,
    interpolate,
    networks,
    slopes,
)
from flowkit.gan.losses import Game
from flowkit.gan.snapshots import draw
from flowkit.metrics import energy_distance, squared_mmd
from flowkit.metrics.pictures import image_grid, save_image
from flowkit.nets import MLP, PixelCNN
from flowkit.schema import Schema
from flowkit.training import fit


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


def test_distances_of_mixed_and_of_few_digits():
    torch.manual_seed(0)
    x, y = torch.randn(50, 2), torch.randn(40, 2).double()
    assert energy_distance(x, y).dtype == torch.float64
    torch.testing.assert_close(squared_mmd(x, y), squared_mmd(x.double(), y))
    few = energy_distance(x.bfloat16(), x.bfloat16() + 1)
    assert few.item() == pytest.approx(energy_distance(x, x + 1).item(), abs=0.02)
    assert energy_distance(10 * torch.randn(500, 2).half(), torch.randn(400, 2).half()) > 1


def test_interpolations_from_the_origin_and_to_the_same_place():
    z = torch.randn(3, 4)
    generator = Generator(nn.Identity(), 4)
    line = interpolate(generator, torch.zeros(3, 4), z, 3)
    torch.testing.assert_close(line[1], 0.5 * z)
    torch.testing.assert_close(interpolate(generator, z, z, 3)[1], z)
    assert interpolate(generator, z.half(), z.half(), 3).isfinite().all()


def test_pictures_in_colour(tmp_path):
    images = np.random.default_rng(0).random((2, 3, 3, 4, 5))
    grid = image_grid(images)
    assert grid.shape == (9, 17, 3)
    np.testing.assert_array_equal(grid[5:, 6:11], np.moveaxis(images[1, 1], 0, -1))
    save_image(grid, tmp_path / "grid.png")
    assert (tmp_path / "grid.png").stat().st_size > 100
    with pytest.raises(ShapeError, match="images"):
        image_grid(np.zeros((2, 3, 2, 4, 4)))


def test_slopes_are_norms_of_gradients():
    x = torch.tensor([[1.0, 2.0], [0.0, -3.0]])
    critic = nn.Sequential(nn.Identity())
    critic.forward = lambda x: x.square().sum(1)
    torch.testing.assert_close(slopes(critic, x), 2 * x.norm(dim=1))


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
