"""Contracts of transforms and flows."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowkit.errors import ArgumentError, ContextError, DtypeError, ShapeError
from flowkit.flows import Flow
from flowkit.testing.samples import check_samples
from flowkit.transforms import Transform

# What "equal" means: relative to max(1, size), by dtype.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
_STEP = 1e-6  # of differences in float64
_SLOPE = 1e-4  # tolerance of directional derivatives, relative to the rows' sizes summed

# Draws that are held against the density, for each of a few rows of the context.
_DRAWS, _CONTEXTS = 1_500, 2


def check_transform(
    transform: Transform, x: Tensor, context: Tensor | None = None
) -> dict[str, float]:
    """Verify the contract of a transform at given points. It is left as it was.

    At every row: both log-determinants against the float64 autograd Jacobian; both round trips;
    that the two log-determinants are each other's negative. Beyond that: shapes for no, one and
    two batch dimensions and for none at all in it; dtypes; that a row depends neither on its
    neighbours nor on a NaN among them; that two calls agree; gradients of the value and of the
    log-determinant by parameters, input and context, against finite differences in float64; typed
    errors for bad input; one graph under ``torch.compile``; finite results under autocast.

    Args:
        transform: any transform, of the dtype of ``x``.
        x: at least four points, ``(n, *event_shape)``, float32 or float64. Choose them to hurt:
            knots, bounds, tails.
        context: ``(n, context_features)`` if it asks for one.

    Returns:
        The worst errors measured, relative to ``max(1, size)``: "logabsdet",
        "inverse_logabsdet", "round_trip", "inverse_round_trip".

    Raises:
        AssertionError: a promise is broken; the message says which, and by how much.
        ArgumentError: ``transform`` is none, as a flow, which `check_flow` is for.
        DtypeError: ``x`` is of a dtype without a tolerance, as float16.
    """
    if not isinstance(transform, Transform):
        expected = "a flowkit Transform (check_flow is for flows, and wraps other modules)"
        raise ArgumentError("transform", expected, type(transform).__name__)
    _check_dtype(x)
    transform = copy.deepcopy(transform).eval()
    n_event = len(transform.event_shape)
    _require(x.dim() == n_event + 1 and len(x) >= 4, "give x as at least four rows")
    tolerance = _TOLERANCE[x.dtype]
    x = x.detach()
    with torch.no_grad():
        z, logabsdet = transform(x, context)
        _check_repeats(transform.forward, x, context, (z, logabsdet))
        _check_repeats(transform.inverse, z, context, transform.inverse(z, context))
        back, inverse_logabsdet = transform.inverse(z, context)
        again, _ = transform(back, context)
        _require(z.shape == x.shape, f"the value has shape {tuple(z.shape)}")
        _require(logabsdet.shape == x.shape[:1], f"logabsdet has shape {tuple(logabsdet.shape)}")
        _require(z.dtype == logabsdet.dtype == x.dtype, "the result has another dtype than x")
        if transform.constant_logabsdet:
            spread = _error(logabsdet, logabsdet[:1])
            _require(spread <= tolerance, f"logabsdet, said to be constant, varies by {spread:.2g}")

    errors = {
        "logabsdet": _error(logabsdet, _logabsdet_by_autograd(transform, "forward", x, context)),
        "inverse_logabsdet": _error(
            inverse_logabsdet, _logabsdet_by_autograd(transform, "inverse", z, context)
        ),
        "round_trip": _error(back, x),
        "inverse_round_trip": _error(again, z),
    }
    for what, error in errors.items():
        _require(error <= tolerance, f"{what} is wrong by {error:.2g}, more than {tolerance:g}")
    error = _error(inverse_logabsdet, -logabsdet)
    _require(error <= tolerance, f"the two logabsdets differ by {error:.2g} but for their sign")

    with torch.no_grad():
        _check_batches(transform.forward, x, context, (z, logabsdet))
        _check_batches(transform.inverse, z, context, (back, inverse_logabsdet))
    _check_gradients(transform.forward, transform, x, context)
    _check_gradients(transform.inverse, transform, z, context)
    _check_refusals(transform, x, context)
    _check_compiled(transform, x, context, (z, logabsdet))
    with torch.no_grad(), torch.autocast(x.device.type, dtype=torch.bfloat16):
        results = (*transform(x, context), *transform.inverse(z, context))
        finite = all(bool(r.isfinite().all()) for r in results)
    _require(finite, "the result is not finite under autocast")
    return errors


def check_flow(flow: Flow, x: Tensor, context: Tensor | None = None) -> dict[str, float]:
    """Verify the contract of a flow at given points. It is left as it was.

    Everything that `check_transform` does, and: draws follow the density, by `check_samples` of
    the flow in float64; ``log_prob`` of draws is right; shapes of samples; the same generator
    gives the same draws; gradients through samples reach the parameters; ``as_distribution``
    behaves as torch's distributions do.

    Args:
        flow: any flow without an embedding, of the dtype of ``x``.
        x: at least four points, ``(n, *event_shape)``.
        context: ``(n, context_features)`` if it asks for one.

    Returns:
        The worst errors measured: those of `check_transform`, and "sample_log_prob".

    Raises:
        AssertionError: a promise is broken; the message says which.
        ArgumentError: ``flow`` is none, as a transform, which `check_transform` is for.
        DtypeError: ``x`` is of a dtype without a tolerance, as float16.
    """
    if not isinstance(flow, Flow):
        expected = "a Flow (check_transform is for transforms)"
        raise ArgumentError("flow", expected, type(flow).__name__)
    _check_dtype(x)
    flow = copy.deepcopy(flow).eval()
    in_transform = context if flow.transform.context_features else None
    errors = check_transform(flow.transform, x, in_transform)
    n_event = len(flow.event_shape)

    def draw(*shape: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator(x.device).manual_seed(0)
        return flow.sample_and_log_prob(shape, context, generator)

    with torch.no_grad():
        log_prob = flow.log_prob(x, context)
        _check_batches(lambda x, c: (flow.log_prob(x, c),), x, context, (log_prob,))
        batch = () if context is None else context.shape[:-1]
        sample, sample_log_prob = draw(3, 2)
        expected = (3, 2, *batch, *flow.event_shape)
        _require(sample.shape == expected, f"samples have shape {tuple(sample.shape)}")
        _require(sample_log_prob.shape == expected[: len(expected) - n_event], "of their log_prob")
        _require(torch.equal(sample, draw(3, 2)[0]), "the same generator gives other samples")
        _require(flow.sample(5, context).shape[0] == 5, "sample_shape cannot be an integer")
        error = _error(sample_log_prob, flow.log_prob(sample, context))
        _require(error <= _TOLERANCE[x.dtype], f"log_prob of samples is wrong by {error:.2g}")
        errors["sample_log_prob"] = error
    check_samples(
        copy.deepcopy(flow).double(),
        None if context is None else context[:_CONTEXTS].double(),
        draws=_DRAWS,
    )
    parameters = [p for p in flow.parameters() if p.requires_grad]
    if parameters:
        gradients = torch.autograd.grad(draw(4)[0].sum(), parameters, allow_unused=True)
        reached = [g for g in gradients if g is not None]
        _require(len(reached) > 0, "no gradient flows from samples to parameters")
        _require(all(bool(g.isfinite().all()) for g in reached), "it is not finite")

    d = flow.as_distribution(context)
    with torch.no_grad():
        _require(d.batch_shape == batch and d.event_shape == flow.event_shape, "distribution shape")
        _require(_error(d.log_prob(x), log_prob) <= _TOLERANCE[x.dtype], "distribution log_prob")
        _require(d.sample((2,)).shape == (2, *batch, *flow.event_shape), "distribution sample")
        wide = d.expand((3, *batch))
        _require(wide.rsample((2,)).shape == (2, 3, *batch, *flow.event_shape), "its expansion")
        _require(wide.log_prob(sample[0, 0]).shape == (3, *batch), "its log_prob")
    return errors


def total_mass(
    flow: Flow, low: float, high: float, *, points: int = 1000, context: Tensor | None = None
) -> float:
    """Integrate ``exp(log_prob)`` of a flow of one or two features on a grid of midpoints.

    Args:
        flow: the flow.
        low: lower end of the interval, the same for each feature.
        high: upper end.
        points: grid points per feature.
        context: ``(context_features,)`` if it asks for one.

    Returns:
        The mass in the box: 1 if nothing lies outside and every log-determinant is right.
    """
    _require(flow.features <= 2, "a grid serves one or two features")
    parameter = next(flow.parameters(), torch.empty(0))
    step = (high - low) / points
    axis = low + step * (torch.arange(points, dtype=parameter.dtype, device=parameter.device) + 0.5)
    grid = torch.cartesian_prod(*[axis] * flow.features).reshape(-1, flow.features)
    with torch.no_grad():
        parts = [flow.log_prob(rows, context).double().exp().sum() for rows in grid.split(100_000)]
    return float(sum(parts)) * step**flow.features


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def _error(got: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to ``max(1, size)``; NaN where there is one."""
    difference = (got.double() - expected.double()).abs() / expected.double().abs().clamp(min=1)
    return float(difference.max()) if difference.numel() else 0.0


