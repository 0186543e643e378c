"""Univariate maps alone: exact round trips, extreme parameters, knots and bounds."""

import math

import pytest
import torch
from zoo import NOT_IDENTITY, PER_FEATURE, SPLINES, UNIVARIATES

from flowkit.errors import ArgumentError
from flowkit.transforms import Affine, Elementwise, RationalQuadraticSpline, Shift

DTYPES = [torch.float32, torch.float64]
# The maps whose round trip is promised to the last digits: all but the spline without a limit.
EXACT = {
    "shift": Shift(),
    "affine": Affine(),
    "spline": RationalQuadraticSpline(),
    "spline_3": RationalQuadraticSpline(bins=8, bound=3.0),
    "spline_16": RationalQuadraticSpline(bins=16, bound=5.0),
    "circular": RationalQuadraticSpline(bins=8, bound=math.pi, tails="circular"),
}


def draw(univariate, scale, dtype, n=50_000):
    x = torch.randn(n, 4, dtype=torch.float64) * 2
    params = torch.randn(n, 4, univariate.parameters, dtype=torch.float64) * scale
    return x.to(dtype), params.to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("name", EXACT)
def test_latent_round_trip_within_8_ulp(name, scale, dtype):
    univariate = EXACT[name]
    y, params = draw(univariate, scale, dtype)
    again, _ = univariate(univariate.inverse(y, params)[0], params)
    ulps = (again - y).abs() / (torch.finfo(dtype).eps * y.abs().clamp(min=1))
    assert ulps.max() <= 8


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("name", EXACT)
def test_data_round_trip_within_16_ulp(name, scale, dtype):
    univariate = EXACT[name]
    x, params = draw(univariate, scale, dtype)
    y, _ = univariate(x, params)
    back, _ = univariate.inverse(y, params)
    log_derivative = univariate(x.double(), params.double())[1]
    size = x.abs() + y.abs() / log_derivative.exp()
    ulps = (back - x).abs() / (torch.finfo(dtype).eps * size)
    if not isinstance(univariate, RationalQuadraticSpline):
        assert ulps.max() <= 16
        return
    # A spline measures from knots, at distances of order one, and errs by an ulp of those. Where
    # x and y are both nearly zero that is more than 16 ulp of theirs: in some 1e-4 of the points.
    near_zero = (x.abs() < 0.2) & (y.abs() < 0.2)
    assert ulps[~near_zero].max() <= 16
    assert (ulps > 16).double().mean() < 3e-4
    error = (back - x).abs() / torch.finfo(dtype).eps
    assert (error / (x.abs().clamp(min=1) + y.abs() / log_derivative.exp())).max() <= 8


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", UNIVARIATES)
def test_extreme_parameters_give_no_nan_in_value_or_gradient(name, dtype):
    univariate = UNIVARIATES[name]
    for scale in (20.0, 1e3, 1e30):
        if name == "unbounded_affine":
            continue  # exp overflows, which is what unbounded means
        x, params = draw(univariate, scale, dtype, n=2_000)
        params.requires_grad_()
        for direction in (univariate.forward, univariate.inverse):
            value, log_derivative = direction(x, params)
            assert not value.isnan().any()
            assert not log_derivative.isnan().any()
            total = value.sum() / scale + log_derivative.sum()
            (gradient,) = torch.autograd.grad(total, params)
            assert not gradient.isnan().any()


@pytest.mark.parametrize("name", [name for name in UNIVARIATES if name not in NOT_IDENTITY])
def test_zero_parameters_are_the_identity(name):
    univariate = UNIVARIATES[name]
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)[:, None]
    y, log_derivative = univariate(x, x.new_zeros(1, univariate.parameters))
    assert torch.allclose(x, y, rtol=0, atol=1e-14)
    assert log_derivative.abs().max() < 1e-14


