"""Rows of PixelCNNs, Wasserstein GANs, Flow-GANs and adversarial autoencoders."""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import tabular_data
from flowkit.flows import (
    BernoulliLikelihood,
    Flow,
    PixelDistribution,
    binary_made,
    nice,
    real_nvp,
)
from flowkit.gan import (
    GAN,
    WGAN,
    AdversarialAutoencoder,
    DequantizedTable,
    Factorized,
    FlowGAN,
    ImageClassifier,
    PixelGANAutoencoder,
    networks,
    spectral_norm_,
)
from flowkit.gan.snapshots import draw
from flowkit.images import PixelMap
from flowkit.metrics import (
    cluster_classes,
    energy_distance,
    frechet_distance,
    modes_held,
    sliced_wasserstein,
)
from flowkit.metrics.pictures import image_grid, save_image
from flowkit.metrics.samples import Held
from flowkit.nets import MLP, PixelCNN
from flowkit.schema import Schema
from flowkit.training import fit
from recipes.latent import load, train_on
from recipes.legs import Trained, train
from recipes.measured import Measured
from recipes.models import Scaled, nice_of_pixels
from recipes.recipe import Recipe

IMAGE, CLASSES = (1, 28, 28), 10
_DRAWN = 1_000  # samples that a classifier labels
_COMPARED = 2_000  # rows and samples whose distance is measured
_SHOWN = 20  # samples of a row of a picture
_LOOK = 2_000  # steps between two points of a curve
_CLASSIFIER_STEPS = 4_000


def pixels(recipe: Recipe, minutes: float, path: Path, split: int) -> Measured:
    """Train a distribution of bits by maximum likelihood."""
    del split
    rows, options = load(recipe.data), dict(recipe.options)

    def make() -> nn.Module:
        if recipe.model == "binary-made":
            return binary_made(math.prod(IMAGE), **options)
        return _Flat(PixelDistribution(PixelCNN(IMAGE, **options)))

    trained = train_on(recipe, make, minutes, path, **recipe.training)
    with torch.no_grad():
        scores = torch.cat([trained.model.log_prob(part) for part in rows.test.split(500)])
    return Measured(scores.double(), trained.notes(), rows.part)


