"""Models of the rows, as functions of the numbers of features and classes."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowkit.flows import Flow, made, made_mog, maf, maf_mog, nice, nsf, real_nvp
from flowkit.images import PixelMap
from flowkit.training import Batch, Step
from flowkit.transforms import Coupling
from recipes.data import CLASSES, Data
from recipes.recipe import Recipe


def _zuko(name: str) -> Callable[..., Any]:
    def make(features: int, context_features: int = 0, **options: Any) -> Any:
        import zuko

        flow = getattr(zuko.flows, name)(features, context_features, **options)
        return _Foreign(lambda x, context: flow(context).log_prob(x), flow)

    return make


def _nflows(name: str) -> Callable[..., Any]:
    def make(features: int, **options: Any) -> Any:
        import nflows.flows

        flow = getattr(nflows.flows, name)(features=features, **options)
        return _Foreign(lambda x, context: flow.log_prob(x, context), flow)

    return make


def _nflows_nsf(features: int, layers: int = 5, **options: Any) -> Any:
    """Return the NSF of nflows, composed as in the scripts of its authors."""
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.transforms import (
        CompositeTransform,
        MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
        ReversePermutation,
    )

    stack = [
        layer
        for _ in range(layers)
        for layer in (
            MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                features, tails="linear", tail_bound=5.0, **options
            ),
            ReversePermutation(features),
        )
    ]
    flow = Flow(CompositeTransform(stack), StandardNormal([features]))
    return _Foreign(lambda x, context: flow.log_prob(x, context), flow)


class _Foreign(torch.nn.Module):
    """A flow of another library, with the interface of flowkit."""

    def __init__(self, log_prob: Callable[..., Tensor], flow: torch.nn.Module) -> None:
        super().__init__()
        self.flow, self._log_prob = flow, log_prob

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of rows."""
        return self._log_prob(x, context)


class Scaled(torch.nn.Module):
    """A flow of any library over ``(x - mean) / deviation``.

    Args:
        flow: has ``log_prob(x, context)``, and ``sample`` if samples are drawn.
        mean: mean of each column.
        deviation: standard deviation of each column.
    """

    def __init__(self, flow: torch.nn.Module, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.flow = flow
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of rows in the units of the data."""
        z = (x - self.mean) / self.deviation
        return self.flow.log_prob(z, context) - self.deviation.log().sum()

    forward = log_prob

    def sample(self, *args: Any, **kwargs: Any) -> Tensor:
        """Draw rows in the units of the data."""
        return self.mean + self.deviation * self.flow.sample(*args, **kwargs)


class _Unscaled(torch.nn.Module):
    """A conditioner of centred columns in their original scale."""

    def __init__(self, net: torch.nn.Module, deviation: Tensor) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("deviation", deviation)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the network's output for ``x``, ``(*batch, features)``."""
        return self.net(x * self.deviation, context)


def nice_of_pixels(flow: Flow, deviation: Tensor) -> Flow:
    """Make the networks of NICE read unscaled pixels, and shift scaled pixels.

    Most pixels are almost always black, with a tiny standard deviation. As inputs, scaled pixels of
    that kind are noise of the size of the image. As outputs, unscaled pixels make any step of the
    optimiser too large. The family of densities is unchanged.
    """
    for layer in flow.transform.transforms:
        if isinstance(layer, Coupling):
            layer.conditioner = _Unscaled(layer.conditioner, deviation[layer.passed])
    return flow


MODELS: dict[str, Callable[..., Any]] = {
    "made": made,
    "made-mog": made_mog,
    "maf": maf,
    "maf-mog": maf_mog,
    "real-nvp": real_nvp,
    "nice": nice,
    "nsf": nsf,
    "zuko-maf": _zuko("MAF"),
    "zuko-nsf": _zuko("NSF"),
    "zuko-gmm": _zuko("GMM"),
    "nflows-maf": _nflows("MaskedAutoregressiveFlow"),
    "nflows-nsf": _nflows_nsf,
}


def model_of(recipe: Recipe, data: Data) -> Any:
    """Return the untrained model of a row, for unscaled data."""
    context = {"context_features": CLASSES} if recipe.conditional else {}
    flow = MODELS[recipe.model](data.train.shape[1], **context, **recipe.options)
    if not recipe.scale:
        return flow
    mean, deviation = data.moments()
    if recipe.scale == "one":
        deviation = deviation.square().mean().sqrt().expand_as(mean).clone()
    elif recipe.model == "nice":
        flow = nice_of_pixels(flow, deviation)
    return Scaled(flow, mean, deviation)


class Noisy(torch.nn.Module):
    """A flow of images, trained on levels with new noise in each batch."""

    def __init__(self, flow: torch.nn.Module, pixels: PixelMap) -> None:
        super().__init__()
        self.flow, self.pixels = flow, pixels

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of levels with noise of a fixed seed, as batch norm needs."""
        generator = torch.Generator().manual_seed(0)
        return self.flow(self.pixels.encode(x, generator=generator).float(), context)

    def training_steps(self) -> dict[str, Step]:
        """Return the training step: maximum likelihood."""
        return {"likelihood": Step(self.flow.parameters(), self._loss)}

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the negative log-likelihood of rows with fixed noise."""
        del generator
        return {"nll": -self.flow.log_prob(batch.x, batch.context).mean()}

    def _loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        x = self.pixels.encode(batch.x, generator=generator).float()
        return {"nll": -self.flow.log_prob(x, batch.context).mean()}


def gaussian_log_prob(fitted: Tensor, x: Tensor) -> Tensor:
    """Return the log-density of rows under the maximum-likelihood Gaussian of others, ``(n,)``."""
    fitted, x = fitted.double(), x.double()
    mean = fitted.mean(0)
    offset = fitted - mean
    root = torch.linalg.cholesky(offset.T @ offset / len(fitted))
    z = torch.linalg.solve_triangular(root, (x - mean).T, upper=False)
    constant = 0.5 * x.shape[1] * math.log(2 * math.pi) + root.diagonal().log().sum()
    return -0.5 * z.square().sum(0) - constant
