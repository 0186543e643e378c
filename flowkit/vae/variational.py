"""Variational inference without data: a flow fitted to a density known up to its constant."""

import warnings
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from flowkit import estimators
from flowkit._checks import check_choice, check_count
from flowkit._noise import source
from flowkit.distributions import Flow
from flowkit.errors import ArgumentError, ContextError, MissedDensityWarning, ShapeError
from flowkit.estimators import Estimate
from flowkit.training import Batch, History, Step, fit
from flowkit.vae.defensive import Defensive, Draws
from flowkit.vae.diagnostics import LEAST, Diagnostics, diagnose

LogDensity = Callable[[Tensor], Tensor]
_OBJECTIVES = ("elbo", "iwae", "sticking_the_landing", "dreg", "reweighted_wake_sleep")
_CHUNK = 10_000
_FEWEST = 1_000  # draws that some are kept of
_DIFFERENTIATED = tuple(getattr(estimators, name) for name in _OBJECTIVES[:4])
_WIDE = 0.2  # share of weighted draws that are of wider laws


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
        """Draw ``(n, features)`` of the flow, or by importance weights of the density itself.

        Args:
            n: number of draws.
            resample: draw ten times as many as `weighted` does, a thousand at least, and keep some
                by their weights: nearly exact where the error of the evidence is small. A point
                may be kept repeatedly.
            generator: where to draw from.
        """
        check_count("n", n)
        if not resample:
            return self.flow.sample((n,), generator=generator)
        z, log_f = self.weighted(max(10 * n, _FEWEST), generator=generator)
        weights = log_f.softmax(0)
        return z[torch.multinomial(weights, n, replacement=True, **source(generator))]

    @torch.no_grad()
    def weighted(
        self, n: int, *, wide: float = _WIDE, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return draws ``(n, features)`` and their log importance weights ``(n,)``.

        Args:
            n: number of draws.
            wide: share of them that is not the flow's, but of two Student t's around it, by which
                the weights see what the flow misses; 0 for the flow's own draws alone.
            generator: where to draw from.

        Raises:
            ArgumentError: ``wide`` is no share below 1, or the density raises an error at a draw.
        """
        check_count("n", n)
        if isinstance(wide, bool) or not isinstance(wide, int | float) or not 0 <= wide < 1:
            raise ArgumentError("wide", "a share of at least 0 and below 1", repr(wide))
        draws, log_p = self._weighed(n, wide, generator)
        return draws.z, log_p - draws.log_mixture.to(log_p)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the flow's log-density of points ``(*batch, features)``."""
        return self.flow.log_prob(z)

    @cached_property
    def diagnostics(self) -> Diagnostics:
        """What 10,000 fresh draws of the flow, and as many of wider laws, show of it."""
        generator = torch.Generator().manual_seed(self._seed + 1)
        with torch.no_grad():
            draws, log_p = self._weighed(20_000, 0.5, generator)
            return diagnose(self.flow, draws, log_p)

    @cached_property
    def _defensive(self) -> Defensive:
        return Defensive(self.flow, self._seed + 2)

    def _weighed(
        self, n: int, wide: float, generator: torch.Generator | None
    ) -> tuple[Draws, Tensor]:
        """Return draws, and the density at them: none where the flow's support ends."""
        parts, log_p = [], []
        for start in range(0, n, _CHUNK):
            part = self._defensive.draw(min(_CHUNK, n - start), wide, generator)
            at = part.possible.to(part.z.device)
            try:
                found = _target(self.target, part.z[at])
            except Exception as error:
                expected = "a density wherever the flow has any, or -inf or NaN for none"
                got = f"{type(error).__name__}: {error}"
                raise ArgumentError("log_prob", expected, got) from error
            own = (part.source == 0).to(at.device)[at]
            # A wider law may go where the density is no number; the flow has no business there.
            found = torch.where(found.isnan() & ~own, LEAST, found)
            log_p.append(found.new_full((len(at),), LEAST).masked_scatter(at, found))
            parts.append(part)
        return Draws.joined(parts), torch.cat(log_p)


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

    At the end the flow is weighed with 20,000 draws, see `Diagnostics`. A spline flow has no
    density to speak of beyond its ``bound``: where the target reaches further, a warning names a
    wider box.

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

    Warns:
        MissedDensityWarning: the flow misses 1 % of the density or more. Draws of
            ``sample(resample=True)`` and ``diagnostics.log_evidence`` make up for it, within their
            errors, as far as the wider laws reach.

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
    posterior = Posterior(flow, log_prob, history, seed)
    try:
        found = posterior.diagnostics
    except ArgumentError as error:  # far from the flow, which is no reason to lose the fit
        warnings.warn(f"the flow is not weighed: {error}", MissedDensityWarning, stacklevel=2)
        return posterior
    if found.misses:
        warnings.warn(f"{found.finding}: {found.advice}", MissedDensityWarning, stacklevel=2)
    return posterior


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
    return log_prob(z).clamp(min=LEAST)


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
