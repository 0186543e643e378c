"""Tests of the contract of transforms."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor

from flowkit.errors import ArgumentError, ContextError, DtypeError, ShapeError
from flowkit.testing.comparison import TOLERANCE, check_batches, check_dtype, require, worst_error
from flowkit.transforms import Transform

_STEP = 1e-6  # of differences in float64
_SLOPE = 1e-4  # tolerance of directional derivatives, relative to the rows' sizes summed


def check_transform(
    transform: Transform, x: Tensor, context: Tensor | None = None
) -> dict[str, float]:
    """Verify the contract of a transform at given points, on a copy.

    - Both log-determinants against the float64 autograd Jacobian, and against each other.
    - Both round trips.
    - Shapes for zero, one, two and empty batch dimensions; dtypes.
    - Independence of rows from other rows, also with a NaN; equality of two calls.
    - Gradients of the value and of the log-determinant by parameters, input and context, against
      finite differences in float64.
    - Typed errors for bad input; one graph under ``torch.compile``; finite results under autocast.

    Args:
        transform: any transform, of the dtype of ``x``.
        x: at least four points, ``(n, *event_shape)``, float32 or float64. Include difficult
            points: knots, bounds, tails.
        context: ``(n, context_features)`` for a conditional transform.

    Returns:
        The worst errors, relative to ``max(1, size)``: "logabsdet", "inverse_logabsdet",
        "round_trip", "inverse_round_trip".

    Raises:
        AssertionError: a promise is broken; the message names the promise and the error.
        ArgumentError: ``transform`` is not a `Transform`; for flows use `check_flow`.
        DtypeError: ``x`` has a dtype without a tolerance, such as float16.
    """
    if not isinstance(transform, Transform):
        expected = "a flowkit Transform (for flows, also of other modules, use check_flow)"
        raise ArgumentError("transform", expected, type(transform).__name__)
    check_dtype(x)
    transform = copy.deepcopy(transform).eval()
    n_event = len(transform.event_shape)
    require(x.dim() == n_event + 1 and len(x) >= 4, "give x as at least four rows")
    tolerance = TOLERANCE[x.dtype]
    x = x.detach()
    with torch.no_grad():
        z, logabsdet = transform(x, context)
        _check_repeats(transform.forward, x, context, (z, logabsdet))
        _check_repeats(transform.inverse, z, context, transform.inverse(z, context))
        back, inverse_logabsdet = transform.inverse(z, context)
        again, _ = transform(back, context)
        require(z.shape == x.shape, f"the value has shape {tuple(z.shape)}")
        require(logabsdet.shape == x.shape[:1], f"logabsdet has shape {tuple(logabsdet.shape)}")
        require(z.dtype == logabsdet.dtype == x.dtype, "the result has another dtype than x")
        if transform.constant_logabsdet:
            spread = worst_error(logabsdet, logabsdet[:1])
            require(spread <= tolerance, f"logabsdet, said to be constant, varies by {spread:.2g}")

    errors = {
        "logabsdet": worst_error(
            logabsdet, _logabsdet_by_autograd(transform, "forward", x, context)
        ),
        "inverse_logabsdet": worst_error(
            inverse_logabsdet, _logabsdet_by_autograd(transform, "inverse", z, context)
        ),
        "round_trip": worst_error(back, x),
        "inverse_round_trip": worst_error(again, z),
    }
    for what, error in errors.items():
        require(error <= tolerance, f"{what} is wrong by {error:.2g}, more than {tolerance:g}")
    error = worst_error(inverse_logabsdet, -logabsdet)
    require(error <= tolerance, f"the two logabsdets differ by {error:.2g} but for their sign")

    with torch.no_grad():
        check_batches(transform.forward, x, context, (z, logabsdet))
        check_batches(transform.inverse, z, context, (back, inverse_logabsdet))
    _check_gradients(transform.forward, transform, x, context)
    _check_gradients(transform.inverse, transform, z, context)
    _check_refusals(transform, x, context)
    _check_compiled(transform, x, context, (z, logabsdet))
    with torch.no_grad(), torch.autocast(x.device.type, dtype=torch.bfloat16):
        results = (*transform(x, context), *transform.inverse(z, context))
        finite = all(bool(r.isfinite().all()) for r in results)
    require(finite, "the result is not finite under autocast")
    return errors


def _logabsdet_by_autograd(
    transform: Transform, direction: str, x: Tensor, context: Tensor | None
) -> Tensor:
    """Return ``log|det J|`` at each row by automatic differentiation in float64, ``(n,)``."""
    function = getattr(copy.deepcopy(transform).double(), direction)

    def value(row: Tensor, *row_context: Tensor) -> Tensor:
        result: Tensor = function(row, *row_context)[0]
        return result

    rows = (x.double(),) if context is None else (x.double(), context.double())
    # "same": noise below the tolerance of `_check_repeats` must not raise here.
    mapped = torch.func.vmap(torch.func.jacrev(value), chunk_size=256, randomness="same")
    jacobian = mapped(*rows)
    d = transform.features
    logabsdet: Tensor = torch.linalg.slogdet(jacobian.reshape(-1, d, d)).logabsdet
    return logabsdet.detach()


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
    require(finite, f"a gradient of {direction.__name__} is not finite")
    for leaf in ("x", "context", "parameters"):
        where = direction.__name__
        wrong = (math.inf, math.inf)
        for seed in range(3):  # a kink may lie between the two points of a difference, not thrice
            errors = _slopes(where, transform, leaf, x, context, seed)
            wrong = (min(wrong[0], errors[0]), min(wrong[1], errors[1]))
            if max(wrong) <= _SLOPE:
                break
        for what, error in zip(("value", "logabsdet"), wrong, strict=True):
            name = f"the gradient of {where}'s {what} by {leaf}"
            require(error <= _SLOPE, f"{name} is wrong by {error:.2g} of its size: detached?")


def _slopes(
    direction: str,
    transform: Transform,
    leaf: str,
    x: Tensor,
    context: Tensor | None,
    seed: int,
) -> tuple[float, float]:
    """Return the errors of directional derivatives of the value and of the log-determinant.

    Autograd is compared with central differences in float64. Errors are relative to the sum of the
    sizes of the rows.

    Args:
        direction: "forward" or "inverse".
        transform: any transform.
        leaf: the differentiated argument: "x", "context" or "parameters".
        x: points; noise moves them off any knots.
        context: context of the transform.
        seed: random seed.
    """
    exact = copy.deepcopy(transform).double()
    generator = torch.Generator().manual_seed(seed)

    def noise(like: Tensor) -> Tensor:
        drawn = torch.randn(like.shape, generator=generator, dtype=torch.float64)
        return drawn.to(like.device)

    x = x.double() + 1e-3 * noise(x)
    c = None if context is None else context.detach().double().clone()
    leaves: list[Tensor] = [p for p in exact.parameters() if p.requires_grad]
    if leaf != "parameters":
        leaves = [tensor for tensor in (x if leaf == "x" else c,) if tensor is not None]
    if not leaves:
        return 0.0, 0.0
    steps = [noise(tensor) for tensor in leaves]

    def results(size: float) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            for tensor, step in zip(leaves, steps, strict=True):
                tensor.add_(step, alpha=size)
        value, logabsdet = getattr(exact, direction)(x, c)
        # A copy, as the identity returns its input, which changes later.
        return value.flatten(1).clone(), logabsdet.unsqueeze(1)

    with torch.no_grad():
        above, below = results(_STEP), results(-2 * _STEP)
    for tensor in leaves:
        tensor.requires_grad_()
    errors = []
    for up, down, here in zip(above, below, results(_STEP), strict=True):
        weights = noise(here)
        # Outside a support the log-determinant is infinite, without differences.
        usable = up.isfinite() & down.isfinite() & here.isfinite()
        expected = torch.where(usable, weights * (up - down) / (2 * _STEP), 0.0)
        total = torch.where(usable, weights * here, 0.0).sum()
        slope = 0.0
        if total.requires_grad:
            gradients = torch.autograd.grad(total, leaves, retain_graph=True, allow_unused=True)
            parts = zip(gradients, steps, strict=True)
            slope = sum(float((g * step).sum()) for g, step in parts if g is not None)
        errors.append(abs(slope - float(expected.sum())) / max(1.0, float(expected.abs().sum())))
    return errors[0], errors[1]


def _check_repeats(
    function: Callable[..., tuple[Tensor, Tensor]],
    x: Tensor,
    context: Tensor | None,
    expected: tuple[Tensor, Tensor],
) -> None:
    """Check that another call at the same points gives the same result."""
    error = max(worst_error(g, e) for g, e in zip(function(x, context), expected, strict=True))
    message = f"two calls of {function.__name__} at the same points differ by {error:.2g}"
    same = error <= 1e3 * torch.finfo(x.dtype).eps or math.isnan(error)
    require(same, f"{message}: a transform in eval() must not be random")


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
                message = f"bad input to {name} raises {got}, not {error.__name__}"
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
    error = max(worst_error(g, e) for g, e in zip(got, expected, strict=True))
    require(error <= tolerance, f"the compiled transform differs by {error:.2g}")
