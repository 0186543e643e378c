"""Tests of samplers against their own log-densities."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from flowkit._training_mode import evaluating
from flowkit.errors import ArgumentError
from flowkit.testing.cells import all_states, enumeration_test, quadrature_test
from flowkit.testing.latents import latent_tests
from flowkit.testing.moves import Space, move_tests

_STATES = 5_000
_CONTEXTS = 4
# Least effective number of importance weights.
_EFFECTIVE = 500.0
_WIDER = 2.0  # covariance of the proposal, relative to that of the draws
_DEGREES = 4.0
_IMPORTANCE_FEATURES = 6


def check_samples(
    distribution: Any,
    context: Tensor | None = None,
    *,
    draws: int = 6_000,
    levels: int | None = None,
    support: Tensor | None = None,
    groups: Sequence[Sequence[int]] | None = None,
    periods: Mapping[int, float] | None = None,
    false_alarm: float = 1e-4,
    seed: int = 0,
) -> dict[str, float]:
    """Test draws of a distribution against its own log-density.

    The applicable tests among these are made:

    - "latents": latents of draws follow the base of a flow and are independent;
    - "cells": counts in cells against integrals, for one and two real features;
    - "states": counts against probabilities, if all states can be listed;
    - "importance": moments of draws against those of a wider proposal, for few real features;
    - "moves": reversible moves (`flowkit.testing.moves`), in any dimension, also with missing
      entries.

    For more than two features, only the latents of a flow detect mass far from all draws.

    Args:
        distribution: an object with ``sample(sample_shape, context, generator)`` and
            ``log_prob(x, context)``, or a distribution of torch. NaN is a missing entry.
        context: ``(m, context_features)`` for a conditional distribution; tests use each row.
        draws: number of draws for each row of the context.
        levels: number of values 0, 1, ... of each feature, for a discrete distribution.
        support: ``(S, *event_shape)``, the states of a discrete distribution that are counted.
        groups: groups of features that form one column; by default each feature is a column.
        periods: lengths of the circles of circular features, by index.
        false_alarm: upper bound of the probability of a failure if sampler and density agree,
            divided among the tests. For cells, latents and importance the bound is asymptotic.
        seed: random seed of draws and moves.

    Returns:
        The least p-value of each kind of test, times the number of all tests.

    Raises:
        AssertionError: a draw has density zero, or a test fails; the message names the test.

    Example:
        >>> from flowkit.flows import StandardNormal
        >>> sorted(check_samples(StandardNormal(2)))
        ['cells', 'importance', 'moves']
    """
    sampler = _Sampler(distribution, context, seed)
    rows = sampler.draw(draws)  # (n, m, D)
    _require_possible(rows, sampler)
    d = rows.shape[-1]
    present = ~rows.isnan()
    listed = levels is not None or support is not None
    whole = ((rows == rows.round()) | rows.isnan()).flatten(0, 1).all(0) | listed
    space = Space(groups or [[j] for j in range(d)], levels, whole, dict(periods or {}))
    p_values: dict[str, list[float]] = {"moves": []}
    of_moves = move_tests(rows, sampler.log_prob, space, sampler.generator)
    p_values |= {f"moves: {name}": of_move for name, of_move in of_moves.items()}
    p_values["latents"] = latent_tests(distribution, sampler.shaped(rows), context)
    states = support
    if states is None and levels is not None and levels**d <= _STATES:
        states = all_states(d, levels)
    if states is not None:
        p_values["states"] = [
            enumeration_test(rows[:, i], states.flatten(1).to(rows), sampler.of_context(i))
            for i in sampler.contexts()
        ]
    elif not whole.any() and present.all():
        if d <= 2:
            cells = [quadrature_test(rows[:, i], sampler.of_context(i)) for i in sampler.contexts()]
            p_values["cells"] = [p for p in cells if p is not None]
        if d <= _IMPORTANCE_FEATURES and not periods:
            p_values["importance"] = [
                p
                for i in sampler.contexts()
                for p in _importance_tests(rows[:, i], sampler.of_context(i), sampler.generator)
            ]
    return _adjusted(p_values, false_alarm)


def _adjusted(p_values: Mapping[str, list[float]], false_alarm: float) -> dict[str, float]:
    """Return adjusted p-values by kind of test, and raise if one is too small."""
    number = sum(map(len, p_values.values()))
    adjusted = {name: min(min(p) * number, 1.0) for name, p in p_values.items() if p}
    if not adjusted:
        raise AssertionError("no test is possible, as all draws are the same")
    for name, p_value in adjusted.items():
        if not p_value >= false_alarm:
            raise AssertionError(
                f"draws do not follow the density: the test of {name} has p-value {p_value:.2g}, "
                f"adjusted for {number} tests; for correct draws, a p-value below {false_alarm:g} "
                "has at most that probability"
            )
    result: dict[str, float] = {}
    for name, p_value in adjusted.items():
        kind = name.partition(":")[0]
        result[kind] = min(result.get(kind, 1.0), p_value)
    return result


class _Sampler:
    """A distribution at contexts, with events flattened to vectors."""

    def __init__(self, distribution: Any, context: Tensor | None, seed: int) -> None:
        if context is not None and context.dim() != 2:
            raise ArgumentError("context", "a matrix (m, context_features)", tuple(context.shape))
        self.distribution, self.context = distribution, context
        self.generator = torch.Generator().manual_seed(seed)
        self.event_shape: tuple[int, ...] = ()

    def draw(self, n: int) -> Tensor:
        """Return ``(n, m, D)``."""
        with torch.no_grad(), self._settled():
            if isinstance(self.distribution, torch.distributions.Distribution):
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(int(torch.randint(2**31, (), generator=self.generator)))
                    rows = self.distribution.sample((n,))
            else:
                rows = self.distribution.sample((n,), self.context, self.generator)
        if self.context is None:
            rows = rows.unsqueeze(1)
        self.event_shape = tuple(rows.shape[2:])
        return rows.reshape(n, rows.shape[1], -1)

    def log_prob(self, rows: Tensor) -> Tensor:
        """Return the log-density of ``(k, m, D)``, ``(k, m)``."""
        return self._log_prob(rows, self.context)

    def of_context(self, i: int) -> Any:
        """Return the log-density at one row of the context, from ``(k, D)`` to ``(k,)``."""
        context = None if self.context is None else self.context[i : i + 1]
        return lambda rows: self._log_prob(rows.unsqueeze(1), context).squeeze(1)

    def contexts(self) -> range:
        """Return the indices of the context's rows for tests of single rows."""
        return range(1 if self.context is None else min(len(self.context), _CONTEXTS))

    def shaped(self, rows: Tensor) -> Tensor:
        """Return ``(n, m, D)`` as ``(n, m, *event_shape)``."""
        return rows.reshape(*rows.shape[:2], *self.event_shape)

    def _log_prob(self, rows: Tensor, context: Tensor | None) -> Tensor:
        x = self.shaped(rows)
        with torch.no_grad(), self._settled():
            if isinstance(self.distribution, torch.distributions.Distribution):
                flat: Tensor = self.distribution.log_prob(x.flatten(0, 1))
                return flat.reshape(x.shape[:2])
            if context is None:
                flat = self.distribution.log_prob(x.flatten(0, 1), None)
                return flat.reshape(x.shape[:2])
            log_prob: Tensor = self.distribution.log_prob(x, context)
            return log_prob

    def _settled(self) -> Any:
        module = self.distribution
        return evaluating(module if isinstance(module, nn.Module) else nn.Identity())


