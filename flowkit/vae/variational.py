"""Variational inference without data: a flow fitted to an unnormalised density."""

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
from flowkit.vae.diagnostics import LEAST, Diagnostics, diagnose
from flowkit.vae.importance_proposals import Defensive, Draws

LogDensity = Callable[[Tensor], Tensor]
_OBJECTIVES = ("elbo", "iwae", "sticking_the_landing", "dreg", "reweighted_wake_sleep")
_CHUNK = 10_000
_FEWEST = 1_000  # draws that are resampled, at least
_DIFFERENTIATED = tuple(getattr(estimators, name) for name in _OBJECTIVES[:4])
_WIDE = 0.2  # share of weighted draws that are from wider distributions


class Posterior:
    """A flow as approximation of an unnormalised density, with importance weights.

    Instances are made by `fit_posterior`.

    Attributes:
        flow: the fitted flow.
        target: the unnormalised log-density.
        history: losses of the fit.
    """

    def __init__(self, flow: Flow, target: LogDensity, history: History, seed: int) -> None:
        self.flow, self.target, self.history = flow, target, history
        self._seed = seed

    @torch.no_grad()
    def sample(
        self, n: int, *, resample: bool = False, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw ``(n, features)`` from the flow, or from the density by importance resampling.

        Args:
            n: number of draws.
            resample: resample ``max(10 n, 1000)`` draws of `weighted` by their importance weights.
                Draws are nearly exact if the error of the evidence is small; points may repeat.
            generator: random number generator.
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
            wide: share of draws from two Student t distributions around the flow, which detect
                missed density; 0 for draws of the flow alone.
            generator: random number generator.

        Raises:
            ArgumentError: ``wide`` is outside of [0, 1), or the density raises an error at a draw.
        """
        check_count("n", n)
        if isinstance(wide, bool) or not isinstance(wide, int | float) or not 0 <= wide < 1:
            raise ArgumentError("wide", "a number in [0, 1)", repr(wide))
        draws, log_p = self._weighed(n, wide, generator)
        return draws.z, log_p - draws.log_mixture.to(log_p)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the flow's log-density of points ``(*batch, features)``."""
        return self.flow.log_prob(z)

    @cached_property
    def diagnostics(self) -> Diagnostics:
        """Diagnostics from 10,000 new draws of the flow, and as many of wider distributions."""
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
        """Return draws and their log-density, ``LEAST`` outside of the flow's support."""
        parts, log_p = [], []
        for start in range(0, n, _CHUNK):
            part = self._defensive.draw(min(_CHUNK, n - start), wide, generator)
            at = part.possible.to(part.z.device)
            try:
                log_density = _target(self.target, part.z[at])
            except Exception as error:
                expected = "a number at each draw, or -inf or NaN outside of the support"
                got = f"{type(error).__name__}: {error}"
                raise ArgumentError("log_prob", expected, got) from error
            of_flow = (part.source == 0).to(at.device)[at]
            # NaN is accepted at draws of the wider distributions, but not at those of the flow.
            log_density = torch.where(log_density.isnan() & ~of_flow, LEAST, log_density)
            everywhere = log_density.new_full((len(at),), LEAST)
            log_p.append(everywhere.masked_scatter(at, log_density))
            parts.append(part)
        return Draws.joined(parts), torch.cat(log_p)


class _Fitted(nn.Module):
    """A flow and a log-density as a model of `flowkit.training.fit`; only the row count matters."""

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
        """Return the training step of the flow."""
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
    """Fit a flow to an unnormalised density, such as a posterior.

    The objective is a bound on the evidence: the ELBO, which minimises ``KL(flow || density)``, or
    an importance-weighted bound. Alternatively, "reweighted_wake_sleep" fits the flow to
    importance-weighted draws, and misses less density. The ELBO may miss modes; ``anneal`` helps.

    After the fit, importance weights of 20,000 draws are computed, see `Diagnostics`. A spline flow
    has almost no density beyond ``bound``. If the target extends further, a warning names a wider
    bound.

    Args:
        log_prob: maps points ``(n, features)`` to unnormalised log-densities ``(n,)``, -inf outside
            of the support; differentiable except with "reweighted_wake_sleep".
        flow: a flow without context, trained in place. If the support is a box, prepend an
            `Interval` to the flow.
        objective: "elbo", "iwae", "sticking_the_landing", "dreg" or "reweighted_wake_sleep".
        samples: number of samples K of an importance-weighted bound.
        batch_size: bounds per step; a step draws ``samples * batch_size`` points.
        steps: steps of the fit.
        anneal: number of steps in which a factor of the log-density rises linearly from 0 to 1.
        learning_rate: learning rate of Adam.
        seed: random seed.
        options: further options of `flowkit.training.fit`.

    Raises:
        ContextError: the flow needs a context.
        ShapeError: the log-density returns another shape.
        ArgumentError: the log-density returns NaN, is -inf at all initial draws of the flow, or
            cannot be differentiated; or an unknown objective.

    Warns:
        MissedDensityWarning: the flow misses 1 % of the density or more. Draws of
            ``sample(resample=True)`` and ``diagnostics.log_evidence`` correct for missed density
            within reach of the wider distributions.

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
        diagnostics = posterior.diagnostics
    except ArgumentError as error:  # at draws of the wider distributions; the fit is still returned
        message = f"diagnostics are not available: {error}"
        warnings.warn(message, MissedDensityWarning, stacklevel=2)
        return posterior
    if diagnostics.misses:
        message = f"{diagnostics.finding}: {diagnostics.advice}"
        warnings.warn(message, MissedDensityWarning, stacklevel=2)
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
        # The draws carry no gradient. The two batch dimensions of the bound become one, so that
        # weights are normalised over all draws of a step.
        return lambda log_p, _, z: _broadcast(
            estimator(log_p.detach().flatten(), flow.log_prob(z.detach()).flatten())
        )
    return lambda log_p, log_q, _: estimator(log_p, log_q)


def _broadcast(estimate: Estimate) -> Estimate:
    return Estimate(estimate.bound.unsqueeze(0), estimate.surrogate.unsqueeze(0))


def _target(log_prob: LogDensity, z: Tensor) -> Tensor:
    """Return the log-density, at least ``LEAST``, so that -inf has gradient zero."""
    return log_prob(z).clamp(min=LEAST)


@torch.no_grad()
def _check(log_prob: LogDensity, flow: Flow, seed: int) -> None:
    """Raise unless the log-density is valid at initial draws of the flow."""
    z = flow.sample((64,), generator=torch.Generator().manual_seed(seed))
    value = log_prob(z)
    if not isinstance(value, Tensor) or value.shape != (64,):
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ShapeError("log_prob", "a function that returns (n,) for points (n, features)", got)
    if value.isnan().any():
        at = z[value.isnan()][0].tolist()
        nan = f"NaN at {[round(c, 4) for c in at]}"
        raise ArgumentError("log_prob", "a number or -inf at each draw of the flow", nan)
    if not (value > -torch.inf).any():
        expected = "a finite value at some initial draw of the flow; change its base or transform"
        raise ArgumentError("log_prob", expected, "-inf at 64 draws")


def _check_gradient(log_prob: LogDensity, flow: Flow, seed: int, objective: Any) -> None:
    """Raise unless the log-density can be differentiated, if the objective needs gradients."""
    estimator = getattr(objective, "func", objective)  # of a functools.partial
    if estimator not in (*_OBJECTIVES[:4], *_DIFFERENTIATED):
        return
    with torch.no_grad():
        z = flow.sample((64,), generator=torch.Generator().manual_seed(seed))
    with torch.enable_grad():
        value = log_prob(z.requires_grad_())
    if not value.requires_grad and (value != value[0]).any():  # a constant needs no gradient
        expected = "a differentiable function, except with objective='reweighted_wake_sleep'"
        raise ArgumentError("log_prob", expected, "values without a gradient")
