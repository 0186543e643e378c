"""Normal distribution in log space, with accurate values *and gradients* in the far tails.

The values of torch's ``log_ndtr`` are accurate, but the derivative is not in the deep tail (in
float32, 0 instead of 10^6 at -10^6).
"""

import math

import torch
from torch import Tensor

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
# Coefficients (-1)^n (2n - 1)!! of the asymptotic series of Mills' ratio in 1/u², from the highest
# power down. For u < -20 eight terms are accurate to 1e-15.
_SERIES = (2027025.0, -135135.0, 10395.0, -945.0, 105.0, -15.0, 3.0, -1.0)
_FAR = -20.0


def normal_log_pdf(u: Tensor) -> Tensor:
    """Return ``log phi(u)``."""
    return -0.5 * u * u - _LOG_SQRT_2PI


def normal_log_cdf(u: Tensor) -> Tensor:
    """Return ``log Phi(u)``."""
    deep, right = u < -5, u > 0
    u_deep = torch.where(deep, u, -5.0)
    mass = 0.5 * torch.erfc(torch.where(deep, 0.0, u).abs() * math.sqrt(0.5))  # in the nearer tail
    shallow = torch.where(right, torch.log1p(-mass), torch.where(right, 0.5, mass).log())
    return torch.where(deep, normal_log_pdf(u_deep) + _log_mills(u_deep), shallow)


def normal_log_hazard(u: Tensor) -> Tensor:
    """Return ``log phi(u) - log Phi(u)``, without cancellation."""
    left = u < 0
    u_right = torch.where(left, 1.0, u)
    by_difference = normal_log_pdf(u_right) - normal_log_cdf(u_right)
    return torch.where(left, -_log_mills(torch.where(left, u, -1.0)), by_difference)


def normal_quantile(log_mass: Tensor) -> Tensor:
    """Return the ``z`` with ``log Phi(z) = log_mass``, for masses of at most a half.

    Newton's method in log space from an initial approximation. The last two steps are
    differentiable: the first gives first derivatives, and the second gives second derivatives.
    """
    with torch.no_grad():
        # Down to here exp(log_mass) is a normal number; beyond, Mills' ratio is the approximation.
        deep = log_mass < -80.0
        deep_mass = torch.where(deep, log_mass, -80.0)
        z = torch.where(
            deep,
            -torch.sqrt(-2 * (deep_mass + _LOG_SQRT_2PI) - torch.log(-2 * deep_mass)),
            torch.special.ndtri(torch.where(deep, -1.0, log_mass).exp()),
        )
        for _ in range(2):
            z = z - (normal_log_cdf(z) - log_mass) * (-normal_log_hazard(z)).exp()
        step = (-normal_log_hazard(z)).exp()
        residual = normal_log_cdf(z)
    z = z - (residual - log_mass) * step
    change = (normal_log_cdf(z) - log_mass) * step
    return z - (change - change.detach())


def _log_mills(u: Tensor) -> Tensor:
    """Return ``log(Phi(u) / phi(u))`` for negative u."""
    far = u < _FAR
    near_ratio = torch.special.erfcx(torch.where(far, _FAR, u) * -math.sqrt(0.5))
    u_far = torch.where(far, u, _FAR)
    t = 1 / (u_far * u_far)
    series = torch.zeros_like(t)
    for coefficient in _SERIES:
        series = (series + coefficient) * t
    by_series = torch.log1p(series) - torch.log(-u_far)
    return torch.where(far, by_series, near_ratio.log() + 0.5 * math.log(math.pi / 2))
