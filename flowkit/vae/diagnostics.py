"""Diagnostics of a flow as an approximation of a density: importance weights and missed mass."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from flowkit.distributions import Flow
from flowkit.metrics.importance import effective_samples, psis
from flowkit.transforms import Chain, Inverse, RationalQuadraticSpline, Transform
from flowkit.vae.importance_proposals import (
    Draws,
    evidence_of,
    evidence_of_mixture,
    stratified_error,
)

_TRUSTED = 0.7  # Pareto k, Vehtari et al.
# If the error of the evidence is below, weights are nearly equal, and their tail index is noise.
_PRECISE = 0.003
_MATERIAL = 0.01  # share of the density, or difference of log evidences
_ERRORS = 3.0  # number of standard errors by which two evidences may differ
# Density counts as missed only where it is more than ten times that of the flow.
_ABSENT = math.log(10)
_EDGE = 1e-3  # share of the density that may lie outside of a proposed box
_MARGIN = 1.2
# The log-density of impossible points; -inf has no useful gradient.
LEAST = -1e6


@dataclass(frozen=True)
class Diagnostics:
    """Quality of a flow as an approximation of the density that the flow was fitted to.

    Draws of a flow contain no information about density that the flow misses. The evidence is
    therefore estimated twice: from draws of the flow, and with draws of two wider distributions.

    Attributes:
        effective_samples: effective sample size of ``draws`` importance weights of the flow.
        draws: number of draws of the flow.
        pareto_k: Pareto tail index of the importance weights. Up to 0.7, estimates by the weights
            are reliable, except for missed density.
        log_evidence: log of the integral of the unnormalised density, estimated from all draws.
        elbo: evidence lower bound of the flow, for any training objective.
        log_evidence_error: standard error of ``log_evidence``.
        own_log_evidence: log of the same integral, estimated from draws of the flow alone.
        own_log_evidence_error: standard error of ``own_log_evidence``.
        missed: share of the density where the flow has too little density for any of its draws.
        missed_error: standard error of ``missed``.
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

        Evidences disagree if they differ by more than three standard errors, and more than 0.01.
        """
        apart = abs(self.log_evidence - self.own_log_evidence)
        error = math.hypot(self.log_evidence_error, self.own_log_evidence_error)
        return self.missed > _MATERIAL or apart > max(_ERRORS * error, _MATERIAL)

    @property
    def trusted(self) -> bool:
        """Whether no material density is missed, and the importance weights are reliable.

        Weights are reliable if Pareto k is at most 0.7, or the error of the evidence at most 0.003.
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
        """The missed share, and the evidence estimated from draws of the flow, in words."""
        return (
            f"the flow misses {self.missed:.1%} ± {self.missed_error:.1%} of the density, and "
            f"draws of the flow alone estimate log evidence {self.own_log_evidence:.4f} ± "
            f"{self.own_log_evidence_error:.4f}"
        )


def diagnose(flow: Flow, draws: Draws, log_p: Tensor) -> Diagnostics:
    """Return the diagnostics of a flow, from draws of the flow and of wider distributions.

    Args:
        flow: the flow.
        draws: draws of the flow and of the wider distributions.
        log_p: the unnormalised log-density at the draws, ``(n,)``.
    """
    log_target = log_p.double().cpu().numpy()
    log_q, source = draws.log_densities[0].numpy(), draws.source.numpy()
    log_weights = (log_target - log_q)[source == 0]
    evidence, shares = evidence_of_mixture(log_target, draws)
    own_evidence = evidence_of(log_weights)
    possible = draws.possible.numpy()
    # No draw of the flow has a larger ratio than the largest of its weights.
    log_ratio = np.where(possible, log_target - np.where(possible, log_q, 0.0), -np.inf)
    unseen = log_ratio > max(log_weights.max(), evidence.log + _ABSENT)
    missed = np.where(unseen, shares, 0.0)
    result = Diagnostics(
        effective_samples=effective_samples(log_weights),
        draws=len(log_weights),
        pareto_k=psis(log_weights).pareto_k,
        log_evidence=evidence.log,
        elbo=float(np.mean(np.maximum(log_weights, LEAST))),
        log_evidence_error=evidence.error,
        own_log_evidence=own_evidence.log,
        own_log_evidence_error=own_evidence.error,
        missed=float(missed.sum()),
        missed_error=stratified_error(missed * len(missed), source),
    )
    if not result.misses:
        return result
    return replace(result, advice=_advice(flow, draws.z, shares, result.missed))


def _advice(flow: Flow, z: Tensor, shares: np.ndarray, missed: float) -> str:
    """Advise a wider box if the target extends beyond the box of the flow's splines."""
    before, spline = _splines(flow.transform)
    if spline is not None:
        with torch.no_grad():
            for transform in before:
                z = transform(z)[0]
        bound = max(np.atleast_1d(spline.bound).tolist())
        extent = z.flatten(1).abs().amax(1).double().cpu().numpy()
        beyond = float(shares[extent > bound].sum())
        if beyond > 0.5 * max(missed, _MATERIAL):
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
    """Return the first spline with linear tails, and the transforms before that spline."""
    before: list[Transform] = []
    for member in _members(transform):
        layer: nn.Module = member.transform if isinstance(member, Inverse) else member
        spline = getattr(layer, "univariate", None)
        if isinstance(spline, RationalQuadraticSpline) and "linear" in np.atleast_1d(spline.tails):
            return before, spline
        before.append(member)
    return before, None


def _members(transform: Transform) -> list[Transform]:
    """Return the transforms of a chain in order, with nested chains flattened."""
    if not isinstance(transform, Chain):
        return [transform]
    return [part for member in transform._members() for part in _members(member)]
