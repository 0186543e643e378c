"""Defensive importance sampling: a mixture of a flow and two wider distributions as proposal.

Importance weights of draws of a flow contain no information where the flow has almost no density.
Weights under a mixture are bounded by the target over a share of the wider density. Density that
the flow misses is thus detected within a few times the flow's width.

Reference: Owen and Zhou, *Safe and effective importance sampling*, 2000, sections 2 and 4.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flowkit import _noise
from flowkit.distributions import Flow

_DRAWS = 10_000  # draws of the flow that moments are estimated from
_DF = 3.0
# Scales of the Student t distributions, in units of the flow's: of points, and of latents.
_AROUND_POINTS, _AROUND_LATENTS = 2.0, 1.5
_TAIL = 1e-3  # share of draws on either side that is clipped before moments are estimated


class StudentAround:
    """A multivariate Student t with the mean of draws, and a multiple of their covariance.

    Computation is on the CPU in float64, for draws of any device and dtype.

    Args:
        draws: ``(n, *event_shape)``.
        factor: factor of the scale.
    """

    def __init__(self, draws: Tensor, factor: float) -> None:
        self._like, self._event = draws[:1], draws.shape[1:]
        x = draws.flatten(1).double().cpu()
        x = x[x.isfinite().all(1)]
        ordered, cut = x.sort(0).values, int(_TAIL * len(x))
        x = torch.minimum(torch.maximum(x, ordered[cut]), ordered[-1 - cut])
        self._mean = x.mean(0)
        centred = x - self._mean
        covariance = centred.mT @ centred / max(len(x) - 1, 1)
        least = 1e-6 * covariance.diagonal().mean() + torch.finfo(torch.float32).tiny
        eye = torch.eye(len(covariance), dtype=torch.float64)
        self._factor = factor * torch.linalg.cholesky(covariance + least * eye)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``(n, *event_shape)``, in the dtype and on the device of the draws."""
        d, g = len(self._mean), generator
        noise = torch.randn(n, d, dtype=torch.float64, generator=g)
        half = torch.full((n, 1), 0.5 * _DF, dtype=torch.float64)
        radius = torch.sqrt(half / torch._standard_gamma(half, generator=g))
        drawn: Tensor = self._mean + noise * radius @ self._factor.mT
        return drawn.to(self._like).view(n, *self._event)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of ``x (n, *event_shape)``, ``(n,)`` float64 on the CPU."""
        d = len(self._mean)
        centred = x.flatten(1).double().cpu() - self._mean
        y = torch.linalg.solve_triangular(self._factor, centred.mT, upper=False)
        log_norm = math.lgamma(0.5 * (_DF + d)) - math.lgamma(0.5 * _DF)
        log_norm -= 0.5 * d * math.log(_DF * math.pi)
        log_det = self._factor.diagonal().log().sum()
        result: Tensor = log_norm - log_det - 0.5 * (_DF + d) * torch.log1p(y.square().sum(0) / _DF)
        return result


class Draws(NamedTuple):
    """Draws of a mixture with fixed numbers per component.

    Attributes:
        z: points ``(n, *event_shape)``.
        source: component of each point, ``(n,)``: 0 for the flow.
        log_densities: log-density under each component, ``(components, n)``, float64 on the CPU.
        possible: whether the flow has positive density, ``(n,)``; flow and target have one support.
    """

    z: Tensor
    source: Tensor
    log_densities: Tensor
    possible: Tensor

    @classmethod
    def joined(cls, parts: Sequence["Draws"]) -> "Draws":
        """Concatenate draws of mixtures that have the same shares."""
        return cls(
            torch.cat([part.z for part in parts]),
            torch.cat([part.source for part in parts]),
            torch.cat([part.log_densities for part in parts], 1),
            torch.cat([part.possible for part in parts]),
        )

    @property
    def log_mixture(self) -> Tensor:
        """Log-density of the mixture with the shares of the draws, ``(n,)``."""
        counts = torch.bincount(self.source, minlength=len(self.log_densities))
        log_shares = (counts.double() / len(self.source)).log()
        return torch.logsumexp(self.log_densities + log_shares[:, None], 0)


class Defensive:
    """A mixture of a flow, a Student t around points, and the image of a Student t around latents.

    Args:
        flow: a flow without context.
        seed: seed of the draws from which moments of the Student t are estimated.
    """

    @torch.no_grad()
    def __init__(self, flow: Flow, seed: int) -> None:
        self._flow = flow
        z = flow.sample((_DRAWS,), generator=torch.Generator().manual_seed(seed))
        self._points = StudentAround(z, _AROUND_POINTS)
        u = flow.transform(z)[0]
        self._latents = StudentAround(u, _AROUND_LATENTS)

    @torch.no_grad()
    def draw(self, n: int, wide: float, generator: torch.Generator | None) -> Draws:
        """Draw ``n`` points, a share ``wide / 2`` of them from each of the two wider components."""
        flow, far = self._flow, round(wide * n)
        counts = (n - far, far - far // 2, far // 2)
        seed = _noise.below(2**31, 1, torch.empty(0), generator)
        cpu = torch.Generator().manual_seed(int(seed))  # the Student t are computed on the CPU
        z = [flow.sample((counts[0],), generator=generator)]
        if far:
            z.append(self._points.sample(counts[1], cpu))
            z.append(flow.transform.inverse(self._latents.sample(counts[2], cpu))[0])
        points = torch.cat(z)
        source = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
        # The inverse of an extreme latent may overflow.
        overflown = ~points.isfinite().flatten(1).all(1)
        points[overflown] = points[0].clone()
        log_densities = self._log_densities(points)
        possible = ~overflown.cpu() & (log_densities[0] > -math.inf)
        return Draws(points, source, log_densities, possible)

    def _log_densities(self, z: Tensor) -> Tensor:
        u, logabsdet = self._flow.transform(z)
        log_q = (self._flow.base.log_prob(u) + logabsdet).double().cpu()
        log_image = self._latents.log_prob(u) + logabsdet.double().cpu()
        log_densities = torch.stack([log_q, self._points.log_prob(z), log_image])
        return torch.where(log_densities.isnan(), -math.inf, log_densities)


class Evidence(NamedTuple):
    """An integral estimated by importance sampling.

    Attributes:
        log: logarithm of the integral.
        error: standard error of ``log``.
    """

    log: float
    error: float


def evidence_of(log_f: np.ndarray) -> Evidence:
    """Return the evidence estimated from log-weights ``(n,)`` of draws of one distribution."""
    top = log_f.max()
    w = np.exp(log_f - top)
    mean = w.mean()
    return Evidence(float(top + np.log(mean)), float(w.std() / mean / math.sqrt(len(w))))


def evidence_of_mixture(log_p: np.ndarray, draws: Draws) -> tuple[Evidence, np.ndarray]:
    """Return the evidence estimated from draws of a mixture, and the share of each draw in it.

    The ratios of component density to mixture density have mean 1, and are used as control
    variates. The error is then about that of the best component alone.

    Args:
        log_p: unnormalised log-density at the draws, ``(n,)``.
        draws: draws of the mixture.

    Reference: Owen and Zhou, 2000, section 4.
    """
    log_m = draws.log_mixture.numpy()
    top = (log_p - log_m).max()
    y = np.exp(log_p - log_m - top)
    ratios = np.exp(draws.log_densities.numpy() - log_m)
    design = np.concatenate([np.ones((1, len(y))), ratios[1:] - 1]).T
    coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
    if not coefficients[0] > 0:  # a few weights dominate, so the regression is useless
        coefficients = np.array([y.mean(), 0.0, 0.0])
    mean = coefficients[0]
    error = stratified_error(y - design[:, 1:] @ coefficients[1:], draws.source.numpy())
    return Evidence(float(top + np.log(mean)), error / mean), y / (mean * len(y))


def stratified_error(values: np.ndarray, source: np.ndarray) -> float:
    """Return the standard error of the mean of values with fixed numbers of draws per source."""
    parts = [values[source == k] for k in np.unique(source)]
    return math.sqrt(sum(len(part) * part.var() for part in parts)) / len(values)
