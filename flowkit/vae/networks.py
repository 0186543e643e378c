"""Encoders and decoders with the layer widths of published papers, by name."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from flowkit._checks import check_choice, check_count, check_row
from flowkit.errors import ArgumentError
from flowkit.nets import MLP, ConvDecoder, ConvEncoder


class Networks(NamedTuple):
    """An encoder with the matching decoder.

    Attributes:
        encoder: maps rows to a context, ``(n, context_features)``.
        decoder: maps latents to parameters of rows, ``(n, outputs * row)``.
        context_features: width of the context.
    """

    encoder: nn.Module
    decoder: nn.Module
    context_features: int


def networks(
    name: str, row: Sequence[int], latents: int, *, outputs: int = 1, decoded: int | None = None
) -> Networks:
    """Return the networks of a published size.

    Args:
        name: "mlp-300", two hidden layers of 300 ReLUs each way (Tomczak and Welling, 2016, for
            MNIST); "iwae-200", two of 200 tanh units (Burda, Grosse and Salakhutdinov, 2015);
            "visual-concepts", 1200-1200 ReLU in, 1200-1200-1200 tanh out (Higgins et al., 2016, for
            2D shapes); "conv-64", convolutions 32-32-64-64 and 256 units (Locatello et al., 2019,
            after Higgins et al., 2017); "mlp-small", 64 ReLUs each way, for tables and tests.
        row: shape of a row; (channels, height, width) of an image for "conv-64".
        latents: number of latents.
        outputs: parameters of the likelihood per scalar of a row.
        decoded: number of outputs of the decoder; by default ``outputs`` times the scalars of a
            row.

    Raises:
        ArgumentError: an unknown name, image sides that cannot be halved four times, or
            ``decoded`` for convolutions.

    Example:
        >>> from flowkit.vae import VAE, posterior
        >>> nets = networks("mlp-small", (8,), latents=2)
        >>> q = posterior("normal", 2, context_features=nets.context_features)
        >>> vae = VAE(nets.encoder, nets.decoder, q)
    """
    check_choice("name", name, (*_NAMED, "conv-64"))
    check_count("latents", latents)
    check_count("outputs", outputs)
    row = check_row(row)
    if decoded is not None:
        check_count("decoded", decoded)
    if name == "conv-64":
        if decoded is not None:
            raise ArgumentError("decoded", "None for 'conv-64'", decoded)
        return _conv(row, latents, outputs)
    return _NAMED[name](row, latents, decoded or outputs * math.prod(row))


class Flat(nn.Module):
    """A network of vectors, applied to flattened rows of any shape.

    Args:
        net: maps ``(n, in_features)`` to ``(n, out_features)``.
        activation: activation of the output; None for the identity.
    """

    def __init__(self, net: nn.Module, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.net, self.activation = net, activation or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, *row)`` to ``(n, out_features)``."""
        out: Tensor = self.activation(self.net(x.flatten(1)))
        return out


def _mlp(
    down: tuple[int, ...], up: tuple[int, ...], activations: tuple[str, str], last: nn.Module
) -> Callable[[tuple[int, ...], int, int], Networks]:
    """Return a factory of two multilayer perceptrons; the last hidden layer is the context."""

    def make(row: tuple[int, ...], latents: int, decoded: int) -> Networks:
        *hidden, context = down
        inner = MLP(math.prod(row), context, hidden, activation=activations[0])
        outer = MLP(latents, decoded, up, activation=activations[1])
        return Networks(Flat(inner, last), Flat(outer), context)

    return make


def _conv(row: tuple[int, ...], latents: int, outputs: int) -> Networks:
    hidden = 256
    encoder = nn.Sequential(ConvEncoder(row, hidden, hidden=()), nn.ReLU())
    return Networks(encoder, ConvDecoder(row, latents, outputs, hidden=(hidden,)), hidden)


_NAMED: dict[str, Callable[[tuple[int, ...], int, int], Networks]] = {
    "mlp-small": _mlp((64, 64), (64,), ("relu", "relu"), nn.ReLU()),
    "mlp-300": _mlp((300, 300), (300, 300), ("relu", "relu"), nn.ReLU()),
    "iwae-200": _mlp((200, 200), (200, 200), ("tanh", "tanh"), nn.Tanh()),
    "visual-concepts": _mlp((1200, 1200), (1200,) * 3, ("relu", "tanh"), nn.ReLU()),
}
