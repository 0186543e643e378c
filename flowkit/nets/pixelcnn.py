"""PixelCNN: a network whose outputs for a pixel depend only on preceding pixels, row by row.

There are two stacks of convolutions. The vertical stack sees the rows above a pixel, in full
width. The horizontal stack sees the pixels to the left, and the vertical stack. A single stack of
masked squares would miss pixels to the upper right.
"""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowkit._checks import check_choice, check_context, check_count, check_event
from flowkit.errors import ArgumentError, ShapeError


class PixelCNN(nn.Module):
    """A PixelCNN over images ``(channels, height, width)``, masked and gated.

    Pixels are ordered row by row, and scalars of a pixel by channel. The outputs of a scalar depend
    on preceding scalars within the receptive field. The masks of the first layer exclude the scalar
    itself (type A), those of other layers include it (type B). Each feature belongs to a channel,
    and depends on features of channels up to that channel.

    Args:
        image: (channels, height, width).
        outputs: numbers per scalar: 1 logit of a bit, 256 of a level, 3 per logistic component.
        hidden: features of each stack; a multiple of the channels.
        layers: layers of each stack.
        reach: pixels by which each layer extends the receptive field, up and to both sides, to
            ``layers * reach`` pixels in total.
        gated: whether features are ``tanh(a) * sigmoid(b)`` instead of ``relu(a)``.
        context_features: width of the context, 0 for none.
        conditioning: "invariant" if the context adds the same term to every pixel of a layer,
            "dependent" if the term depends on the pixel.

    ``forward`` costs one pass. `sweep` returns the outputs pixel by pixel at the cost of about one
    pass in total.

    Raises:
        ArgumentError: a size is not positive, or ``hidden`` is not a multiple of the channels.

    Reference: van den Oord et al., *Conditional image generation with PixelCNN decoders*, 2016,
    section 2; van den Oord, Kalchbrenner and Kavukcuoglu, *Pixel recurrent neural networks*, 2016,
    section 3.4, for the masks; Makhzani and Frey, *PixelGAN autoencoders*, 2017, for the two kinds
    of conditioning.

    Example:
        >>> net = PixelCNN((1, 8, 8), outputs=2, hidden=8, layers=2)
        >>> net(torch.rand(5, 1, 8, 8)).shape
        torch.Size([5, 2, 1, 8, 8])
    """

    def __init__(
        self,
        image: Sequence[int],
        outputs: int = 1,
        *,
        hidden: int = 32,
        layers: int = 5,
        reach: int = 2,
        gated: bool = True,
        context_features: int = 0,
        conditioning: str = "invariant",
    ) -> None:
        super().__init__()
        if isinstance(image, int) or len(image) != 3:
            raise ArgumentError("image", "(channels, height, width)", image)
        self.image = torch.Size(check_count("image", size) for size in image)
        self.outputs = check_count("outputs", outputs)
        self.context_features = check_count("context_features", context_features, minimum=0)
        channels = self.image[0]
        if check_count("hidden", hidden) % channels:
            raise ArgumentError("hidden", f"a multiple of {channels} channels", hidden)
        check_count("reach", reach)
        check_choice("conditioning", conditioning, ("invariant", "dependent"))
        self.place: _Place | None = None
        condition_features = context_features
        if context_features and conditioning == "dependent":
            self.place = _Place(context_features, hidden, self.image[1:])
            condition_features = hidden
        self.layers = nn.ModuleList(
            _Layer(hidden, channels, reach, condition_features, first=layer == 0, gated=gated)
            for layer in range(check_count("layers", layers))
        )
        of, out_of = _owners(hidden, channels), torch.arange(outputs * channels) % channels
        self.head = _MaskedConv2d(hidden, hidden, (1, 1), of[:, None] >= of)
        self.last = _MaskedConv2d(hidden, outputs * channels, (1, 1), out_of[:, None] >= of)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map images ``(*batch, C, H, W)`` to outputs ``(*batch, outputs, C, H, W)``."""
        batch, x, condition = self._prepare(x, context)
        # Shifted down by one row: each row of the vertical stack then has the image rows above.
        vertical, horizontal = F.pad(x, (0, 0, 1, 0))[:, :, :-1], x
        for layer in self.layers:
            vertical, horizontal = layer(vertical, horizontal, condition)
        out: Tensor = self.last(torch.relu(self.head(torch.relu(horizontal))))
        return out.reshape(*batch, self.outputs, *self.image)

    @torch.no_grad()
    def sweep(
        self, x: Tensor, context: Tensor | None = None
    ) -> Iterator[tuple[int, int, int, Tensor]]:
        """Yield the outputs of each scalar in order, computed from the preceding scalars.

        The outputs carry no gradients.

        Args:
            x: images ``(n, C, H, W)``, initially zero. Before the next iteration, the caller must
                write the value of the current scalar.
            context: ``(n, context_features)`` for a conditional network.

        Yields:
            Channel, row and column, and the outputs ``(outputs, n)`` there.
        """
        _, x, condition = self._prepare(x, context)
        channels, height, width = self.image
        rows = [_Row(cast(_Layer, layer), x) for layer in self.layers]
        (bias, weight), (last_bias, last) = self.head.flat(), self.last.flat()
        vertical = torch.zeros_like(x[:, :, :1])
        for i in range(height):
            of_row = condition
            if condition is not None and condition.shape[2] > 1:
                of_row = condition[:, :, i : i + 1]
            for row in rows:
                vertical = row.start(vertical, of_row)
            for j in range(width):
                for c in range(channels):
                    h = x[:, :, i, j]
                    for row in rows:
                        h = row.pixel(h, j)
                    h = torch.addmm(bias, torch.relu(h), weight)
                    h = torch.addmm(last_bias, torch.relu(h), last)
                    yield c, i, j, h.view(-1, self.outputs, channels)[:, :, c].t()
                rows[0].put(x[:, :, i, j], j)  # all channels of the pixel are known now
            vertical = x[:, :, i : i + 1]

    def _prepare(
        self, x: Tensor, context: Tensor | None
    ) -> tuple[tuple[int, ...], Tensor, Tensor | None]:
        """Return the batch shape, images ``(n, C, H, W)``, and the condition of the layers.

        The condition is ``(n, features, H, W)``, or ``(n, features, 1, 1)`` if equal for all
        pixels, or None without a context.
        """
        check_event("x", x, tuple(self.image))
        check_context(context, self.context_features)
        batch = tuple(x.shape[:-3])
        x = x.reshape(-1, *self.image)
        if context is None:
            return batch, x, None
        try:
            context = context.expand(*batch, -1).reshape(-1, self.context_features)
        except RuntimeError as error:
            expected = f"batch dimensions that broadcast to {batch}"
            raise ShapeError("context", expected, tuple(context.shape)) from error
        if self.place is not None:
            placed: Tensor = self.place(context)
            return batch, x, placed
        return batch, x, context[:, :, None, None]


class _Place(nn.Module):
    """A linear map from a context to separate features for every pixel."""

    def __init__(self, context_features: int, features: int, size: Sequence[int]) -> None:
        super().__init__()
        self.shape = (features, *size)
        self.linear = nn.Linear(context_features, features * size[0] * size[1])

    def forward(self, context: Tensor) -> Tensor:
        """Map ``(n, context_features)`` to ``(n, features, H, W)``."""
        placed: Tensor = self.linear(context)
        return placed.reshape(-1, *self.shape)


def _owners(features: int, channels: int) -> Tensor:
    """Return the channel of each feature; the features of one channel are contiguous."""
    return torch.arange(features) * channels // features


class _MaskedConv2d(nn.Conv2d):
    """A convolution with a mask ``(out, in)`` of its last tap, the pixel itself."""

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], mask: Tensor) -> None:
        super().__init__(inputs, outputs, size)
        whole = torch.ones(outputs, inputs, *size)
        whole[:, :, -1, -1] = mask
        self.register_buffer("mask", whole, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in, H, W)``, without padding."""
        return F.conv2d(x, self.mask * self.weight, self.bias)

    def flat(self) -> tuple[Tensor, Tensor]:
        """Return bias ``(out,)`` and weight ``(width * in, out)`` of a kernel of height one."""
        assert self.bias is not None  # noqa: S101  for the type checker
        taps = (self.mask * self.weight)[:, :, 0].transpose(1, 2).flatten(1)
        return self.bias, taps.t()