def _require_possible(rows: Tensor, sampler: _Sampler) -> None:
    log_prob = sampler.log_prob(rows)
    bad = log_prob.isnan() | (log_prob == -math.inf)
    if bad.any():
        i, j = bad.nonzero()[0].tolist()
        raise AssertionError(
            f"draws do not follow the density: {int(bad.sum())} of {bad.numel()} have "
            f"log-density -inf or NaN, the first of them {rows[i, j].tolist()}"
        )


def _importance_tests(rows: Tensor, log_prob: Any, generator: torch.Generator) -> list[float]:
    """Return p-values of the mass, and of moments of draws against weighted ones.

    The proposal is a Student t, wider than the draws. With too few effective weights the list is
    empty.
    """
    n, d = rows.shape
    x = rows.double()
    place, covariance = x.mean(0), torch.cov(x.T).reshape(d, d)
    factor, failed = torch.linalg.cholesky_ex(covariance * _WIDER)
    if failed or not covariance.isfinite().all():
        return []
    normal = torch.randn(n, d, generator=generator, dtype=torch.float64)
    chi = torch.randn(n, int(_DEGREES), generator=generator, dtype=torch.float64)
    t = normal * torch.rsqrt(chi.square().mean(-1, keepdim=True))
    y = (place + t @ factor.T).to(rows.dtype)
    log_proposal = (
        math.lgamma((_DEGREES + d) / 2)
        - math.lgamma(_DEGREES / 2)
        - 0.5 * d * math.log(_DEGREES * math.pi)
        - factor.diagonal().log().sum()
        - 0.5 * (_DEGREES + d) * torch.log1p((t * t).sum(-1) / _DEGREES)
    )
    weight = (log_prob(y).double() - log_proposal).exp()
    effective = float(weight.sum() ** 2 / weight.square().sum().clamp(min=1e-300))
    if effective < _EFFECTIVE or float(weight.max()) > 0.02 * float(weight.sum()):
        return []
    z_scores = [float((weight.mean() - 1) / (weight.std() / math.sqrt(n)))]
    scale = covariance.diagonal().sqrt()
    for k in range(d):
        for moment in (torch.tanh, lambda u: torch.tanh(u) ** 2):
            here, there = (moment((v[:, k].double() - place[k]) / scale[k]) for v in (rows, y))
            mean = (weight * there).sum() / weight.sum()
            error = ((weight * (there - mean)).square().sum()).sqrt() / weight.sum()
            spread = torch.hypot(error, here.std() / math.sqrt(n))
            z_scores.append(float((here.mean() - mean) / spread))
    # A Student t, as weights have heavier tails than the normal.
    p_values: list[float] = (2 * stats.t.sf(np.abs(z_scores), df=50)).tolist()
    return p_values
