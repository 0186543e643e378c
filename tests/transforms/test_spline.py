"""Splines by several roads: a direct evaluation, the gather, the unrolled bins, the single step."""

import math

import pytest
import torch

from flowkit.transforms import Affine, RationalQuadraticSpline
from flowkit.transforms.spline import _MOST_UNROLLED

OPTIONS = {
    "default": {},
    "two_bins": {"bins": 2, "bound": 1.5},
    "circular": {"bins": 5, "bound": math.pi, "tails": "circular"},
    "mixed": {"bins": 4, "bound": (1.0, 2.0, 3.0), "tails": ("linear", "circular", "linear")},
    "loose": {"limit": 3.0},
    "no_limit": {"limit": None},
    "many_bins": {"bins": _MOST_UNROLLED + 1},
}
each_option = pytest.mark.parametrize("name", OPTIONS)
each_direction = pytest.mark.parametrize("direction", ["forward", "inverse"])


def drawn(name, rows=200):
    spline = RationalQuadraticSpline(**OPTIONS[name])
    v = 2.5 * torch.randn(rows, 3, dtype=torch.float64)
    params = 1.5 * torch.randn(rows, 3, spline.parameters, dtype=torch.float64)
    return spline, v.requires_grad_(), params.requires_grad_()


def directly(spline, feature, x, params):
    """Equations 4 and 5 of Durkan et al. for one number, from the left knot of its bin."""
    k, limit = spline.bins, spline.limit
    bound = spline.bound if isinstance(spline.bound, float) else spline.bound[feature]
    circular = (spline.tails if isinstance(spline.tails, str) else spline.tails[feature])[0] == "c"
    if abs(x) > bound:
        return x, 0.0
    raw = params[2 * k :]
    if limit is None:
        shares = [1e-3 + (1 - k * 1e-3) * a.softmax(0) for a in params[: 2 * k].split(k)]
        bias = math.log(math.expm1(1 - 1e-3))
        slopes = [min(1e-3 + math.log1p(math.exp(a + bias)), 1e3) for a in raw.tolist()]
    else:
        shares = [(limit * torch.tanh(a / limit)).softmax(0) for a in params[: 2 * k].split(k)]
        slopes = [math.exp(limit * math.tanh(a / limit)) for a in raw.tolist()]
    xs, ys = ([-bound + 2 * bound * float(s[:i].sum()) for i in range(k + 1)] for s in shares)
    end = slopes[0] if circular else 1.0
    slopes = [end, *slopes[len(slopes) - k + 1 :], end]
    i = sum(x >= knot for knot in xs[1:-1])
    width, height = xs[i + 1] - xs[i], ys[i + 1] - ys[i]
    s, d0, d1, z = height / width, slopes[i], slopes[i + 1], (x - xs[i]) / width
    denominator = s + (d1 + d0 - 2 * s) * z * (1 - z)
    y = ys[i] + height * (s * z**2 + d0 * z * (1 - z)) / denominator
    slope = s**2 * (d1 * z**2 + 2 * s * z * (1 - z) + d0 * (1 - z) ** 2) / denominator**2
    return y, math.log(slope)


def results(call, v, params):
    """Value, log-derivative, and the gradients of a function of both."""
    value, log_derivative = call(v, params)
    total = value.sin().sum() + (log_derivative * value).sum()
    return value, log_derivative, *torch.autograd.grad(total, (v, params))


def assert_close(found, expected, tolerance):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)


@each_option
def test_equals_a_direct_evaluation(name):
    spline, v, params = drawn(name, rows=40)
    rows = [
        [directly(spline, i, x, p) for i, (x, p) in enumerate(zip(xs, ps, strict=True))]
        for xs, ps in zip(v.tolist(), params.detach(), strict=True)
    ]
    expected = torch.tensor(rows, dtype=torch.float64).unbind(-1)
    assert_close(spline.forward(v, params), expected, 1e-11)


@each_option
@each_direction
def test_unrolled_bins_and_their_closed_gradient_equal_the_gather(name, direction, monkeypatch):
    spline, v, params = drawn(name)
    with torch.no_grad():
        v[0, 0], v[1, 1], v[2, 2] = math.nan, math.inf, -1.0
    expected = results(getattr(spline, direction), v, params)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert_close(results(getattr(spline, direction), v, params), expected, 1e-9)
    with torch.no_grad():
        assert_close(getattr(spline, direction)(v, params), expected[:2], 1e-11)


@pytest.mark.parametrize("name", ["default", "mixed"])
@each_direction
def test_compiled_gradients_equal_eager_ones(name, direction):
    spline, v, params = drawn(name)
    call = getattr(spline, direction)
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    assert_close(results(compiled, v, params), results(call, v, params), 1e-9)


def test_gradients_per_row_can_be_compiled():
    spline, v, params = drawn("two_bins")
    of_rows = torch.func.vmap(torch.func.grad(lambda p, v: spline(v, p)[1].sum()))
    compiled = torch.compile(of_rows, backend="aot_eager")
    assert_close([compiled(params, v)], [of_rows(params, v)], 1e-10)


@each_option
def test_a_step_equals_the_inverse(name):
    spline, v, params = drawn(name)
    with torch.no_grad():
        v[0], v[1], v[2] = math.nan, math.inf, -1.0
        expected = spline.inverse(v, params)
        for i in range(3):
            one = spline if spline.features is None else spline.select([i])
            x, *rest = one.step(v[:, i], params[:, i].t())
            log_derivative = spline.step_log_derivative(*rest)
            assert_close((x, log_derivative), [a[:, i] for a in expected], 1e-9)


def test_the_step_of_any_map_equals_its_inverse():
    y, params = torch.randn(7), torch.randn(7, 2)
    x, *rest = Affine().step(y, params.t())
    expected = [a[:, 0] for a in Affine().inverse(y[:, None], params[:, None])]
    assert_close((x, Affine().step_log_derivative(*rest)), expected, 1e-6)


@pytest.mark.parametrize("limit", [0.5, 1.0, 1.1, 30.0])
def test_the_bend_of_logits_is_exact_in_float32(limit):
    spline = RationalQuadraticSpline(limit=limit)
    raw = torch.linspace(-3 * limit, 3 * limit, 1001, dtype=torch.float64)
    exact = limit * torch.tanh(raw / limit)
    error = spline._bend(raw.float()).double().log() - exact
    assert (error.abs() < 4 * torch.finfo(torch.float32).eps * exact.abs().clamp(min=1)).all()