def _logabsdet_by_autograd(
    transform: Transform, direction: str, x: Tensor, context: Tensor | None
) -> Tensor:
    """Return ``log|det J|`` at each row by automatic differentiation in float64, ``(n,)``."""
    function = getattr(copy.deepcopy(transform).double(), direction)

    def value(row: Tensor, *row_context: Tensor) -> Tensor:
        result: Tensor = function(row, *row_context)[0]
        return result

    rows = (x.double(),) if context is None else (x.double(), context.double())
    # Noise too small for `_check_repeats` to see is no reason to fail here.
    mapped = torch.func.vmap(torch.func.jacrev(value), chunk_size=256, randomness="same")
    jacobian = mapped(*rows)
    d = transform.features
    logabsdet: Tensor = torch.linalg.slogdet(jacobian.reshape(-1, d, d)).logabsdet
    return logabsdet.detach()


def _check_batches(
    function: Callable[..., tuple[Tensor, ...]],
    x: Tensor,
    context: Tensor | None,
    expected: tuple[Tensor, ...],
) -> None:
    """Check that any batch shape gives each row what it got in one batch of them all."""
    size = max(float(e.abs().max()) for e in expected)
    # Other batch sizes take other routes through the matrix products: equal to rounding only.
    tolerance = 1e3 * torch.finfo(x.dtype).eps * max(1.0, size)

    def call(x: Tensor, index: Any) -> tuple[Tensor, ...]:
        return function(x[index], None if context is None else context[index])

    pairs = torch.arange(4, device=x.device).reshape(2, 2)
    for name, index in (("no", 0), ("one", slice(1, 3)), ("two", pairs), ("empty", slice(0, 0))):
        for part, whole in zip(call(x, index), expected, strict=True):
            right = part.shape == whole[index].shape
            _require(right, f"{name} batch dimensions give shape {tuple(part.shape)}")
            error = _error(part, whole[index])
            _require(error <= tolerance, f"a row depends on its batch mates, by {error:.2g}")
    poisoned = x.clone()
    poisoned[0] = math.nan
    got = call(poisoned, slice(None))
    _require(any(bool(g[0].isnan().any()) for g in got), "NaN in gives no NaN out")
    error = max(_error(g[1:], e[1:]) for g, e in zip(got, expected, strict=True))
    _require(error <= tolerance, f"NaN in one row changes another by {error:.2g}")