class _Flat(nn.Module):
    """A distribution of flat rows, by a distribution of images."""

    def __init__(self, images: PixelDistribution) -> None:
        super().__init__()
        self.images = images

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-probability of rows."""
        return self.images.log_prob(x.reshape(-1, *IMAGE))


def codes(recipe: Recipe, minutes: float, path: Path, split: int) -> Measured:
    """Train an autoencoder with a categorical code, with or without labels; score its errors."""
    del split
    found, options = tabular_data.load(recipe.data), dict(recipe.options)
    parts = {p: _images(getattr(found, p)) / 255 for p in ("train", "val", "test")}
    labels = {p: torch.from_numpy(found.labels[p].astype(np.int64)) for p in parts}
    few = options.pop("labels", 0)
    more: dict[str, Any] = {}
    if few:
        chosen = torch.cat(
            [(labels["train"] == c).nonzero()[: few // CLASSES, 0] for c in range(CLASSES)]
        )
        more["labelled"] = (parts["train"][chosen], labels["train"][chosen])

    def errors(model: Any, part: str) -> tuple[Tensor, int]:
        """Return the mask of misclassified rows of a part, and the number of used categories."""
        clusters = model.clusters(parts[part].round()).numpy()
        classes = {c: c for c in range(CLASSES)}  # with labels, categories are classes
        if not few:
            known = clusters if part == "val" else model.clusters(parts["val"].round()).numpy()
            classes = cluster_classes(known, labels["val"].numpy())
        said = np.array([classes.get(c, -1) for c in clusters])
        return torch.from_numpy(said) != labels[part], len(np.unique(clusters))

    def held_out(model: nn.Module) -> float:
        model.eval()
        wrong, _ = errors(model, "val")
        model.train()
        return 100 * float(wrong.double().mean())

    curve = _Curve(path, held_out, every=max(_LOOK // 4, 1), drawing=False)
    trained = train(
        lambda: _autoencoder(recipe, **options),
        parts["train"],
        minutes,
        path,
        seed=recipe.seed,
        callbacks=[curve],
        **more,
        **recipe.training,
    )
    wrong, used = errors(trained.model, "test")
    nats = np.mean(trained.history.terms["reconstruction"]["reconstruction"][-500:])
    detail = f"{used} categories in use, {nats:.1f} nats given the code"
    notes = trained.notes() | {"curve": curve.points, "categories_in_use": used}
    return Measured(100 * wrong.double(), notes, found.part, detail)


def _autoencoder(
    recipe: Recipe, *, categories: int, latents: int = 0, units: int = 500, **decoder: Any
) -> nn.Module:
    torch.manual_seed(recipe.seed)
    width = categories + latents
    # So every category is in use, and the critic does not tell codes at a glance.
    encoder = nn.Sequential(MLP(math.prod(IMAGE), width, (units, units)), nn.BatchNorm1d(width))
    critic = spectral_norm_(MLP(width, 1, (units, units)))
    grey = BernoulliLikelihood(stochastic=True)
    sizes = {"categories": categories, "latents": latents}
    if recipe.model == "pixelgan":
        cnn = PixelCNN(IMAGE, context_features=width, **decoder)
        return PixelGANAutoencoder(encoder, cnn, critic, likelihood=grey, **sizes)
    net = MLP(width, math.prod(IMAGE), (units, units))
    factorized = Factorized(net, IMAGE, codes=width, likelihood=grey)
    return AdversarialAutoencoder(encoder, factorized, critic, **sizes)


def images(recipe: Recipe, minutes: float, path: Path, split: int) -> Measured:
    """Train a Wasserstein GAN of images; score its samples by a classifier of the same data."""
    del split
    found, options = tabular_data.load(recipe.data), dict(recipe.options)
    x, test = (_images(part) / 255 for part in (found.train, found.test))
    judge, error = classifier(recipe.data, path.parent)
    with torch.no_grad():
        real = judge.features(test[:_COMPARED])
    sizes = {name: options.pop(name) for name in ("widths", "hidden") if name in options}
    net, latents = options.pop("net"), options.pop("latents")

    def make() -> GAN:
        torch.manual_seed(recipe.seed)
        return WGAN(*networks(net, IMAGE, latents, activation="sigmoid", **sizes), **options)

    curve = _Curve(
        path,
        lambda model: frechet_distance(real, judge.features(draw(model, _COMPARED))),
    )
    trained = train(make, x, minutes, path, seed=recipe.seed, callbacks=[curve], **recipe.training)
    model: Any = trained.model
    said = judge.judge(draw(model, _DRAWN))
    with torch.no_grad():
        distance = frechet_distance(real, judge.features(draw(model, _COMPARED)))
    rows = [*curve.drawn[-7:], draw(model, _SHOWN)]
    grid = torch.stack(rows).reshape(len(rows), _SHOWN, *IMAGE[1:])
    save_image(image_grid(grid.numpy()), path.with_suffix(".png"))
    detail = (
        f"share that a classifier ({error:.1%} errors on the test set) is more than 90 % sure of; "
        f"classes from {said.shares.min():.1%} to {said.shares.max():.1%}; distance in its "
        f"features {distance:.2f}"
    )
    notes = trained.notes() | {"curve": curve.points, "shares": said.shares.tolist()}
    return Measured(torch.tensor([100 * said.confident]), notes, found.part, detail)


class _Curve:
    """Points of a curve, stored next to the checkpoint, so that a resumed row continues it."""

    def __init__(
        self, path: Path, measure: Any, *, every: int | None = None, drawing: bool = True
    ) -> None:
        self._file, self._measure = path.with_suffix(".curve"), measure
        self._every, self._drawing = every or _LOOK, drawing
        self.points = json.loads(self._file.read_text()) if self._file.exists() else []
        self.drawn: list[Tensor] = []  # samples at those points, of this process alone

    def __call__(self, state: Any) -> None:
        """Add a point at regular steps; a callback of `fit`."""
        if state.step % self._every == 0:
            with torch.no_grad():
                point = [state.step, self._measure(state.model)]
            if self._drawing:
                self.drawn.append(draw(state.model, _SHOWN))
            # What a leg that broke off had seen is seen again.
            self.points = [p for p in self.points if p[0] < state.step] + [point]
            self._file.write_text(json.dumps(self.points))


def classifier(data: str, folder: Path) -> tuple[ImageClassifier, float]:
    """Return a classifier of the images of a data set, and its error on test rows."""
    found = tabular_data.load(data)
    torch.manual_seed(0)
    judge = ImageClassifier(IMAGE, CLASSES)
    labels = {
        p: torch.from_numpy(found.labels[p].astype(np.int64)) for p in ("train", "val", "test")
    }
    fit(
        judge,
        _images(found.train) / 255,
        context=labels["train"],
        validation=(_images(found.val) / 255, labels["val"]),
        steps=_CLASSIFIER_STEPS,
        batch_size=128,
        checkpoint=folder / f"judge-{data}.safetensors",
        progress=False,
    )
    return judge, judge.error(_images(found.test) / 255, labels["test"])


def flow_gan(recipe: Recipe, minutes: float, path: Path, split: int) -> Measured:
    """Train a flow by likelihood, against a critic, or by both; score the likelihood."""
    del split
    x, test, slope, part = _real_rows(recipe.data)
    options = dict(recipe.options)
    likelihood, adversarial = options.pop("weights")
    critic_steps = options.pop("critic_steps", 5)

    def make() -> FlowGAN:
        torch.manual_seed(recipe.seed)
        flow = _flow(recipe, x, options)
        critic = (
            networks("dcgan", IMAGE, 1, widths=(32, 64)).critic
            if recipe.data == "mnist"
            else MLP(x.shape[1], 1, (256, 256))
        )
        return FlowGAN(
            flow,
            critic,
            likelihood,
            adversarial_weight=adversarial,
            one_sided=True,
            critic_steps=critic_steps,
        )

    def nats(model: Any) -> float:
        return float(model.log_prob(test[:_COMPARED]).double().mean() + slope[:_COMPARED].mean())

    curve = _Curve(path, nats)
    trained: Trained = train(
        make, x, minutes, path, seed=recipe.seed, callbacks=[curve], **recipe.training
    )
    model: Any = trained.model
    with torch.no_grad():
        scores = torch.cat([model.log_prob(part) for part in test.split(1_000)]).double() + slope
    drawn, real = draw(model, _COMPARED), test[:_COMPARED]
    distances = {
        "sliced_wasserstein": float(
            sliced_wasserstein(real, drawn, generator=torch.Generator().manual_seed(0))
        ),
        "energy_distance": float(energy_distance(real, drawn)),
        "critic_distance": model.estimate(real, torch.Generator().manual_seed(0)).distance,
    }
    if recipe.data == "mnist":
        judge, _ = classifier("mnist", path.parent)
        with torch.no_grad():
            features = [judge.features(rows.clamp(0, 1)) for rows in (real, drawn)]
        distances["feature_distance"] = frechet_distance(*features)
    detail = "samples: " + ", ".join(
        f"{name.replace('_', ' ')} {value:.3g}" for name, value in distances.items()
    )
    return Measured(scores, trained.notes() | {"curve": curve.points}, part, detail, distances)


def _flow(recipe: Recipe, x: Tensor, options: dict[str, Any]) -> nn.Module:
    if recipe.data != "mnist":
        return real_nvp(x.shape[1], **options)
    mean, deviation = x.mean(0), x.std(0)
    flow: Flow = nice_of_pixels(nice(x.shape[1], **options), deviation)
    return Scaled(flow, mean, deviation)


@cache
def _real_rows(data: str) -> tuple[Tensor, Tensor, Tensor, str]:
    """Return training rows, test rows, the log-determinant of the encoding, and the part."""
    found = tabular_data.load(data)
    if data == "mnist":
        generator, grey = torch.Generator().manual_seed(0), PixelMap()
        x, test = (
            grey.encode(torch.from_numpy(np.array(part)).float(), generator=generator).float()
            for part in (found.train, found.test)
        )
        return x, test, torch.zeros(len(test), dtype=torch.float64), found.part
    space = DequantizedTable(Schema.infer(found.train), found.train)
    x, (test, slope) = space.encode(found.train).x, space.encode(found.test)
    return x, test, slope, found.part


def _images(part: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(part)).float().reshape(-1, *IMAGE)


SPREAD = 0.05


def modes(recipe: Recipe, minutes: float, path: Path, split: int) -> Measured:
    """Train a GAN of 25 Gaussians with spacing 1; count the covered modes."""
    del split
    generator = torch.Generator().manual_seed(recipe.seed)
    centres = torch.randint(5, (100_000, 2), generator=generator) - 2.0
    x = centres + SPREAD * torch.randn(centres.shape, generator=generator)

    def make() -> GAN:
        torch.manual_seed(recipe.seed)
        nets = networks("mlp", (2,), 2, widths=recipe.options["widths"])
        if recipe.model == "gan":
            return GAN(*nets)
        return WGAN(*nets, penalty=0.1, critic_steps=2, one_sided=True)

    curve = _Curve(path, lambda model: 100 * held(draw(model, 10_000))[1])
    trained = train(make, x, minutes, path, seed=recipe.seed, callbacks=[curve], **recipe.training)
    kept, near = held(draw(trained.model, 20_000, seed=1))
    detail = f"share of samples within three deviations of a mode; {kept} of 25 modes held"
    return Measured(
        torch.tensor([100 * near]), trained.notes() | {"curve": curve.points}, detail=detail
    )


def held(samples: Tensor) -> Held:
    """Return the number of modes, out of 25, that samples cover, and the share near a mode."""
    axis = torch.arange(5) - 2.0
    return modes_held(samples, torch.cartesian_prod(axis, axis), 3 * SPREAD)
