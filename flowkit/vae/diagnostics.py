"""Diagnostics of a flow that stands for a density: importance weights, and mass that they miss."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from flowkit.distributions import Flow
from flowkit.metrics.importance import effective_samples, psis
from flowkit.transforms import Chain, Inverse, RationalQuadraticSpline, Transform
from flowkit.vae.defensive import Draws, evidence_of, evidence_of_mixture, stratified_error

_TRUSTED = 0.7  # Pareto k, Vehtari et al.
# With this error of the evidence the weights are so equal that the shape of their tail is noise.
_PRECISE = 0.003
_MATERIAL = 0.01  # share of the density, or difference of log evidences
_ERRORS = 3.0  # by how many two evidences may differ
# Where the flow has less than a tenth of the density it is not there, whatever its own draws weigh.
_ABSENT = math.log(10)
_EDGE = 1e-3  # share of the density that may stay outside a box that is proposed
_MARGIN = 1.2
# Below this an importance weight says "impossible"; -inf itself has no gradient to leave it by.
LEAST = -1e6


@dataclass(frozen=True)
class Diagnostics:
    """How well a flow stands for the density that it was fitted to.

    Weights of the flow's own draws cannot see where it has no density. The evidence is therefore
    estimated with draws of two wider laws beside them, and both estimates are compared.

    Attributes:
        effective_samples: of ``draws`` importance weights, how many equal ones are worth as much.
        draws: number of the flow's own draws.
        pareto_k: shape of their weights' tail: up to 0.7 estimates by them can be trusted, but for
            what they miss.
        log_evidence: ``log`` of the integral of the unnormalised density, by all draws.
        elbo: the lower bound on it that the flow was fitted by, whatever its objective.
        log_evidence_error: standard error of ``log_evidence``.
        own_log_evidence: the same integral by the flow's own draws.
        own_log_evidence_error: standard error of that.
        missed: share of the density where the flow has so little that none of its own draws shows
            it.
        missed_error: standard error of that.
        advice: what to change, if density is missed.
    """

    effective_samples: float
    draws: int
    pareto_k: float
    log_evidence: float
    elbo: float
    log_evidence_error: float = math.nan
    own_log_evidence: float = math.nan
    own_log_evidence_error: float = math.nan
    missed: float = 0.0
    missed_error: float = 0.0
    advice: str = ""

    @property
    def misses(self) -> bool:
        """Whether the flow misses more than 1 % of the density, or the two evidences disagree.

        They do if they differ by more than three standard errors, and by more than 0.01.
        """
        apart = abs(self.log_evidence - self.own_log_evidence)
        error = math.hypot(self.log_evidence_error, self.own_log_evidence_error)
        return self.missed > _MATERIAL or apart > max(_ERRORS * error, _MATERIAL)

    @property
    def trusted(self) -> bool:
        """Whether nothing material is missed, and Pareto k is at most 0.7.

        Or an error of the evidence of at most 0.003: weights that are all but equal have no tail
        of any shape.
        """
        precise = self.pareto_k <= _TRUSTED or self.log_evidence_error <= _PRECISE
        return precise and not self.misses

    def __str__(self) -> str:
        share = self.effective_samples / self.draws
        verdict = "trust it" if self.trusted else "do not trust it"
        if self.misses:
            verdict += f": {self.finding}"
        return (
            f"effective samples {self.effective_samples:,.0f} of {self.draws:,} ({share:.0%}), "
            f"Pareto k {self.pareto_k:.2f}, log evidence {self.log_evidence:.4f} ± "
            f"{self.log_evidence_error:.4f} ({verdict})"
        )

    def __repr__(self) -> str:
        return f"<Diagnostics: {self}>"

    @property
    def finding(self) -> str:
        """The missed share, and what the flow's own draws say of the evidence, in words."""
        return (
            f"the flow misses {self.missed:.1%} ± {self.missed_error:.1%} of the density, and its "
            f"own draws give log evidence {self.own_log_evidence:.4f} ± "
            f"{self.own_log_evidence_error:.4f}"
        )


def diagnose(flow: Flow, draws: Draws, log_p: Tensor) -> Diagnostics:
    """Return the diagnostics of a flow, by draws of it and of wider laws.

    Args:
        flow: the flow.
        draws: of it and the wider laws.
        log_p: the unnormalised log-density at them, ``(n,)``.
    """
    log_target = log_p.double().cpu().numpy()
    log_q, source = draws.log_densities[0].numpy(), draws.source.numpy()
    own = (log_target - log_q)[source == 0]
    evidence, shares = evidence_of_mixture(log_target, draws)
    own_evidence = evidence_of(own)
    possible = draws.possible.numpy()
    # Beyond the largest of its own weights no draw of the flow has been.
    log_ratio = np.where(possible, log_target - np.where(possible, log_q, 0.0), -np.inf)
    unseen = log_ratio > max(own.max(), evidence.log + _ABSENT)
    missed = np.where(unseen, shares, 0.0)
    found = Diagnostics(
        effective_samples=effective_samples(own),
        draws=len(own),
        pareto_k=psis(own).pareto_k,
        log_evidence=evidence.log,
        elbo=float(np.mean(np.maximum(own, LEAST))),
        log_evidence_error=evidence.error,
        own_log_evidence=own_evidence.log,
        own_log_evidence_error=own_evidence.error,
        missed=float(missed.sum()),
        missed_error=stratified_error(missed * len(missed), source),
    )
    return replace(found, advice=_advice(flow, draws.z, shares, found)) if found.misses else found


def _advice(flow: Flow, z: Tensor, shares: np.ndarray, found: Diagnostics) -> str:
    """Return a wider box, if the flow's splines have one and the target leaves it."""
    before, spline = _splines(flow.transform)
    if spline is not None:
        with torch.no_grad():
            for transform in before:
                z = transform(z)[0]
        bound = max(np.atleast_1d(spline.bound).tolist())
        extent = z.flatten(1).abs().amax(1).double().cpu().numpy()
        beyond = float(shares[extent > bound].sum())
        if beyond > 0.5 * max(found.missed, _MATERIAL):
            order = np.argsort(extent)
            kept = np.cumsum(shares[order]) < (1 - _EDGE) * shares.sum()
            wide = math.ceil(_MARGIN * extent[order][min(int(kept.sum()), len(order) - 1)])
            bins = math.ceil(spline.bins * wide / bound)
            return (
                f"its splines act within ±{bound:g} only, and {beyond:.1%} of the density lies "
                f"beyond: make the flow with bound={wide}, bins={bins}"
            )
    return (
        "fit it for more steps, with anneal=, with objective='reweighted_wake_sleep', or fit a "
        "flow of more layers"
    )


def _splines(transform: Transform) -> tuple[list[Transform], RationalQuadraticSpline | None]:
    """Return the first spline with linear tails, and what stands between the data and it."""
    before: list[Transform] = []
    for member in _members(transform):
        layer: nn.Module = member.transform if isinstance(member, Inverse) else member
        spline = getattr(layer, "univariate", None)
        if isinstance(spline, RationalQuadraticSpline) and "linear" in np.atleast_1d(spline.tails):
            return before, spline
        before.append(member)
    return before, None


def _members(transform: Transform) -> list[Transform]:
    """Return the transforms of a chain, and of chains within it, one after the other."""
    if not isinstance(transform, Chain):
        return [transform]
    return [part for member in transform._members() for part in _members(member)]
