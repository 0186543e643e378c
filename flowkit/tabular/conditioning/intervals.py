"""Masses of intervals, and draws within them: normal, Student t and von Mises distributions."""

import math

import numpy as np
import torch
from scipy.special import i0e, ndtri_exp
from torch import Tensor

# Nodes of the quadrature of a von Mises density: exact to 1e-12 for the sharpest that is fitted.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)
_LEAST = 1e-300


def log_normal_mass(low: Tensor, high: Tensor) -> Tensor:
    """Return the log-probability of intervals under the standard normal; the arguments broadcast.

    Example:
        >>> log_normal_mass(torch.tensor(30.0).double(), torch.tensor(torch.inf).double()).item()
        -454.321...
    """
    near, far, _ = _in_lower_half(low, high)
    below, above = torch.special.log_ndtr(near), torch.special.log_ndtr(far)
    log_mass: Tensor = above + (-torch.expm1(below - above)).clamp(min=_LEAST).log()
    return log_mass


def draw_normal(low: Tensor, high: Tensor, uniform: Tensor) -> Tensor:
    """Return standard normals within intervals, by inversion of ``uniform``."""
    near, far, flipped = _in_lower_half(low, high)
    below, above = torch.special.log_ndtr(near), torch.special.log_ndtr(far)
    log_p = torch.logaddexp(below + torch.log1p(-uniform), above + uniform.log())
    z = torch.from_numpy(np.asarray(ndtri_exp(log_p.clamp(max=0.0).numpy())))
    z = torch.where(flipped, -z, z)
    return torch.minimum(torch.maximum(z, low), high)


def mean_normal(low: Tensor, high: Tensor) -> Tensor:
    """Return the means of standard normals within intervals."""
    log_mass = log_normal_mass(low, high)
    below, above = (torch.exp(-0.5 * end * end - log_mass) for end in (low, high))
    mean = (below - above) / math.sqrt(2 * math.pi)
    return torch.minimum(torch.maximum(mean, low), high)


def log_student_mass(low: Tensor, high: Tensor) -> Tensor:
    """Return the log-probability of intervals under Student's t with two degrees of freedom."""
    near, far, _ = _in_lower_half(low, high)
    mass = _student_tail(-far) - _student_tail(-near)
    # Of a narrow interval, the difference of tails has few digits.
    narrow = (far - near) < 1e-4 * (1 + far.abs())
    middle = torch.where(narrow, 0.5 * (near + far), 0.0)
    mass = torch.where(narrow, (far - near) * (2 + middle * middle) ** -1.5, mass)
    return mass.clamp(min=_LEAST).log()


def draw_student(low: Tensor, high: Tensor, uniform: Tensor) -> Tensor:
    """Return draws of Student's t with two degrees of freedom within intervals, by inversion."""
    near, far, flipped = _in_lower_half(low, high)
    below, above = _student_tail(-near), _student_tail(-far)
    p = below + uniform * (above - below)
    t = (2 * p - 1) / (2 * p * (1 - p)).clamp(min=_LEAST).sqrt()
    t = torch.where(flipped, -t, t)
    return torch.minimum(torch.maximum(t, low), high)


def log_von_mises_mass(low: Tensor, high: Tensor, mean: Tensor, kappa: Tensor) -> Tensor:
    """Return the log-probability of arcs from ``low`` to ``high`` at most a turn later."""
    half = 0.5 * (high - low).unsqueeze(-1)
    angle = low.unsqueeze(-1) + half * (1 + torch.from_numpy(_NODES))
    kappa, mean = kappa.unsqueeze(-1), mean.unsqueeze(-1)
    log_density = kappa * ((angle - mean).cos() - 1) - _log_turn(kappa)
    weights = half * torch.from_numpy(_WEIGHTS)
    return (log_density + weights.clamp(min=_LEAST).log()).logsumexp(-1)


def draw_von_mises(
    low: Tensor, high: Tensor, mean: Tensor, kappa: Tensor, uniform: Tensor
) -> Tensor:
    """Return angles within arcs ``(n,)``, by inversion of a distribution function on a grid."""
    part = torch.linspace(0, 1, 1025, dtype=torch.float64)
    grid = low.unsqueeze(-1) + (high - low).unsqueeze(-1) * part
    density = (kappa.unsqueeze(-1) * ((grid - mean.unsqueeze(-1)).cos() - 1)).exp() + 1e-30
    below = torch.cumsum(0.5 * (density[:, 1:] + density[:, :-1]), -1)
    goal = (uniform * below[:, -1]).unsqueeze(-1)
    at = torch.searchsorted(below, goal).clamp(max=below.shape[1] - 1)
    start = torch.where(at > 0, below.gather(1, (at - 1).clamp(min=0)), 0.0)
    share = (goal - start) / (below.gather(1, at) - start)
    return low + (high - low) * ((at + share) / (len(part) - 1)).squeeze(-1)


def _log_turn(kappa: Tensor) -> Tensor:
    return torch.log(2 * math.pi * torch.from_numpy(np.asarray(i0e(kappa.numpy()))))


def _in_lower_half(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ends mirrored into the lower half, where tails keep their digits."""
    low, high = torch.broadcast_tensors(low, high)
    flip = low + high > 0
    return torch.where(flip, -high, low), torch.where(flip, -low, high), flip


def _student_tail(u: Tensor) -> Tensor:
    """Return the probability above ``u``."""
    size = u.abs().clamp(max=1e150)
    root = (2 + size * size).sqrt()
    above = 1 / (root * (root + size))
    return torch.where(u >= 0, above, 1 - above)
