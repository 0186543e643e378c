"""Images as vectors: pixel maps, bits per dimension, class marginals, inpainting."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flowkit._checks import check_count, check_values
from flowkit._noise import normal
from flowkit._training_mode import needs_plain_torch
from flowkit.distributions import Flow, dequantize
from flowkit.distributions.dequantized import check_integers
from flowkit.errors import ArgumentError, ShapeError

_LN2 = math.log(2)


@dataclass(frozen=True)
class PixelMap:
    """A map from grey levels to real numbers, with uniform noise: ``v = (k + u) / levels``.

    With ``squeeze`` None the numbers are ``low + (high - low) v`` (NICE). Otherwise they are
    ``logit(squeeze + (1 - 2 squeeze) v)``, on the whole line (MAF: 1e-6 for MNIST, 0.05 for
    CIFAR-10).

    Args:
        levels: number of values of a pixel.
        squeeze: margin that keeps the logits of black and white finite; None for no logits.
        low: number for black, without logits.
        high: number for white, without logits.

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
            raise ArgumentError("high", f"a number above low={self.low}", self.high)

    def encode(self, pixels: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return numbers for levels ``(*batch, D)``, float64, with fresh noise.

        Raises:
            DataError: a pixel is not a level; the message names row and column.
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
        """Return the levels of numbers, clamped to the range of levels, ``(*batch, D)`` uint8."""
        if self.squeeze is None:
            v = (x.double() - self.low) / (self.high - self.low)
        else:
            v = (torch.sigmoid(x.double()) - self.squeeze) / (1 - 2 * self.squeeze)
        return (v * self.levels).floor().clamp(0, self.levels - 1).to(torch.uint8)

    def log_slope(self, x: Tensor) -> Tensor:
        """Return the log-derivative of numbers by levels, summed over pixels: ``(*batch,)``."""
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
            log_prob: log-density of ``x`` in nats, ``(*batch,)``.
            x: numbers from `encode`, ``(*batch, D)``.
        """
        if log_prob.shape != x.shape[:-1]:
            raise ShapeError("log_prob", f"shape {tuple(x.shape[:-1])}", tuple(log_prob.shape))
        return -(log_prob.double() + self.log_slope(x)) / (x.shape[-1] * _LN2)


def class_marginal(flow: Flow, x: Tensor, classes: int) -> Tensor:
    """Return ``log (1/C) sum_c p(x | c)`` of a flow given one-hot classes, ``(*batch,)``.

    Classes are assumed to be equally frequent, as in the tables of the MAF paper.
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
    """Fill in unknown pixels by noisy gradient ascent on the log-density, ``(*batch, D)``.

    ``x <- x + a_i (grad log p(x) + noise)`` where unknown, ``a_i = 10 / (100 + i)``, clamped to
    ``low`` and ``high``. The step sizes suit pixels of about unit deviation. If some pixels are
    nearly always black, standardise the pixels and use a flow over the standardised pixels.

    Args:
        flow: a flow over images.
        x: images; the ascent starts from the pixels where ``known`` is False.
        known: ``(D,)`` or ``(*batch, D)`` booleans.
        steps: number of steps.
        low: least value of a pixel, one number or ``(D,)``.
        high: greatest value of a pixel, one number or ``(D,)``.
        context: context of the flow.
        generator: source of the noise.

    Reference: Dinh, Krueger and Bengio, *NICE*, 2014, section 5.2.

    Example:
        >>> from flowkit.flows import nice
        >>> known = torch.tensor([True, True, False, False])
        >>> inpaint(nice(4), torch.rand(3, 4), known, steps=2).shape
        torch.Size([3, 4])
    """
    check_count("steps", steps)
    if known.dtype != torch.bool or known.shape[-1] != x.shape[-1]:
        got = f"{known.dtype} of shape {tuple(known.shape)}"
        raise ShapeError("known", f"booleans (..., {x.shape[-1]})", got)
    least, most = (torch.as_tensor(bound, dtype=x.dtype, device=x.device) for bound in (low, high))
    for i in range(steps):
        at = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(flow.log_prob(at, context).sum(), at)
        proposal = x + 10 / (100 + i) * (slope + normal(x.shape, x, generator))
        x = torch.where(known, x, torch.minimum(torch.maximum(proposal, least), most))
    return x
