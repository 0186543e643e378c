"""Rows of latent-variable models: autoencoders, ladders, belief networks."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import tabular_data
from flowkit.estimators import log_likelihood
from flowkit.flows import BernoulliLikelihood, DiscretizedLogisticLikelihood, Likelihood
from flowkit.metrics import group_information
from flowkit.vae import VAE, HierarchicalVAE, LadderVAE, SigmoidBeliefNetwork, kl, networks
from flowkit.vae import posterior as posterior_named
from recipes.legs import Trained, train
from recipes.measured import Measured
from recipes.recipe import Recipe
from tabular_data import shapes

_SAMPLES = 5_000
_ROWS = 1_000  # test rows that the likelihood is estimated of, five thousand samples each
_LEAST = 0.01  # of a factor's entropy, that a ladder must tell to tell anything
_KNOWN = 4_000  # pictures whose factors are compared with latents


class Rows(NamedTuple):
    """Rows with their likelihood.

    Attributes:
        train: training rows.
        val: validation rows.
        test: test rows; bits are a fixed draw.
        likelihood: returns the likelihood of a decoder.
        shape: shape of an image, (channels, height, width).
        part: the part of the original data.
    """

    train: Tensor
    val: Tensor
    test: Tensor
    likelihood: Any
    shape: tuple[int, int, int]
    part: str = ""


@cache
def load(name: str) -> Rows:
    """Return rows by name."""
    if name == "mnist-bits":  # grey levels are probabilities, drawn anew whenever they are seen
        found = tabular_data.load("mnist")
        train, val, test = (_tensor(part) / 255 for part in (found.train, found.val, found.test))
        generator = torch.Generator().manual_seed(0)
        val, test = (torch.bernoulli(part, generator=generator) for part in (val, test))
        return Rows(train, val, test, _stochastic, (1, 28, 28))
    if name == "binarized_mnist":
        found = tabular_data.load(name)
        parts = [_tensor(part) for part in (found.train, found.val, found.test)]
        return Rows(*parts, BernoulliLikelihood, (1, 28, 28))
    if name == "frey":
        found = tabular_data.load(name)
        parts = [_tensor(part) for part in (found.train, found.val, found.test)]
        return Rows(*parts, DiscretizedLogisticLikelihood, (1, 28, 20))
    if name == "shapes2d":
        found = tabular_data.load(name, rows=100_000)
        parts = [torch.from_numpy(part) for part in (found.train, found.val, found.test)]
        parts = [parts[0].float(), parts[1][:2_000].float(), parts[2][:2_000].float()]
        return Rows(*parts, BernoulliLikelihood, (1, 64, 64), "110,000 of 737,280 pictures")
    raise ValueError(name)


def _tensor(part: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(part)).float()


def _stochastic() -> Likelihood:
    return BernoulliLikelihood(stochastic=True)


def train_on(
    recipe: Recipe, make: Callable[[], nn.Module], minutes: float, path: Path, **training: Any
) -> Trained:
    """Train a model, made by a function with the seed of the recipe, on the rows of the recipe."""
    rows = load(recipe.data)

    def seeded() -> nn.Module:
        torch.manual_seed(recipe.seed)
        return make()

    return train(
        seeded, rows.train, minutes, path, validation=rows.val, seed=recipe.seed, **training
    )


def make_vae(recipe: Recipe, rows: Rows) -> VAE:
    """Return an untrained autoencoder."""
    options = dict(recipe.options)
    latents, likelihood = options.pop("latents"), rows.likelihood()
    net = options.pop("net")
    row = rows.shape if net.startswith("conv") else (rows.train.shape[1],)
    nets = networks(net, row, latents, outputs=likelihood.outputs)
    q = posterior_named(
        options.pop("posterior", "normal"),
        latents,
        context_features=nets.context_features,
        **options,
    )
    return VAE(nets.encoder, nets.decoder, q, likelihood=likelihood)


def vae(recipe: Recipe, minutes: float, path: Path, split: int) -> Measured:
    """Train an autoencoder; score the ELBO, or the likelihood for rows of IWAE's paper."""
    del split
    rows, training = load(recipe.data), dict(recipe.training)
    warm_up = training.pop("warm_up", 0)
    if warm_up and training.get("objective", "elbo") == "elbo":
        training["terms"] = (kl(warm_up=warm_up),)
    trained = train_on(recipe, lambda: make_vae(recipe, rows), minutes, path, **training)
    elbo, likelihood = _bound(trained.model, rows.test), _likelihood(trained.model, rows.test)
    found = {
        "elbo": float(elbo.mean()),
        "log_likelihood": float(likelihood.mean()),
        "log_likelihood_error": float(likelihood.std() / len(likelihood) ** 0.5),
        "rows_of_the_likelihood": len(likelihood),
    }
    scores = likelihood if recipe.model == "likelihood" else elbo
    detail = f"ELBO {elbo.mean():.2f}, log-likelihood {likelihood.mean():.2f}"
    if recipe.unit == "bits/dim":
        bits = rows.test.shape[1] * np.log(2)
        scores, detail = -scores / bits, ""
    return Measured(scores, trained.notes(), rows.part, detail, found)