@pytest.mark.parametrize("name", SPLINES)
def test_spline_at_knots_and_bounds_and_a_step_beside_them(name):
    """Values, derivatives and gradients stay finite and continuous at every knot."""
    spline = SPLINES[name]
    params = torch.randn(1, spline.parameters, dtype=torch.float64, requires_grad=True)
    for axis, direction in ((0, spline.forward), (1, spline.inverse)):
        knots = spline._knots(params)[axis, :, 0].detach()
        below = torch.nextafter(knots, knots - 1)
        above = torch.nextafter(knots, knots + 1)
        inner = slice(1, -1) if name == "circular" else slice(None)
        values, log_derivatives = direction(torch.stack([below, knots, above])[..., None], params)
        assert (values.diff(dim=0).abs() < 1e-12).all()
        assert (log_derivatives.diff(dim=0)[:, inner].abs() < 1e-10).all()
        (gradient,) = torch.autograd.grad(log_derivatives.sum(), params)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", SPLINES)
def test_spline_is_increasing_and_keeps_its_box(name):
    spline = SPLINES[name]
    x = torch.linspace(-spline.bound, spline.bound, 10_001)[:, None]
    for scale in (1.0, 20.0):
        params = torch.randn(1, spline.parameters) * scale
        y, _ = spline(x, params)
        # Rounding may break ties the wrong way where there is no limit to how flat it is.
        assert (y.diff(dim=0) >= (-1e-6 if spline.limit is None else 0)).all()
        assert y[0] == -spline.bound
        assert y[-1] == spline.bound


def test_spline_passes_through_its_knots():
    """An off-by-one in the knots leaves the map a bijection, but not this one."""
    spline = RationalQuadraticSpline(bins=5, bound=2.0)
    params = torch.randn(1, spline.parameters, dtype=torch.float64)
    x_knots, y_knots, derivatives = spline._knots(params)[..., 0]
    shares = (0.5 * torch.tanh(params[0, :5] / 0.5)).softmax(0)
    assert torch.allclose(x_knots, torch.cat([torch.zeros(1), shares]).cumsum(0) * 4 - 2)
    y, log_derivative = spline(x_knots[:, None], params)
    assert torch.allclose(y[:, 0], y_knots, atol=1e-14)
    assert torch.allclose(log_derivative[:, 0], derivatives.log(), atol=1e-12)


def test_spline_agrees_with_the_papers_formula():
    """Equations 4 and 5 of the paper, written out for one bin from its left knot."""
    spline = RationalQuadraticSpline(bins=6, bound=3.0)
    params = torch.randn(1, spline.parameters, dtype=torch.float64)
    xk, yk, d = spline._knots(params)[..., 0]
    for k in range(6):
        xi = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
        s = (yk[k + 1] - yk[k]) / (xk[k + 1] - xk[k])
        denominator = s + (d[k + 1] + d[k] - 2 * s) * xi * (1 - xi)
        expected = yk[k] + (yk[k + 1] - yk[k]) * (s * xi**2 + d[k] * xi * (1 - xi)) / denominator
        slope = s**2 * (d[k + 1] * xi**2 + 2 * s * xi * (1 - xi) + d[k] * (1 - xi) ** 2)
        y, log_derivative = spline((xk[k] + xi * (xk[k + 1] - xk[k]))[:, None], params)
        assert torch.allclose(y[:, 0], expected, atol=1e-13)
        assert torch.allclose(log_derivative[:, 0], (slope / denominator**2).log(), atol=1e-12)


def test_circular_spline_has_one_derivative_at_both_ends():
    spline = SPLINES["circular"]
    knots = spline._knots(torch.randn(7, spline.parameters))
    assert torch.equal(knots[2, 0], knots[2, -1])
    assert (knots[:, 2, 0] - 1).abs().min() > 1e-3


def test_bounds_and_tails_per_feature():
    params = torch.randn(4, PER_FEATURE.parameters)
    x = torch.full((4,), 1.5)
    y, log_derivative = PER_FEATURE(x, params)
    assert y[0] == 1.5  # beyond its bound of 1
    assert log_derivative[0] == 0
    for i in (1, 2, 3):
        assert y[i] != 1.5
        one = RationalQuadraticSpline(4, PER_FEATURE.bound[i], (PER_FEATURE.tails[i],))
        used = (
            params[i] if PER_FEATURE.tails[i] == "circular" else params[i, [*range(8), 9, 10, 11]]
        )
        assert torch.allclose(y[i], one(x[:1], used[None])[0][0])