def _check_gradients(
    direction: Callable[..., tuple[Tensor, Tensor]],
    transform: Transform,
    x: Tensor,
    context: Tensor | None,
) -> None:
    inputs = [x.clone().requires_grad_()]
    inputs += [p for p in transform.parameters() if p.requires_grad]
    value, logabsdet = direction(inputs[0], context)
    gradients = torch.autograd.grad(value.sum() + logabsdet.sum(), inputs, allow_unused=True)
    finite = all(bool(g.isfinite().all()) for g in gradients if g is not None)
    _require(finite, f"a gradient of {direction.__name__} is not finite")
    for leaf in ("x", "context", "parameters"):
        where = direction.__name__
        wrong = (math.inf, math.inf)
        for seed in range(3):  # a kink may lie between the two points of a difference, not thrice
            found = _slopes(where, transform, leaf, x, context, seed)
            wrong = (min(wrong[0], found[0]), min(wrong[1], found[1]))
            if max(wrong) <= _SLOPE:
                break
        for what, error in zip(("value", "logabsdet"), wrong, strict=True):
            name = f"the gradient of {where}'s {what} by {leaf}"
            _require(error <= _SLOPE, f"{name} is wrong by {error:.2g} of it: is it detached?")


def _slopes(
    direction: str,
    transform: Transform,
    leaf: str,
    x: Tensor,
    context: Tensor | None,
    seed: int,
) -> tuple[float, float]:
    """Return the errors of directional derivatives of the value and of the log-determinant.

    Autograd's against central differences in float64, relative to the sum of the rows' sizes.

    Args:
        direction: "forward" or "inverse".
        transform: any transform.
        leaf: what is moved, in a random direction: "x", "context" or "parameters".
        x: points; they are moved off whatever knots they lie on.
        context: as the transform asks.
        seed: of all that is random.
    """
    exact = copy.deepcopy(transform).double()
    generator = torch.Generator().manual_seed(seed)

    def noise(like: Tensor) -> Tensor:
        drawn = torch.randn(like.shape, generator=generator, dtype=torch.float64)
        return drawn.to(like.device)

    x = x.double() + 1e-3 * noise(x)
    c = None if context is None else context.detach().double().clone()
    moved: list[Tensor] = [p for p in exact.parameters() if p.requires_grad]
    if leaf != "parameters":
        moved = [tensor for tensor in (x if leaf == "x" else c,) if tensor is not None]
    if not moved:
        return 0.0, 0.0
    steps = [noise(tensor) for tensor in moved]

    def results(size: float) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            for tensor, step in zip(moved, steps, strict=True):
                tensor.add_(step, alpha=size)
        value, logabsdet = getattr(exact, direction)(x, c)
        # A copy, as the identity returns its input, which moves on.
        return value.flatten(1).clone(), logabsdet.unsqueeze(1)

    with torch.no_grad():
        above, below = results(_STEP), results(-2 * _STEP)
    for tensor in moved:
        tensor.requires_grad_()
    errors = []
    for up, down, here in zip(above, below, results(_STEP), strict=True):
        weights = noise(here)
        # Outside of a support a log-determinant has no differences.
        usable = up.isfinite() & down.isfinite() & here.isfinite()
        expected = torch.where(usable, weights * (up - down) / (2 * _STEP), 0.0)
        total = torch.where(usable, weights * here, 0.0).sum()
        slope = 0.0
        if total.requires_grad:
            found = torch.autograd.grad(total, moved, retain_graph=True, allow_unused=True)
            parts = zip(found, steps, strict=True)
            slope = sum(float((g * step).sum()) for g, step in parts if g is not None)
        errors.append(abs(slope - float(expected.sum())) / max(1.0, float(expected.abs().sum())))
    return errors[0], errors[1]


