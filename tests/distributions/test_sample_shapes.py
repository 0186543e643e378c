"""Samplers of models draw rows of the shape of those that they were fitted to."""

import pytest
import torch
from torch import nn

from flowkit.errors import ArgumentError
from flowkit.flows import (
    DiscretizedLogisticLikelihood,
    MixtureOfFlows,
    StandardNormal,
    binary_made,
    maf,
    nice,
)
from flowkit.gan import (
    GAN,
    WGAN,
    AdversarialAutoencoder,
    Factorized,
    FlowGAN,
    Generator,
    PixelGANAutoencoder,
)
from flowkit.nets import MLP, PixelCNN
from flowkit.training import fit
from flowkit.vae import (
    VAE,
    HierarchicalVAE,
    LadderVAE,
    SigmoidBeliefNetwork,
    networks,
    posterior,
)
from flowkit.vae.networks import Flat

IMAGE, VECTOR = (1, 4, 4), (16,)


def vae(shape, likelihood="bernoulli", **options):
    outputs = getattr(likelihood, "outputs", 1)
    nets = networks("mlp-small", shape, 2, outputs=outputs)
    q = posterior("normal", 2, context_features=nets.context_features)
    return VAE(nets.encoder, nets.decoder, q, likelihood=likelihood, **options)


def critic():
    return Flat(MLP(16, 1, (8,)))


def image_generator():
    return Generator(nn.Sequential(nn.Linear(3, 16), nn.Unflatten(1, IMAGE)), 3)


MODELS = {
    "vae": (lambda: vae(IMAGE), IMAGE),
    "vae of vectors": (lambda: vae(IMAGE), VECTOR),
    "vae of several parameters": (lambda: vae(IMAGE, DiscretizedLogisticLikelihood(2)), IMAGE),
    "ladder": (lambda: LadderVAE(IMAGE, (2, 1), hidden=(8, 8)), IMAGE),
    "ladder of vectors": (lambda: LadderVAE(IMAGE, (2, 1), hidden=(8, 8)), VECTOR),
    "hierarchy": (lambda: HierarchicalVAE(IMAGE, (3, 2), hidden=(8,)), IMAGE),
    "belief network": (lambda: SigmoidBeliefNetwork(16, (4,)), VECTOR),
    "gan": (lambda: GAN(image_generator(), critic()), IMAGE),
    "wgan": (lambda: WGAN(image_generator(), critic()), IMAGE),
    "flow gan": (lambda: FlowGAN(nice(16, hidden=(8,)), MLP(16, 1, (8,))), VECTOR),
    "autoencoder": (
        lambda: AdversarialAutoencoder(
            MLP(16, 3, (8,)), Factorized(MLP(3, 16, (8,)), IMAGE, codes=3), MLP(3, 1), categories=3
        ),
        IMAGE,
    ),
    "pixel autoencoder": (
        lambda: PixelGANAutoencoder(
            MLP(16, 3, (8,)),
            PixelCNN(IMAGE, hidden=4, layers=1, context_features=3),
            MLP(3, 1),
            categories=3,
        ),
        IMAGE,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_sample_has_the_shape_of_the_rows_of_the_fit(name):
    make, row = MODELS[name]
    model = make()
    x = torch.rand(8, *row).round()
    fit(model, x, steps=5, batch_size=8)
    drawn = model.sample(5, torch.Generator().manual_seed(0))
    assert drawn.shape == (5, *row)
    if hasattr(model, "reconstruct"):
        assert model.reconstruct(x[:5]).shape == drawn.shape


def test_a_vae_that_is_not_fitted_draws_the_rows_that_it_is_made_for():
    fitted = vae(IMAGE)
    fit(fitted, torch.rand(8, *IMAGE).round(), steps=2, batch_size=8)
    loaded = vae(IMAGE, row=IMAGE)
    loaded.load_state_dict(fitted.state_dict())
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    assert torch.equal(loaded.sample(5, generators[0]), fitted.sample(5, generators[1]))
    assert vae(IMAGE).sample(5).shape == (5, 16)  # of whose rows nothing is known
    assert LadderVAE(IMAGE, (2, 1), hidden=(8, 8)).sample(5).shape == (5, *IMAGE)
    with pytest.raises(ArgumentError, match="^row: expected"):
        vae(IMAGE, row=(1, 0, 4))


def test_rows_of_latents_have_that_shape_too():
    model = LadderVAE(IMAGE, (2, 1), hidden=(8, 8))
    assert model.vary(1, torch.zeros(3), torch.zeros(6, 1)).shape == (6, *IMAGE)
    assert model.decode(torch.zeros(6, 3)).shape == (1, 6, *IMAGE)


def test_an_integer_is_a_sample_shape_everywhere():
    assert binary_made(3).sample(3).shape == (3, 3)
    assert MixtureOfFlows([maf(2)]).sample(3).shape == (3, 2)
    assert StandardNormal(2).sample(3).shape == (3, 2)