@torch.no_grad()
def _bound(model: Any, x: Tensor, samples: int = 5) -> Tensor:
    """Return the ELBO of each row, the mean over samples, ``(n,)``."""
    generator = torch.Generator().manual_seed(0)
    parts = [model.log_weights(part, samples, generator).mean(0) for part in x.split(200)]
    return torch.cat(parts).double()


def _likelihood(model: Any, x: Tensor) -> Tensor:
    """Return the log-likelihood of evenly spaced rows, estimated with 5,000 samples, ``(n,)``.

    Rows are evenly spaced because binarised test digits are ordered.
    """
    generator = torch.Generator().manual_seed(0)
    parts = [
        log_likelihood(model, part, samples=_SAMPLES, chunk=100, generator=generator).value
        for part in x[:: max(len(x) // _ROWS, 1)].split(50)
    ]
    return torch.cat(parts)


def belief(recipe: Recipe, minutes: float, path: Path, split: int) -> Measured:
    """Train a sigmoid belief network; score the likelihood."""
    del split
    rows = load(recipe.data)
    mean = rows.train.mean(0)

    def make() -> SigmoidBeliefNetwork:
        return SigmoidBeliefNetwork(rows.train.shape[1], mean=mean, **recipe.options)

    trained = train_on(recipe, make, minutes, path, **recipe.training)
    scores = _likelihood(trained.model, rows.test)
    return Measured(scores, trained.notes(), rows.part)


def ladder(recipe: Recipe, minutes: float, path: Path, split: int) -> Measured:
    """Train a ladder; score the ELBO, and note the KL of each ladder and known factors."""
    del split
    rows, options = load(recipe.data), dict(recipe.options)
    warm_up = options.pop("warm_up")

    def make() -> LadderVAE:
        return LadderVAE(rows.shape, likelihood=rows.likelihood(), **options)

    terms = (kl(warm_up=warm_up),)
    trained = train_on(recipe, make, minutes, path, terms=terms, **recipe.training)
    model: Any = trained.model
    with torch.no_grad():
        drawn = [model.draw(part) for part in rows.test.split(500)]
        latents = torch.cat([d.kl_of_latents for d in drawn])
    parts = latents.split(model.groups, -1)
    nats = [float(part.sum(-1).mean()) for part in parts]
    notes = trained.notes() | {"nats_of_ladders": nats}
    detail = "KL of each ladder, from the data up: " + ", ".join(f"{n:.2f}" for n in nats)
    if recipe.data == "shapes2d":
        rng = np.random.default_rng(0)
        factors = shapes.sample_factors(_KNOWN, rng)
        means = torch.cat([_represent(model, part) for part in np.array_split(factors, 20)]).numpy()
        table = np.stack(
            [group_information(means[:, model.ladder(g)], factors) for g in range(len(parts))]
        )
        notes["information"] = table.tolist()
        shares = table / _entropies()
        best = [shapes.FACTORS[row.argmax()] if row.max() > _LEAST else "nothing" for row in shares]
        detail += "; each tells most of, as a share of its entropy: " + ", ".join(best)
    return Measured(_bound(model, rows.test), notes, rows.part, detail)


@torch.no_grad()
def _represent(model: Any, factors: np.ndarray) -> Tensor:
    return model.represent(torch.from_numpy(shapes.render(factors)).float())


def _entropies() -> np.ndarray:
    return np.log(np.array(shapes.SIZES))


def hierarchy(recipe: Recipe, minutes: float, path: Path, split: int) -> Measured:
    """Train a hierarchy; score the ELBO, and note the contribution of the upper layers."""
    del split
    rows = load(recipe.data)

    def make() -> HierarchicalVAE:
        width = rows.train.shape[1]
        return HierarchicalVAE((width,), likelihood=rows.likelihood(), **recipe.options)

    trained = train_on(recipe, make, minutes, path, **recipe.training)
    model: Any = trained.model
    with torch.no_grad():
        drawn = model.draw(rows.test[:2_000])
        nats = [float(d.mean()) for d in drawn.divergences]
        errors = [
            float((model.reconstruct(rows.test[:2_000], k) - rows.test[:2_000]).abs().sum(1).mean())
            for k in range(1, len(model.sizes) + 1)
        ]
    notes: dict[str, Any] = {"nats_of_layers": nats, "pixels_off_after_layers": errors}
    detail = (
        "KL of each layer, from the data up: "
        + ", ".join(f"{n:.2f}" for n in nats)
        + "; pixels off after climbing so many layers: "
        + ", ".join(f"{e:.1f}" for e in errors)
    )
    return Measured(_bound(model, rows.test), trained.notes() | notes, rows.part, detail)


__all__ = ["belief", "hierarchy", "ladder", "load", "make_vae", "train_on", "vae"]
