"""Images for flat flows: pixels to numbers and back, bits per dimension, classes, inpainting."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flowkit._checks import check_count, check_values
from flowkit._modes import needs_plain_torch
from flowkit._noise import normal
from flowkit.distributions import Flow, dequantize
from flowkit.distributions.dequantized import check_integers
from flowkit.errors import ArgumentError, ShapeError

_LN2 = math.log(2)


@dataclass(frozen=True)
class PixelMap:
    """Grey levels to real numbers, with uniform noise in between: ``v = (k + u) / levels``.

    With ``squeeze`` None the numbers are ``low + (high - low) v`` (NICE). Otherwise they are
    ``logit(squeeze + (1 - 2 squeeze) v)``, on the whole line (MAF: 1e-6 for MNIST, 0.05 for
    CIFAR-10).

    Args:
        levels: number of values of a pixel.
        squeeze: what keeps the logits of black and white finite, or None for no logits.
        low: image of black, without logits.
        high: image of white.

    Reference: Papamakarios, Pavlakou and Murray, *Masked autoregressive flow*, 2017, appendix D;
    Dinh, Krueger and Bengio, *NICE*, 2014, section 5.1.

    Example:
        >>> pixels = torch.tensor([[0, 255, 128]], dtype=torch.uint8)
        >>> maf = PixelMap(squeeze=1e-6)
        >>> maf.decode(maf.encode(pixels))
        tensor([[  0, 255, 128]], dtype=torch.uint8)
    """

    levels: int = 256
    squeeze: float | None = None
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_count("levels", self.levels, 2)
        if self.squeeze is not None and not 0 < self.squeeze < 0.5:
            raise ArgumentError("squeeze", "a number above 0 and below 0.5, or None", self.squeeze)
        if not self.low < self.high:
            raise ArgumentError("high", f"a number above low, {self.low}", self.high)

    def encode(self, pixels: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return numbers for levels ``(*batch, D)``, float64, with fresh noise.

        Raises:
            DataError: a pixel is no level; row and column are named.
        """
        check_integers("pixels", pixels)
        k = pixels.double()
        if not needs_plain_torch():
            inside = ~((k < 0) | (k >= self.levels))
            check_values("pixels", k, inside, f"a level, 0 to {self.levels - 1}")
        v = dequantize(k, generator=generator) / self.levels
        if self.squeeze is None:
            return self.low + (self.high - self.low) * v
        return torch.logit(self.squeeze + (1 - 2 * self.squeeze) * v)

    def decode(self, x: Tensor) -> Tensor:
        """Return the levels that numbers stand for, ``(*batch, D)`` uint8, clamped to those."""
        if self.squeeze is None:
            v = (x.double() - self.low) / (self.high - self.low)
        else:
            v = (torch.sigmoid(x.double()) - self.squeeze) / (1 - 2 * self.squeeze)
        return (v * self.levels).floor().clamp(0, self.levels - 1).to(torch.uint8)

    def log_slope(self, x: Tensor) -> Tensor:
        """Return the log-derivative of numbers by levels, summed: ``(*batch,)``."""
        x = x.double()
        each = -math.log(self.levels)
        if self.squeeze is None:
            slope = torch.full_like(x, math.log(self.high - self.low))
        else:
            # 1 / (s (1 - s)), without the cancellation of 1 - s
            slope = math.log(1 - 2 * self.squeeze) - (
                torch.nn.functional.logsigmoid(x) + torch.nn.functional.logsigmoid(-x)
            )
        return (slope + each).sum(-1)

    def bits_per_dimension(self, log_prob: Tensor, x: Tensor) -> Tensor:
        """Return bits per pixel, ``(*batch,)``: an upper bound on those of the levels themselves.

        Args:
            log_prob: of ``x``, in nats, ``(*batch,)``.
            x: what was scored, ``(*batch, D)``.
        """
        if log_prob.shape != x.shape[:-1]:
            raise ShapeError("log_prob", f"shape {tuple(x.shape[:-1])}", tuple(log_prob.shape))
        return -(log_prob.double() + self.log_slope(x)) / (x.shape[-1] * _LN2)


def class_marginal(flow: Flow, x: Tensor, classes: int) -> Tensor:
    """Return ``log (1/C) sum_c p(x | c)`` of a flow given one-hot classes, ``(*batch,)``.

    Classes are taken as equally frequent, as in the tables of MAF.
    """
    check_count("classes", classes)
    scores = []
    for c in range(classes):
        context = torch.zeros(*x.shape[:-1], classes, dtype=x.dtype)
        context[..., c] = 1.0
        scores.append(flow.log_prob(x, context))
    return torch.logsumexp(torch.stack(scores), dim=0) - math.log(classes)


def inpaint(
    flow: Flow,
    x: Tensor,
    known: Tensor,
    *,
    steps: int = 400,
    low: float | Tensor = 0.0,
    high: float | Tensor = 1.0,
    context: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill in what is not known by noisy gradient ascent on the log-density, ``(*batch, D)``.

    ``x <- x + a_i (grad log p(x) + noise)`` where unknown, ``a_i = 10 / (100 + i)``, held within
    ``low`` and ``high``. The steps are as long as that for pixels of about unit deviation: give it
    those, and a flow over them, where a pixel that is nearly always black would leap.

    Args:
        flow: of images.
        x: images; what stands where ``known`` is False is where the ascent begins.
        known: ``(D,)`` or ``(*batch, D)`` booleans.
        steps: of the ascent.
        low: least value of a pixel, a number or one for each pixel, ``(D,)``.
        high: greatest, likewise.
        context: of the flow.
        generator: of the noise.

    Reference: Dinh, Krueger and Bengio, *NICE*, 2014, section 5.2.

    Example:
        >>> from flowkit.flows import nice
        >>> known = torch.tensor([True, True, False, False])
        >>> inpaint(nice(4), torch.rand(3, 4), known, steps=2).shape
        torch.Size([3, 4])
    """
    check_count("steps", steps)
    if known.dtype != torch.bool or known.shape[-1] != x.shape[-1]:
        raise ShapeError("known", f"booleans (..., {x.shape[-1]})", f"{known.dtype} {known.shape}")
    least, most = (torch.as_tensor(bound, dtype=x.dtype, device=x.device) for bound in (low, high))
    for i in range(steps):
        at = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(flow.log_prob(at, context).sum(), at)
        moved = x + 10 / (100 + i) * (slope + normal(x.shape, x, generator))
        x = torch.where(known, x, torch.minimum(torch.maximum(moved, least), most))
    return x
