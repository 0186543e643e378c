"""What `fit` looks at before the first step, and that rows without weight have no say."""

import functools

import pytest
import torch
from torch import nn

from flowkit.errors import ArgumentError, ContextError, DataError, DtypeError, ShapeError
from flowkit.estimators import reinforce, vimco
from flowkit.flows import nice
from flowkit.gan import (
    GAN,
    WGAN,
    AdversarialAutoencoder,
    Factorized,
    Generator,
    ImageClassifier,
)
from flowkit.nets import MLP
from flowkit.training import fit
from flowkit.vae import VAE, dip, factor, kl, mmd, posterior, total_correlation

BITS = (torch.rand(32, 8, generator=torch.Generator().manual_seed(0)) < 0.5).float()


def vae(seen=8, latents=2):
    q = posterior("normal", 2, context_features=16)
    return VAE(nn.Linear(seen, 16), nn.Linear(latents, 8), q)


def autoencoder():
    decoder = Factorized(MLP(3, 8), (8,), codes=3)
    return AdversarialAutoencoder(MLP(8, 3), decoder, MLP(3, 1), categories=3)


def wgan():
    return WGAN(Generator(nn.Linear(4, 8), 4), MLP(8, 1), critic_steps=1)


def holed(rows):
    rows = torch.ones(rows, 2)
    rows[3, 1] = torch.nan
    return rows


@pytest.mark.parametrize(
    ("model", "data", "options", "error", "message"),
    [
        (vae, BITS, {"validation": 7 * BITS}, DataError, "validation, row 0"),
        (vae, BITS.double(), {}, DtypeError, "data: expected torch.float32"),
        (lambda: vae(seen=7), BITS, {}, ShapeError, "model: expected parts that fit"),
        (lambda: vae(latents=3), BITS, {}, ShapeError, "model: expected parts that fit"),
        (vae, BITS, {"terms": kl()}, ArgumentError, "terms: expected a sequence"),
        (vae, BITS, {"terms": [kl(), kl(beta=2.0)]}, ArgumentError, "terms: .* two 'kl'"),
        (vae, BITS, {"terms": [kl(), factor(3)]}, ShapeError, "factor: expected 2 latents"),
        (
            vae,
            BITS,
            {"tems": [kl()]},
            ArgumentError,
            "tems: expected no such option .*samples, terms",
        ),
        (
            vae,
            BITS,
            {"objective": functools.partial(reinforce, baseline="leave_one_out")},
            ArgumentError,
            "samples: expected at least 2",
        ),
        (lambda: GAN(nice(2), MLP(2, 1)), holed(5), {}, DataError, "data, row 3"),
        (
            lambda: GAN(nice(2), MLP(2, 1)),
            torch.ones(5, 2),
            {"validation": holed(4)},
            DataError,
            "validation, row 3",
        ),
        (autoencoder, BITS, {"labelled": BITS}, ArgumentError, "labelled: expected a pair"),
        (autoencoder, BITS, {"labelled": (BITS, [0])}, DtypeError, "labelled: expected two"),
        (
            autoencoder,
            BITS,
            {"labelled": (BITS[:0], torch.zeros(0))},
            ShapeError,
            "labelled: expected at least one",
        ),
        (
            lambda: ImageClassifier((1, 8, 8), 2, channels=(4, 8), features=4),
            torch.rand(4, 64),
            {"context": torch.tensor([0, 1, 0, 0.5])},
            DataError,
            "context, row 3",
        ),
        (
            lambda: ImageClassifier((1, 8, 8), 2, channels=(4, 8), features=4),
            torch.rand(4, 64),
            {"context": torch.zeros(4), "validation": torch.rand(4, 64)},
            ContextError,
            "validation context",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_refused_before_the_first_step(
    model, data, options, error, message
):
    steps = []
    with pytest.raises(error, match=f"^{message}"):
        fit(model(), data, steps=1, callbacks=[steps.append], **options)
    assert not steps


def test_looking_at_rows_leaves_the_random_state_as_it_was():
    model, before = vae(), torch.get_rng_state()
    fit(model, BITS, steps=1)
    assert torch.equal(before, torch.get_rng_state())


def test_a_step_that_is_never_taken_is_warned_of():
    gan = WGAN(Generator(nn.Linear(4, 8), 4), MLP(8, 1), clip=0.01)
    with pytest.warns(UserWarning, match="'generator' is never taken") as warned:
        fit(gan, BITS, steps=20)
    assert [w.filename for w in warned] == [__file__]


def test_a_single_row_validates_a_gan():
    history = fit(GAN(nice(2), MLP(2, 1)), torch.randn(8, 2), validation=torch.ones(1, 2), steps=1)
    assert history.validation[0][1] > 0


def test_an_objective_brings_its_parts_to_the_dtype_of_the_model():
    history = fit(vae(), BITS, precision="64", terms=[kl(), factor(2, hidden=(4,))], steps=2)
    assert list(history.terms) == ["vae", "discriminator"]


def test_vimco_without_a_baseline_takes_one_sample():
    history = fit(
        vae(), BITS, objective=functools.partial(vimco, baseline=None), samples=1, steps=1
    )
    assert history.stopped == "steps"


def test_a_fit_does_not_go_on_with_other_terms(tmp_path):
    settings = {"steps": 2, "checkpoint": tmp_path / "fit.safetensors"}
    fit(vae(), BITS, terms=[kl()], **settings)
    fit(vae(), BITS, terms=[kl()], **settings)
    with pytest.raises(ArgumentError, match="^terms"):
        fit(vae(), BITS, terms=[kl(beta=2.0)], **settings)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (wgan, {}),
        (autoencoder, {}),
        (vae, {"terms": [kl(), dip("ii")]}),
        (vae, {"terms": [kl(), mmd()]}),
        (vae, {"terms": [kl(), total_correlation()]}),
    ],
)
def test_rows_without_weight_have_no_say(model, options):
    weights, found = torch.ones(32), []
    weights[:8] = 0
    for rows in (BITS[:8], 1 - BITS[:8]):
        torch.manual_seed(0)
        trained = model()
        x = torch.cat([rows, BITS[8:]])
        fit(trained, x, weights=weights, steps=4, batch_size=32, **options)
        found.append([p.detach().clone() for p in trained.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
