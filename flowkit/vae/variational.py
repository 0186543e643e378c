"""Variational inference without data: a flow fitted to a density known up to its constant."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowkit import estimators
from flowkit._checks import check_choice, check_count
from flowkit.errors import ArgumentError, ContextError, ShapeError
from flowkit.estimators import Estimate
from flowkit.flows import Flow
from flowkit.metrics.importance import effective_samples, psis
from flowkit.training import Batch, History, Step, fit

LogDensity = Callable[[Tensor], Tensor]
_OBJECTIVES = ("elbo", "iwae", "sticking_the_landing", "dreg", "reweighted_wake_sleep")
_CHUNK = 10_000
_FEWEST = 1_000  # draws that a tail is smoothed of
_DIFFERENTIATED = tuple(getattr(estimators, name) for name in _OBJECTIVES[:4])
# Below this an importance weight says "impossible"; -inf itself has no gradient to leave it by.
_LEAST = -1e6


@dataclass(frozen=True)
class Diagnostics:
    """How well a flow stands for the density that it was fitted to.

    Attributes:
        effective_samples: of ``draws`` importance weights, how many equal ones are worth as much.
        draws: number of weights.
        pareto_k: shape of their tail: up to 0.7 estimates by them can be trusted.
        log_evidence: ``log`` of the integral of the unnormalised density, by the weights.
        elbo: the lower bound on it that the flow was fitted by, whatever its objective.
    """

    effective_samples: float
    draws: int
    pareto_k: float
    log_evidence: float
    elbo: float

    def __str__(self) -> str:
        share = self.effective_samples / self.draws
        trust = "trust it" if self.pareto_k <= 0.7 else "it misses some of the density"
        return (
            f"effective samples {self.effective_samples:,.0f} of {self.draws:,} ({share:.0%}), "
            f"Pareto k {self.pareto_k:.2f} ({trust}), log evidence {self.log_evidence:.4f}"
        )


class Posterior:
    """A flow that stands for an unnormalised density, with what corrects it.

    Made by `fit_posterior`.

    Attributes:
        flow: the fitted flow.
        target: the unnormalised log-density.
        history: of the fit.
    """

    def __init__(self, flow: Flow, target: LogDensity, history: History, seed: int) -> None:
        self.flow, self.target, self.history = flow, target, history
        self._seed = seed

    @torch.no_grad()
    def sample(
        self, n: int, *, resample: bool = False, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw ``(n, features)``, of the flow; or of the density itself, but for what it misses.

        Args:
            n: number of draws.
            resample: draw ten times as many from the flow, a thousand at least, and keep some by
                their importance weights, smoothed: nearly exact where the diagnostics are good.
            generator: where to draw from.
        """
        check_count("n", n)
        if not resample:
            return self.flow.sample((n,), generator=generator)
        z, log_f = self.weighted(max(10 * n, _FEWEST), generator=generator)
        weights = torch.from_numpy(np.exp(psis(log_f.double().cpu().numpy()).log_weights))
        weights = weights.to(z.device)
        return z[torch.multinomial(weights, n, replacement=True, generator=generator)]

    @torch.no_grad()
    def weighted(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return draws of the flow ``(n, features)`` and their log importance weights ``(n,)``."""
        check_count("n", n)
        draws, weights = [], []
        for start in range(0, n, _CHUNK):
            z, log_q = self.flow.sample_and_log_prob((min(_CHUNK, n - start),), generator=generator)
            draws.append(z)
            weights.append(_target(self.target, z) - log_q)
        return torch.cat(draws), torch.cat(weights)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the flow's log-density of points ``(*batch, features)``."""
        return self.flow.log_prob(z)

    @cached_property
    def diagnostics(self) -> Diagnostics:
        """Effective sample size and Pareto k of 10,000 fresh draws."""
        generator = torch.Generator().manual_seed(self._seed + 1)
        _, log_f = self.weighted(10_000, generator=generator)
        weights = log_f.double().cpu().numpy()
        return Diagnostics(
            effective_samples=effective_samples(weights),
            draws=len(weights),
            pareto_k=psis(weights).pareto_k,
            log_evidence=float(torch.logsumexp(log_f.double(), 0) - np.log(len(weights))),
            elbo=float(np.mean(np.maximum(weights, _LEAST))),
        )


class _Fitted(nn.Module):
    """A flow and a log-density as `flowkit.training.fit` wants them; rows only count the draws."""

    step: Tensor

    def __init__(
        self,
        flow: Flow,
        target: LogDensity,
        estimate: Callable[[Tensor, Tensor, Tensor], Estimate],
        samples: int,
        anneal: int,
    ) -> None:
        super().__init__()
        self.flow, self._target, self._estimate = flow, target, estimate
        self._samples, self._anneal = samples, anneal
        self.register_buffer("step", torch.zeros(()))

    def training_steps(self) -> dict[str, Step]:
        """Return the one step."""
        return {"posterior": Step(self.flow.parameters(), self._loss, before=self.step.fill_)}

    def _loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        shape = (self._samples, len(batch.x))
        z, log_q = self.flow.sample_and_log_prob(shape, generator=generator)
        log_p = _target(self._target, z.flatten(0, 1)).view(shape)
        if self._anneal:
            log_p = log_p * (self.step / self._anneal).clamp(max=1.0)
        bound, surrogate = self._estimate(log_p, log_q, z)
        return {"negative_bound": -(bound + surrogate - surrogate.detach()).mean()}


def fit_posterior(
    log_prob: LogDensity,
    flow: Flow,
    *,
    objective: str | Callable[..., Estimate] = "elbo",
    samples: int = 1,
    batch_size: int = 256,
    steps: int = 2_000,
    anneal: int = 0,
    learning_rate: float = 1e-3,
    seed: int = 0,
    **options: Any,
) -> Posterior:
    """Fit a flow to a density known up to its constant, such as a posterior.

    Minimises ``KL(flow || density)`` by the ELBO, or an importance-weighted bound, or fits the flow
    to importance-weighted draws of itself ("reweighted_wake_sleep"), which looks after what it
    misses. The ELBO alone may settle for some of several modes: temper it then.

    Args:
        log_prob: maps points ``(n, features)`` to unnormalised log-densities ``(n,)``,
            differentiably but for "reweighted_wake_sleep"; ``-inf`` where there is no density.
        flow: without context; trained in place. Where the density lives in a box, put an
            `Interval` before the flow.
        objective: "elbo", "iwae", "sticking_the_landing", "dreg" or "reweighted_wake_sleep".
        samples: K of a bound that is importance-weighted.
        batch_size: bounds per step, so ``samples * batch_size`` points.
        steps: of the fit.
        anneal: in so many first steps the log-density is multiplied by a number that rises from 0
            to 1, so that the flow first spreads and then settles.
        learning_rate: of Adam.
        seed: of all noise.
        options: further ones of `flowkit.training.fit`.

    Raises:
        ContextError: the flow asks for a context.
        ShapeError: the log-density returns another shape.
        ArgumentError: it returns NaN, or no density anywhere the flow begins, or nothing that can
            be differentiated; or an unknown objective.

    Reference: Rezende and Mohamed, *Variational inference with normalizing flows*, 2015.

    Example:
        >>> from flowkit.flows import maf
        >>> target = lambda z: -0.5 * ((z - 3) / 0.5).square().sum(-1)
        >>> posterior = fit_posterior(target, maf(2, layers=2), steps=300, learning_rate=1e-2)
        >>> posterior.diagnostics.pareto_k < 0.7
        True
    """
    if flow.context_features:
        raise ContextError("flow", "a flow without context", f"{flow.context_features} features")
    check_count("samples", samples)
    check_count("batch_size", batch_size)
    check_count("steps", steps)
    check_count("anneal", anneal, minimum=0)
    estimate = _estimate_of(objective, flow)
    _check(log_prob, flow, seed)
    _check_gradient(log_prob, flow, seed, objective)
    model = _Fitted(flow, log_prob, estimate, samples, anneal)
    history = fit(
        model,
        torch.zeros(batch_size, 1),
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        **options,
    )
    return Posterior(flow, log_prob, history, seed)


def _estimate_of(
    objective: str | Callable[..., Estimate], flow: Flow
) -> Callable[[Tensor, Tensor, Tensor], Estimate]:
    """Return the estimate as a function of log p, log q and the draws."""
    estimator: Any = objective
    if isinstance(objective, str):
        estimator = getattr(estimators, check_choice("objective", objective, _OBJECTIVES))
    if estimator in (estimators.sticking_the_landing, estimators.dreg):
        return lambda log_p, _, z: estimator(log_p, flow, z)
    if estimator is estimators.reweighted_wake_sleep:
        # Of the weights alone the flow learns nothing through the draws. The bound's two batch
        # dimensions become one: every draw of a step is weighed against all others.
        return lambda log_p, _, z: _broadcast(
            estimator(log_p.detach().flatten(), flow.log_prob(z.detach()).flatten())
        )
    return lambda log_p, log_q, _: estimator(log_p, log_q)


def _broadcast(estimate: Estimate) -> Estimate:
    return Estimate(estimate.bound.unsqueeze(0), estimate.surrogate.unsqueeze(0))


def _target(log_prob: LogDensity, z: Tensor) -> Tensor:
    """Return the log-density with a finite number for "impossible", whose gradient is zero."""
    return log_prob(z).clamp(min=_LEAST)


@torch.no_grad()
def _check(log_prob: LogDensity, flow: Flow, seed: int) -> None:
    """Raise unless a log-density is one at what the flow draws before it is fitted."""
    z = flow.sample((64,), generator=torch.Generator().manual_seed(seed))
    value = log_prob(z)
    if not isinstance(value, Tensor) or value.shape != (64,):
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ShapeError("log_prob", "a function that returns (n,) for points (n, features)", got)
    if value.isnan().any():
        at = z[value.isnan()][0].tolist()
        raise ArgumentError("log_prob", "numbers", f"NaN at {[round(c, 4) for c in at]}")
    if not (value > -torch.inf).any():
        expected = "some density where the flow begins; bring it there by a base or a transform"
        raise ArgumentError("log_prob", expected, "-inf at 64 draws")


def _check_gradient(log_prob: LogDensity, flow: Flow, seed: int, objective: Any) -> None:
    """Raise unless a log-density can be differentiated, where the objective asks for it."""
    estimator = getattr(objective, "func", objective)  # of a functools.partial
    if estimator not in (*_OBJECTIVES[:4], *_DIFFERENTIATED):
        return
    with torch.no_grad():
        z = flow.sample((64,), generator=torch.Generator().manual_seed(seed))
    with torch.enable_grad():
        value = log_prob(z.requires_grad_())
    if not value.requires_grad and (value != value[0]).any():  # a constant has none, and needs none
        expected = "what torch can differentiate (or reweighted_wake_sleep)"
        raise ArgumentError("log_prob", expected, "values without a gradient")