@pytest.mark.parametrize("bound", [3.0, 32.0, 100.0, 1e4])
def test_a_point_exactly_on_the_bound_is_fine(bound):
    """nflows moves the last knot by 1e-6, which float32 rounds away from 32 on: index error."""
    spline = RationalQuadraticSpline(bins=4, bound=bound)
    x = torch.tensor([[-bound], [bound]])
    for direction in (spline.forward, spline.inverse):
        y, log_derivative = direction(x, torch.randn(1, spline.parameters))
        assert torch.equal(y, x)
        assert (log_derivative == 0).all()


def test_a_batch_entirely_in_the_tails_is_fine():
    """nflows raises a RuntimeError (its issue 23)."""
    x = torch.tensor([[7.0], [-9.0]])
    y, log_derivative = RationalQuadraticSpline()(x, torch.randn(1, 23))
    assert torch.equal(y, x)
    assert (log_derivative == 0).all()


@pytest.mark.parametrize("name", SPLINES)
def test_infinity_passes_a_spline_and_nan_stays_nan(name):
    """zuko gives NaN at infinity (0 times infinity); nflows lets NaN through as a tail."""
    spline = SPLINES[name]
    x = torch.tensor([[math.inf], [-math.inf], [math.nan]])
    y, log_derivative = spline(x, torch.randn(1, spline.parameters))
    assert torch.equal(y[:2], x[:2])
    assert (log_derivative[:2] == 0).all()
    assert y[2].isnan()
    assert log_derivative[2].isnan()


def test_gradients_outside_the_box_are_finite():
    """The unselected branch of a where must not poison the gradient (flowjax 239)."""
    spline = RationalQuadraticSpline()
    for direction in (spline.forward, spline.inverse):
        x = torch.tensor([[1e30], [-1e6], [5.0], [-5.0]], requires_grad=True)
        params = torch.randn(1, 23, requires_grad=True)
        value, log_derivative = direction(x, params)
        gradients = torch.autograd.grad(value.sum() + log_derivative.sum(), (x, params))
        assert all(g.isfinite().all() for g in gradients)
        assert torch.allclose(gradients[0], torch.ones_like(x), atol=10)  # bends at the bounds
        assert (gradients[0][:2] == 1).all()


@pytest.mark.parametrize("name", UNIVARIATES)
def test_inverse_gradient_is_that_of_the_inverse_function(name):
    univariate = UNIVARIATES[name]
    y = torch.randn(5, 1, dtype=torch.float64, requires_grad=True)
    params = torch.randn(5, 1, univariate.parameters, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(univariate.inverse, (y, params), atol=1e-6)
    assert torch.autograd.gradcheck(univariate.forward, (y, params), atol=1e-6)


@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("bins", lambda: RationalQuadraticSpline(bins=1)),
        ("bins", lambda: RationalQuadraticSpline(bins=0)),
        ("bound", lambda: RationalQuadraticSpline(bound=0)),
        ("bound", lambda: RationalQuadraticSpline(bound=-1.0)),
        ("bound", lambda: RationalQuadraticSpline(bound=(1.0, math.inf))),
        ("bound", lambda: RationalQuadraticSpline(bound=())),
        ("tails", lambda: RationalQuadraticSpline(tails="free")),
        ("tails", lambda: RationalQuadraticSpline(bound=(1, 2), tails=("linear",) * 3)),
        ("limit", lambda: RationalQuadraticSpline(limit=0.0)),
        ("bound", lambda: Affine(bound=-5.0)),
        ("bound", lambda: Elementwise(3, PER_FEATURE)),
    ],
)
def test_bad_options_are_named(argument, make):
    with pytest.raises(ArgumentError, match=f"^{argument}: expected"):
        make()
