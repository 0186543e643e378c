"""Tests of the contracts of distributions and flows."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowkit.distributions import Distribution, Flow
from flowkit.errors import ArgumentError, ContextError, ShapeError
from flowkit.testing.comparison import TOLERANCE, check_batches, check_dtype, require, worst_error
from flowkit.testing.samples import check_samples
from flowkit.testing.transforms import check_transform

# Draws for the comparison with the density, for each of a few rows of the context.
_DRAWS, _CONTEXTS = 1_500, 2
_FAR = 1e6  # factor of points far out, where a density must not be NaN either


def check_distribution(
    distribution: Distribution,
    x: Tensor,
    context: Tensor | None = None,
    *,
    estimate: bool = False,
    **sampling: Any,
) -> dict[str, float]:
    """Verify the promises of a `Distribution` at given points, on a copy.

    - `log_prob`: shapes for zero, one, two and empty batch dimensions; dtype; equality of two
      calls; independence of rows from other rows, also with a NaN; no NaN far out.
    - `sample`: shapes; the same state of a generator gives the same draws, without use of torch's
      global generator; gradients exactly if ``has_rsample``; draws follow the density, by
      `check_samples` in float64.
    - `sample_and_log_prob` and `as_distribution` agree with both.
    - Bad input raises typed errors.

    Args:
        distribution: any distribution without an embedding, of the dtype of ``x``.
        x: at least four points of positive density, ``(n, *event_shape)``.
        context: ``(n, context_features)`` for a conditional distribution.
        estimate: whether `log_prob` is a random estimate, whose values are not compared.
        **sampling: options of `check_samples`, such as ``levels=2`` for binary vectors.

    Returns:
        "sample_log_prob", the worst error of `sample_and_log_prob`, and the p-values of
        `check_samples`.

    Raises:
        AssertionError: a promise is broken; the message names the promise.
        ArgumentError: ``distribution`` is not a `Distribution`.
        DtypeError: ``x`` has a dtype without a tolerance, such as float16.

    Example:
        >>> from flowkit.distributions import StudentT
        >>> errors = check_distribution(StudentT(2), torch.randn(8, 2))
        >>> errors["sample_log_prob"]
        0.0
    """
    if not isinstance(distribution, Distribution):
        raise ArgumentError("distribution", "a Distribution", type(distribution).__name__)
    check_dtype(x)
    distribution, x = copy.deepcopy(distribution).eval(), x.detach()
    n_event = len(distribution.event_shape)
    require(x.dim() == n_event + 1 and len(x) >= 4, "give x as at least four points")
    with torch.no_grad():
        log_prob = distribution.log_prob(x, context)
        require(log_prob.shape == x.shape[:1], f"log_prob has shape {tuple(log_prob.shape)}")
        require(log_prob.dtype == x.dtype, "log_prob has another dtype than x")
        far = distribution.log_prob(_FAR * x, context)
        require(not bool(log_prob.isnan().any() | far.isnan().any()), "log_prob is NaN at a number")
        if not estimate:
            again = distribution.log_prob(x, context)
            require(torch.equal(again, log_prob), "two calls of log_prob differ")
            check_batches(lambda x, c: (distribution.log_prob(x, c),), x, context, (log_prob,))
    error = _check_draws(distribution, x.dtype, context, estimate)
    _check_refusals(distribution, x, context)
    _check_as_torchs(distribution, x, context, None if estimate else log_prob)
    few = None if context is None else context[:_CONTEXTS].double()
    double = copy.deepcopy(distribution).double()
    p_values = check_samples(double, few, **{"draws": _DRAWS, **sampling})
    return {"sample_log_prob": error, **p_values}


def check_flow(flow: Flow, x: Tensor, context: Tensor | None = None) -> dict[str, float]:
    """Verify the contract of a flow at given points, on a copy.

    The checks are those of `check_transform` and `check_distribution`.

    Args:
        flow: any flow without an embedding, of the dtype of ``x``.
        x: at least four points, ``(n, *event_shape)``.
        context: ``(n, context_features)`` for a conditional flow.

    Returns:
        The worst errors: those of `check_transform`, and "sample_log_prob".

    Raises:
        AssertionError: a promise is broken; the message names the promise.
        ArgumentError: ``flow`` is not a `Flow`; for transforms use `check_transform`.
        DtypeError: ``x`` has a dtype without a tolerance, such as float16.
    """
    if not isinstance(flow, Flow):
        expected = "a Flow (for transforms use check_transform)"
        raise ArgumentError("flow", expected, type(flow).__name__)
    in_transform = context if flow.transform.context_features else None
    errors = check_transform(flow.transform, x, in_transform)
    sample_errors = check_distribution(flow, x, context)
    return {**errors, "sample_log_prob": sample_errors["sample_log_prob"]}


def total_mass(
    flow: Flow, low: float, high: float, *, points: int = 1000, context: Tensor | None = None
) -> float:
    """Integrate ``exp(log_prob)`` of a flow of one or two features on a grid of midpoints.

    Args:
        flow: the flow.
        low: lower end of the interval, the same for each feature.
        high: upper end.
        points: grid points per feature.
        context: ``(context_features,)`` for a conditional flow.

    Returns:
        The mass in the box: 1 if no mass is outside and every log-determinant is right.
    """
    require(flow.features <= 2, "total_mass needs a flow of one or two features")
    parameter = next(flow.parameters(), torch.empty(0))
    step = (high - low) / points
    axis = low + step * (torch.arange(points, dtype=parameter.dtype, device=parameter.device) + 0.5)
    grid = torch.cartesian_prod(*[axis] * flow.features).reshape(-1, flow.features)
    with torch.no_grad():
        parts = [flow.log_prob(rows, context).double().exp().sum() for rows in grid.split(100_000)]
    return float(sum(parts)) * step**flow.features


def _check_draws(
    distribution: Distribution, dtype: torch.dtype, context: Tensor | None, estimate: bool
) -> float:
    """Check shapes, randomness and gradients of draws; return the error of their log_prob."""
    device = torch.device("cpu") if context is None else context.device
    batch = () if context is None else context.shape[:-1]
    event = tuple(distribution.event_shape)

    def draw(function: Callable[..., Any], *shape: int) -> Any:
        return function(shape, context, torch.Generator(device).manual_seed(0))

    before = torch.get_rng_state()
    sample = draw(distribution.sample, 3, 2)
    unused = torch.equal(before, torch.get_rng_state())
    require(unused, "sample uses torch's global generator although a generator is given")
    require(sample.shape == (3, 2, *batch, *event), f"samples have shape {tuple(sample.shape)}")
    same = torch.equal(sample, draw(distribution.sample, 3, 2))
    require(same, "two generators of the same seed give different draws")
    require(sample.dtype == dtype, f"samples are of {sample.dtype}")
    require(distribution.sample(5, context).shape[0] == 5, "sample_shape cannot be an integer")
    parameters = [p for p in distribution.parameters() if p.requires_grad]
    require(
        sample.requires_grad == (distribution.has_rsample and bool(parameters)),
        f"samples {'have' if sample.requires_grad else 'lack'} gradients, "
        f"but has_rsample is {distribution.has_rsample}",
    )
    if sample.requires_grad:
        gradients = torch.autograd.grad(sample.sum(), parameters, allow_unused=True)
        reached = [gradient for gradient in gradients if gradient is not None]
        require(len(reached) > 0, "no gradient flows from samples to parameters")
        finite = all(bool(gradient.isfinite().all()) for gradient in reached)
        require(finite, "a gradient from samples to parameters is not finite")
    with torch.no_grad():
        drawn, log_prob = draw(distribution.sample_and_log_prob, 3, 2)
        require(torch.equal(drawn, sample), "sample_and_log_prob draws other points than sample")
        require(log_prob.shape == (3, 2, *batch), f"their log_prob has shape {log_prob.shape}")
        if estimate:
            return math.nan
        error = worst_error(log_prob, distribution.log_prob(drawn, context))
    require(error <= TOLERANCE[dtype], f"log_prob of samples is wrong by {error:.2g}")
    return error


def _check_refusals(distribution: Distribution, x: Tensor, context: Tensor | None) -> None:
    """Check that bad input raises typed errors."""
    wide = torch.cat([x, x], dim=-1)
    other = x.new_zeros(len(x), 1 if context is None else context.shape[-1] + 1)
    bad: list[tuple[str, type[Exception], Callable[[], Any]]] = [
        ("x that is too wide", ShapeError, lambda: distribution.log_prob(wide, context)),
        ("a wrong context", ArgumentError, lambda: distribution.log_prob(x, other)),
        ("a wrong context of samples", ArgumentError, lambda: distribution.sample((), other)),
    ]
    if context is not None:
        bad.append(("no context", ContextError, lambda: distribution.log_prob(x)))
        bad.append(("no context of samples", ContextError, lambda: distribution.sample(2)))
    for what, error, call in bad:
        try:
            call()
        except error:
            continue
        except Exception as raised:
            message = f"{what} raises {type(raised).__name__}, not {error.__name__}"
            raise AssertionError(message) from raised
        raise AssertionError(f"{what} raises no {error.__name__}")


@torch.no_grad()
def _check_as_torchs(
    distribution: Distribution, x: Tensor, context: Tensor | None, log_prob: Tensor | None
) -> None:
    """Check that ``as_distribution`` behaves as torch's distributions do."""
    d = distribution.as_distribution(context)
    batch = () if context is None else context.shape[:-1]
    event = distribution.event_shape
    require(d.batch_shape == batch and d.event_shape == event, "distribution shape")
    if log_prob is not None:
        require(worst_error(d.log_prob(x), log_prob) <= TOLERANCE[x.dtype], "distribution log_prob")
    sample = d.sample((2,))
    require(sample.shape == (2, *batch, *event), "distribution sample")
    wide = d.expand((3, *batch))
    require(wide.sample((2,)).shape == (2, 3, *batch, *event), "its expansion")
    require(wide.log_prob(sample[0]).shape == (3, *batch), "its log_prob")
