"""Mass of a logistic distribution on an interval."""

import torch
import torch.nn.functional as F
from torch import Tensor


def log_logistic_mass(
    low: Tensor,
    high: Tensor,
    width: Tensor,
    at_lower: Tensor | None = None,
    at_upper: Tensor | None = None,
) -> Tensor:
    r"""Return ``log(s(high) - s(low))``, where s is the logistic function; the arguments broadcast.

    The difference is computed as ``s(b) s(-a) (1 - exp(a - b))``, in logarithms, which is accurate
    for intervals that are narrow or far out.

    Args:
        low: lower ends, standardised.
        high: upper ends.
        width: ``high - low``, positive; passed because the difference of two close ends has few
            digits.
        at_lower: where the interval extends to minus infinity.
        at_upper: where the interval extends to infinity.

    Reference: Salimans, Karpathy, Chen and Kingma, *PixelCNN++*, 2017, equation 2.

    Example:
        >>> edges = torch.tensor([-1.0, 0.0, 1.0])
        >>> mass = log_logistic_mass(edges[:-1], edges[1:], torch.ones(2)).exp()
        >>> torch.allclose(mass, torch.sigmoid(edges[1:]) - torch.sigmoid(edges[:-1]))
        True
    """
    mass = F.logsigmoid(high) + F.logsigmoid(-low) + torch.log(-torch.expm1(-width))
    if at_lower is not None:
        mass = torch.where(at_lower, F.logsigmoid(high), mass)
    if at_upper is not None:
        mass = torch.where(at_upper, F.logsigmoid(-low), mass)
    return mass
