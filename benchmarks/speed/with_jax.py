"""Adapter of flowjax with the interface, networks and splines of `with_torch.py`, jitted."""

from collections.abc import Callable
from itertools import cycle

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
import paramax
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import Normal, Transformed
from flowjax.flows import masked_autoregressive_flow
from paramax.utils import inv_softplus

from speed.cases import Case

_BATCHES = 16


def _spline(bins: int) -> RationalQuadraticSpline:
    """The spline on [-5, 5] with derivatives 1 at both ends, as in the other libraries.

    The spline of flowjax learns these derivatives, with 25 outputs per feature instead of 23.
    """

    def derivatives(a: jax.Array) -> jax.Array:
        ends = [(0, 0)] * (a.ndim - 1) + [(1, 1)]
        return jnp.pad(jax.nn.softplus(a) + 1e-3, ends, constant_values=1.0)

    spline = RationalQuadraticSpline(knots=bins - 1, interval=5)
    start = jnp.full(bins - 1, inv_softplus(1 - 1e-3))
    return eqx.tree_at(lambda s: s.derivatives, spline, paramax.Parameterize(derivatives, start))


def build(case: Case) -> Transformed:
    """Return a flow with random weights; features are permuted between layers."""
    return masked_autoregressive_flow(
        jr.key(case.seed),
        base_dist=paramax.non_trainable(Normal(jnp.zeros(case.features))),
        transformer=None if case.kind == "maf" else _spline(case.bins),
        flow_layers=case.layers,
        nn_width=case.hidden[0],
        nn_depth=len(case.hidden),
    )


def _partition(flow: Transformed) -> tuple:
    frozen = lambda leaf: isinstance(leaf, paramax.NonTrainable)  # noqa: E731
    return eqx.partition(flow, eqx.is_inexact_array, is_leaf=frozen)


def describe(library: str, case: Case) -> dict[str, int]:
    """Return the number of parameters, and of unmasked weights."""
    del library
    flow = build(case)
    masks = [a for a in jax.tree.leaves(flow) if eqx.is_array(a) and a.dtype == bool]
    return {
        "parameters": sum(a.size for a in jax.tree.leaves(_partition(flow)[0])),
        "connections": sum(int(m.sum()) for m in masks),
    }


def forget() -> None:
    """Discard the compiled functions of the last case."""
    jax.clear_caches()


def prepare(
    library: str, case: Case, measure: str, variant: str, batch: int
) -> tuple[Callable[[], jax.Array], Callable[[jax.Array], bool]]:
    """Return a call to time, and a check of its result."""
    del library
    flow = build(case)
    rows = jr.normal(jr.key(case.seed + 1), (_BATCHES, batch, case.features))

    def finite(result: jax.Array) -> bool:
        return bool(jnp.isfinite(result).all())

    if measure == "train":
        params, static = _partition(flow)
        optimizer = optax.adam(1e-4)

        def update(params, state, x):
            def loss(params):
                return -paramax.unwrap(eqx.combine(params, static)).log_prob(x).mean()

            value, gradient = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(gradient, state, params)
            return eqx.apply_updates(params, updates), state, value

        jitted = jax.jit(update, donate_argnums=() if variant == "jit" else (0, 1))
        now = [jax.tree.map(jnp.copy, params), optimizer.init(params)]
        batches = cycle(jax.block_until_ready(list(rows)))

        def step() -> jax.Array:
            now[0], now[1], value = jitted(*now, next(batches))
            jax.block_until_ready(now)
            return jax.block_until_ready(value)

        return step, finite

    # The masks are applied once, beforehand.
    arrays, rest = eqx.partition(paramax.unwrap(flow), eqx.is_array)
    score = jax.jit(lambda arrays, x: eqx.combine(arrays, rest).log_prob(x))
    if measure == "log_prob":
        x = jax.block_until_ready(rows[0])
        return lambda: jax.block_until_ready(score(arrays, x)), finite
    sample = jax.jit(lambda arrays, key: eqx.combine(arrays, rest).sample(key, (batch,)))
    key, compiled = jr.key(case.seed + 2), sample.lower(arrays, jr.key(0)).compile()
    draw = lambda: jax.block_until_ready(compiled(arrays, key))  # noqa: E731
    return draw, lambda x: finite(score(arrays, x))


def versions() -> dict[str, str]:
    """Return the version of jax."""
    return {"jax": jax.__version__}
