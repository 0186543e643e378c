"""Convolutional networks: encoders of images to vectors, and decoders."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from flowkit._checks import check_count, check_widths
from flowkit.errors import ArgumentError, ShapeError


class ConvEncoder(nn.Module):
    """Convolutions of stride 2, each halving an image, then linear layers.

    Args:
        image: (channels, height, width) of an image; rows may be flat.
        out_features: width of the output.
        channels: channels of each convolution (4 x 4, stride 2).
        hidden: widths of the hidden linear layers.

    Raises:
        ArgumentError: height or width cannot be halved by every convolution.

    Example:
        >>> import torch
        >>> ConvEncoder((1, 64, 64), 20)(torch.zeros(2, 4096)).shape
        torch.Size([2, 20])
    """

    def __init__(
        self,
        image: Sequence[int],
        out_features: int,
        *,
        channels: Sequence[int] = (32, 32, 64, 64),
        hidden: Sequence[int] = (256,),
    ) -> None:
        super().__init__()
        self.image = check_image(image, len(check_widths("channels", channels)))
        layers: list[nn.Module] = []
        for a, b in pairwise((self.image[0], *channels)):
            layers += [nn.Conv2d(a, b, 4, 2, 1), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        side = [size // 2 ** len(channels) for size in self.image[1:]]
        self.linear = _linear((channels[-1] * side[0] * side[1], *hidden, out_features))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, *image)``, or flat rows, to ``(n, out_features)``."""
        channels, height, width = self.image
        if x.shape[1:].numel() != channels * height * width:
            raise ShapeError("x", f"images {self.image}, flat or not", tuple(x.shape))
        out: Tensor = self.linear(self.convolutions(x.reshape(-1, *self.image)).flatten(1))
        return out


class ConvDecoder(nn.Module):
    """Linear layers, then transposed convolutions, each doubling an image.

    Args:
        image: (channels, height, width) of the output.
        in_features: width of the input.
        outputs: numbers per scalar of the image; the first numbers of all scalars come first.
        channels: channels as for the mirrored `ConvEncoder`.
        hidden: widths of the linear layers, first to last.

    Raises:
        ArgumentError: height or width cannot be halved once per convolution.

    Example:
        >>> import torch
        >>> ConvDecoder((1, 64, 64), 10)(torch.zeros(2, 10)).shape
        torch.Size([2, 4096])
    """

    def __init__(
        self,
        image: Sequence[int],
        in_features: int,
        outputs: int = 1,
        *,
        channels: Sequence[int] = (32, 32, 64, 64),
        hidden: Sequence[int] = (256,),
    ) -> None:
        super().__init__()
        self.image = check_image(image, len(check_widths("channels", channels)))
        side = [size // 2 ** len(channels) for size in self.image[1:]]
        self.start = (channels[-1], *side)
        self.linear = nn.Sequential(
            _linear((in_features, *hidden, channels[-1] * side[0] * side[1])), nn.ReLU()
        )
        layers: list[nn.Module] = []
        for a, b in pairwise((*reversed(channels), self.image[0] * outputs)):
            layers += [nn.ConvTranspose2d(a, b, 4, 2, 1), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers[:-1])

    def forward(self, z: Tensor) -> Tensor:
        """Map ``(n, in_features)`` to flat rows, ``(n, outputs * image)``."""
        out: Tensor = self.convolutions(self.linear(z).reshape(-1, *self.start))
        return out.flatten(1)


def check_image(image: Sequence[int], halvings: int) -> tuple[int, int, int]:
    """Return (channels, height, width) if both sides can be halved this number of times."""
    if isinstance(image, int) or len(image) != 3:
        raise ArgumentError("image", "(channels, height, width)", image)
    channels, height, width = (check_count("image", size) for size in image)
    if height % 2**halvings or width % 2**halvings:
        expected = f"sides that {2**halvings} divides, as each of {halvings} strides halves them"
        raise ArgumentError("image", expected, tuple(image))
    return channels, height, width


def _linear(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