def _check_dtype(x: Tensor) -> None:
    """Raise unless there is a tolerance for the dtype of points."""
    if not isinstance(x, Tensor):
        raise DtypeError("x", "a torch.Tensor", type(x).__name__)
    if x.dtype not in _TOLERANCE:
        expected = "float32 or float64 points (convert the module and its points by .float())"
        raise DtypeError("x", expected, x.dtype)


def _check_repeats(
    function: Callable[..., tuple[Tensor, Tensor]],
    x: Tensor,
    context: Tensor | None,
    expected: tuple[Tensor, Tensor],
) -> None:
    """Check that another call at the same points gives the same."""
    error = max(_error(g, e) for g, e in zip(function(x, context), expected, strict=True))
    message = f"two calls of {function.__name__} at the same points differ by {error:.2g}"
    same = error <= 1e3 * torch.finfo(x.dtype).eps or math.isnan(error)
    _require(same, f"{message}: a transform in eval() has no noise of its own")


def _check_refusals(transform: Transform, x: Tensor, context: Tensor | None) -> None:
    wide = torch.cat([x, x], dim=-1)
    integers = torch.zeros(x.shape, dtype=torch.long, device=x.device)
    bad: list[tuple[type[Exception], Tensor, Tensor | None]] = [
        (ShapeError, wide, context),
        (DtypeError, integers, context),
    ]
    if context is not None:
        bad.append((ContextError, x, None))
        bad.append((ShapeError, x, torch.cat([context, context], dim=-1)))
    for error, bad_x, bad_context in bad:
        for direction in (transform.forward, transform.inverse):
            try:
                direction(bad_x, bad_context)
            except error:
                continue
            except Exception as other:
                got = type(other).__name__
                name = direction.__name__
                message = f"bad input to {name} raises {got}, no {error.__name__}"
                raise AssertionError(message) from other
            raise AssertionError(f"bad input to {direction.__name__} raises no {error.__name__}")


def _check_compiled(
    transform: Transform, x: Tensor, context: Tensor | None, expected: tuple[Tensor, Tensor]
) -> None:
    torch.compiler.reset()
    compiled = torch.compile(transform, fullgraph=True, backend="eager")
    with torch.no_grad():
        got = compiled(x, context)
    tolerance = 1e3 * torch.finfo(x.dtype).eps
    error = max(_error(g, e) for g, e in zip(got, expected, strict=True))
    _require(error <= tolerance, f"the compiled transform differs by {error:.2g}")