class _Layer(nn.Module):
    """One layer of both stacks; the inputs of the first layer are the channels."""

    def __init__(
        self,
        hidden: int,
        channels: int,
        reach: int,
        condition_features: int,
        *,
        first: bool,
        gated: bool,
    ) -> None:
        super().__init__()
        inputs = channels if first else hidden
        self.reach, self.first, self.gated = reach, first, gated
        # The first input of the vertical stack is already shifted down by one row.
        self.height = reach if first else reach + 1
        halves = 2 if gated else 1
        of, to = _owners(inputs, channels), _owners(hidden, channels)
        mask = to[:, None] > of if first else to[:, None] >= of
        self.vertical = nn.Conv2d(inputs, halves * hidden, (self.height, 2 * reach + 1))
        self.horizontal = _MaskedConv2d(
            inputs, halves * hidden, (1, reach + 1), mask.repeat(halves, 1)
        )
        self.down = nn.Conv2d(halves * hidden, halves * hidden, 1)
        self.out = _MaskedConv2d(hidden, hidden, (1, 1), to[:, None] >= to)
        # The attribute's name is that of its tensors in model files.
        self.given: nn.Conv2d | None = None
        if condition_features:
            self.given = nn.Conv2d(condition_features, 2 * halves * hidden, 1)

    def forward(
        self, vertical: Tensor, horizontal: Tensor, condition: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Map both stacks ``(n, features, H, W)``."""
        r = self.reach
        v, offset = self.across(F.pad(vertical, (r, r, self.height - 1, 0)), condition)
        h = self.act(self.horizontal(F.pad(horizontal, (r, 0, 0, 0))) + offset)
        out: Tensor = self.out(h)
        return v, out if self.first else horizontal + out

    def across(self, vertical: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the vertical stack from a padded one, and its term in the horizontal stack."""
        v = self.vertical(vertical)
        offset = self.down(v)
        if self.given is not None:
            of_v, of_h = self.given(condition).chunk(2, 1)
            v, offset = v + of_v, offset + of_h
        return self.act(v), offset

    def act(self, x: Tensor) -> Tensor:
        """Return activated features ``(n, hidden, ...)``."""
        if not self.gated:
            return torch.relu(x)
        a, b = x.chunk(2, 1)
        return torch.tanh(a) * torch.sigmoid(b)


class _Row:
    """State of a layer in a sweep: the rows above, and the current row."""

    def __init__(self, layer: _Layer, x: Tensor) -> None:
        n, r, width = len(x), layer.reach, x.shape[-1]
        inputs = layer.vertical.in_channels
        self._layer = layer
        self._rows = x.new_zeros(n, inputs, layer.height, width)
        # The horizontal stack of the previous layer, pixel after pixel, so that the inputs of a
        # pixel are a slice. All slices are made once, as a slice costs as much as its product.
        line = x.new_zeros(n, (r + width) * inputs)
        self._places = [line.narrow(1, (j + r) * inputs, inputs) for j in range(width)]
        self._windows = [line.narrow(1, j * inputs, (r + 1) * inputs) for j in range(width)]
        (self._bias, self._taps), self._out = layer.horizontal.flat(), layer.out.flat()
        self._offset: tuple[Tensor, ...] = ()

    def start(self, vertical: Tensor, condition: Tensor | None) -> Tensor:
        """Return a row of the vertical stack, given one of the previous, ``(n, in, 1, W)``."""
        layer, r = self._layer, self._layer.reach
        self._rows = torch.cat([self._rows[:, :, 1:], vertical], 2)
        v, offset = layer.across(F.pad(self._rows, (r, r, 0, 0)), condition)
        offset = offset + self._bias[:, None, None]
        self._offset = offset.squeeze(2).permute(2, 0, 1).contiguous().unbind()  # W x (n, features)
        return v

    def put(self, h: Tensor, j: int) -> None:
        """Store the previous horizontal stack at column j, ``(n, in)``."""
        self._places[j].copy_(h)

    def pixel(self, h: Tensor, j: int) -> Tensor:
        """Return the horizontal stack at column j, ``(n, hidden)``, from the previous one."""
        self.put(h, j)
        layer = self._layer
        gated = layer.act(torch.addmm(self._offset[j], self._windows[j], self._taps))
        bias, weight = self._out
        out = torch.addmm(bias, gated, weight)
        return out if layer.first else h + out
