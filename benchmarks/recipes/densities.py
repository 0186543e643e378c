"""Rows of densities: flows of any library, Gaussians, `FlowDensity`."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowkit.images import class_marginal
from recipes.data import CLASSES, Data, load
from recipes.legs import train
from recipes.measured import Measured
from recipes.models import Noisy, gaussian_log_prob, model_of
from recipes.recipe import Recipe

_CHUNK = 2_000
_WORST = 10  # rows that a mean should not hang on


def gaussian(recipe: Recipe, minutes: float, path: Path, split: int) -> Measured:
    """Score the maximum-likelihood Gaussian, or one for each class."""
    del minutes, path
    data = load(recipe.data, split)
    rows = data.train
    if data.pixels is not None:
        rows = data.pixels.encode(rows, generator=torch.Generator().manual_seed(1))
    if recipe.conditional:
        classes = data.labels[0].argmax(1)
        each = [gaussian_log_prob(rows[classes == c], data.test) for c in range(CLASSES)]
        scores = torch.logsumexp(torch.stack(each), dim=0) - math.log(CLASSES)
    else:
        scores = gaussian_log_prob(rows, data.test)
    return _measured(scores, data, {})


def table(recipe: Recipe, minutes: float, path: Path, split: int) -> Measured:
    """Fit `FlowDensity`, with the budget of its effort."""
    from flowkit import FlowDensity

    del minutes, path
    data = load(recipe.data, split)
    rows = torch.cat([data.train, data.val]).double().numpy()
    density = FlowDensity(random_state=0, **recipe.options).fit(rows)
    scores = torch.from_numpy(density.score_samples(data.test.double().numpy()))
    return _measured(scores, data, {"members": density.members_})


def flow(recipe: Recipe, minutes: float, path: Path, split: int) -> Measured:
    """Train a flow by maximum likelihood."""
    data = load(recipe.data, split)
    labels = data.labels if recipe.conditional else (None, None)

    trained = train(
        _maker(recipe, data),
        data.train,
        minutes,
        path,
        context=labels[0],
        validation=(data.val,) if labels[1] is None else (data.val, labels[1]),
        **recipe.training,
    )
    model = _density(trained.model)
    with torch.no_grad():
        parts = [
            class_marginal(model, part, CLASSES) if recipe.conditional else model.log_prob(part)
            for part in data.test.split(_CHUNK)
        ]
    return _measured(torch.cat(parts).double(), data, trained.notes())


def trained_flow(recipe: Recipe, path: Path) -> Any:
    """Return the flow of a row with the weights of its last checkpoint."""
    data = load(recipe.data)

    make = _maker(recipe, data)
    trained = train(make, data.train, 0.0, path, validation=(data.val,), **recipe.training)
    return _density(trained.model)


def _maker(recipe: Recipe, data: Data) -> Callable[[], torch.nn.Module]:
    def make() -> torch.nn.Module:
        torch.manual_seed(0)
        model = model_of(recipe, data)
        return model if data.pixels is None else Noisy(model, data.pixels)

    return make


def _density(model: Any) -> Any:
    """Return the flow of pixels, without the noise of levels."""
    return model.flow if isinstance(model, Noisy) else model


def _measured(scores: Tensor, data: Data, notes: dict[str, Any]) -> Measured:
    extra, detail = {}, ""
    if data.pixels is not None:
        bits = data.pixels.bits_per_dimension(scores, data.test)
        extra["bits_per_dimension"] = float(bits.mean())
    without = float(scores.sort().values[_WORST:].mean())
    if without > scores.mean() + 1:  # a nat of the mean hangs on a handful of rows: say so
        extra[f"without_the_{_WORST}_worst"] = without
        detail = f"{without:.2f} without the {_WORST} least likely test rows"
    return Measured(scores, notes, data.part, detail, extra)
