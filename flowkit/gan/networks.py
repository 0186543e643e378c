"""Generators and critics with common architectures, by name."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowkit._checks import check_choice, check_count, check_row, check_widths
from flowkit.errors import ArgumentError, ShapeError
from flowkit.gan.generators import Generator
from flowkit.nets import MLP
from flowkit.nets.convnet import check_image

_ACTIVATIONS = {"none": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


class Networks(NamedTuple):
    """A generator with the matching critic.

    Attributes:
        generator: a `Generator` of rows ``(n, *row)``.
        critic: maps rows, of shape ``row`` or flat, to scores ``(n, 1)``.
    """

    generator: Generator
    critic: nn.Module


def networks(
    name: str,
    row: Sequence[int],
    latents: int,
    *,
    activation: str = "none",
    widths: Sequence[int] | None = None,
    hidden: Sequence[int] = (),
) -> Networks:
    """Return a generator and a critic by name.

    Args:
        name: "mlp" (ReLU, 3 x 512, as for the toy data of WGAN-GP), "dcgan" (convolutions of stride
            2) or "resnet" (residual blocks). Only convolutional generators have batch norm.
        row: shape of a row; (channels, height, width) for "dcgan" and "resnet".
        latents: number of latents.
        activation: output activation of the generator: "none", "sigmoid" or "tanh".
        widths: widths of an "mlp"; otherwise the channels, from the image inwards, with one halving
            of the image for each; by default (64, 128).
        hidden: widths of additional dense layers of "dcgan" and "resnet", as in InfoGAN, such as
            (512,). Without them, the score of a "dcgan" critic is a sum over patches, which detects
            global errors poorly.

    Raises:
        ArgumentError: an unknown name, an image side that cannot be halved for each width, or
            hidden layers for "mlp".

    Reference: Gulrajani et al., *Improved training of Wasserstein GANs*, 2017, appendix; Radford,
    Metz and Chintala, *Unsupervised representation learning with DCGANs*, 2015; Chen et al.,
    *InfoGAN*, 2016, appendix C.1.

    Example:
        >>> nets = networks("dcgan", (1, 28, 28), 16, activation="sigmoid", widths=(8, 16))
        >>> nets.critic(nets.generator.sample((5,))).shape
        torch.Size([5, 1])
    """
    check_choice("name", name, ("mlp", "dcgan", "resnet"))
    check_count("latents", latents)
    last = _ACTIVATIONS[check_choice("activation", activation, tuple(_ACTIVATIONS))]()
    row = check_row(row)
    if widths is not None:
        check_widths("widths", widths)
    if name == "mlp":
        if hidden:
            raise ArgumentError("hidden", "() for 'mlp', whose layers are widths", hidden)
        widths = widths or (512, 512, 512)
        inner = nn.Sequential(_mlp(latents, math.prod(row), widths), nn.Unflatten(1, row), last)
        outer = nn.Sequential(nn.Flatten(), _mlp(math.prod(row), 1, widths))
        return Networks(Generator(inner, latents), outer)
    channels = check_widths("widths", widths or (64, 128))
    image = check_image(row, len(channels))
    blocks = _dcgan if name == "dcgan" else _resnet
    up, down = blocks(image, latents, channels, check_widths("hidden", hidden) if hidden else ())
    return Networks(Generator(nn.Sequential(up, last), latents), _Images(image, down))


class _Images(nn.Module):
    """A network of images, also applicable to flat rows."""

    def __init__(self, image: tuple[int, int, int], net: nn.Module) -> None:
        super().__init__()
        self.image, self.net = image, net

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, *image)``, or flat rows, to the output of the network."""
        if x.shape[1:].numel() != math.prod(self.image):
            raise ShapeError("x", f"images {self.image}, flat or not", tuple(x.shape))
        out: Tensor = self.net(x.reshape(-1, *self.image))
        return out


def _mlp(width: int, outputs: int, hidden: Sequence[int]) -> MLP:
    net = MLP(width, outputs, hidden)
    for layer in net.hidden:
        nn.init.kaiming_uniform_(layer.get_parameter("weight"), nonlinearity="relu")
    return net


_Pair = tuple[nn.Module, nn.Module]
_Sizes = tuple[int, ...]


def _dcgan(image: _Sizes, latents: int, channels: _Sizes, hidden: _Sizes) -> _Pair:
    top, side = channels[-1], [size // 2 ** len(channels) for size in image[1:]]
    width, up = _outwards(latents, hidden)
    up += [nn.Linear(width, top * side[0] * side[1], bias=False), nn.Unflatten(1, (top, *side))]
    for a, b in zip(reversed(channels), [*reversed(channels[:-1]), image[0]], strict=True):
        up += [nn.BatchNorm2d(a), nn.ReLU(), nn.ConvTranspose2d(a, b, 4, 2, 1)]
    down: list[nn.Module] = []
    for a, b in zip((image[0], *channels), channels, strict=False):
        down += [nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU(0.2)]
    down += [nn.Flatten(), *_inwards(top * side[0] * side[1], hidden)]
    for layer in up:
        if isinstance(layer, nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
    return nn.Sequential(*up), nn.Sequential(*down)


def _resnet(image: _Sizes, latents: int, channels: _Sizes, hidden: _Sizes) -> _Pair:
    top, side = channels[-1], [size // 2 ** len(channels) for size in image[1:]]
    width, up = _outwards(latents, hidden)
    up += [nn.Linear(width, top * side[0] * side[1]), nn.Unflatten(1, (top, *side))]
    for a, b in zip(reversed(channels), [*reversed(channels[:-1]), channels[0]], strict=True):
        up.append(_Block(a, b, _doubled, norm=True))
    up += [nn.BatchNorm2d(channels[0]), nn.ReLU(), nn.Conv2d(channels[0], image[0], 3, padding=1)]
    down: list[nn.Module] = [nn.Conv2d(image[0], channels[0], 3, padding=1)]
    for a, b in zip((channels[0], *channels), channels, strict=False):
        down.append(_Block(a, b, _halved, norm=False))
    down += [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), *_inwards(top, hidden)]
    return nn.Sequential(*up), nn.Sequential(*down)


def _outwards(width: int, hidden: _Sizes) -> tuple[int, list[nn.Module]]:
    """Return the last width and the dense layers of a generator."""
    layers: list[nn.Module] = []
    for size in reversed(hidden):
        layers += [nn.Linear(width, size, bias=False), nn.BatchNorm1d(size), nn.ReLU()]
        width = size
    return width, layers


def _inwards(width: int, hidden: _Sizes) -> list[nn.Module]:
    """Return the dense layers of a critic, including the output layer."""
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(width, size), nn.LeakyReLU(0.2)]
        width = size
    return [*layers, nn.Linear(width, 1)]


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2)


def _halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2)


class _Block(nn.Module):
    """A residual block: two convolutions with resizing, and a resized skip connection."""

    def __init__(
        self, inputs: int, outputs: int, resize: Callable[[Tensor], Tensor], *, norm: bool
    ) -> None:
        super().__init__()
        self.resize = resize
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(size) if norm else nn.Identity() for size in (inputs, outputs)
        )
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs, H, W)`` to ``(n, outputs, 2 H, 2 W)``, or to ``H / 2, W / 2``."""
        grows = self.resize is _doubled
        h = torch.relu(self.norms[0](x))
        h = self.first(self.resize(h) if grows else h)
        h = self.second(torch.relu(self.norms[1](h)))
        out: Tensor = (h if grows else self.resize(h)) + self.skip(self.resize(x))
        return out
