"""A table of several kinds of columns as one flow."""

import math

import pytest
import torch

from flowkit.errors import ArgumentError, ShapeError
from flowkit.flows import BoxUniform, Flow, JointBase, StandardLogistic, StandardNormal, maf, nsf
from flowkit.training import fit
from flowkit.transforms import Chain, Circular, Columns, Identity, Interval, Log, LULinear


def test_a_positive_a_bounded_a_circular_and_two_real_columns():
    torch.manual_seed(0)
    support = Columns(
        {0: Log(1), 1: Interval(1, 0.0, 1.0), 2: Circular(1, 24.0, bound=5.0), (3, 4): Identity(2)}
    )
    tails = ("linear", "linear", "circular", "linear", "linear")
    spline = nsf(5, layers=2, hidden=(32,), tails=tails)
    base = JointBase({2: BoxUniform(-5.0, 5.0), (0, 1, 3, 4): StandardNormal(4)})
    flow = Flow(Chain(support, spline.transform), base)

    hour = 24 * torch.rand(3000)
    real = torch.randn(3000, 2)
    x = torch.stack([real[:, 0].exp(), torch.sigmoid(real[:, 1]), hour, *real.T], 1)
    before = flow.log_prob(x).mean()
    fit(flow, x, steps=200, learning_rate=2e-3)
    assert flow.log_prob(x).mean() > before + 0.5
    sample, log_prob = flow.sample_and_log_prob((500,))
    assert torch.allclose(flow.log_prob(sample), log_prob, atol=1e-2)
    assert (sample[:, 0] > 0).all()
    assert ((sample[:, 1] > 0) & (sample[:, 1] < 1)).all()
    assert ((sample[:, 2] >= 0) & (sample[:, 2] <= 24)).all()
    outside = x[:3].clone()
    outside[0, 0], outside[1, 1] = -1.0, 1.0
    assert flow.log_prob(outside).exp().tolist()[:2] == [0.0, 0.0]
    turned = x[:5].clone()
    turned[:, 2] += 24
    assert torch.allclose(flow.log_prob(turned), flow.log_prob(x[:5]), atol=1e-3)


def test_columns_act_where_they_are_named():
    x = torch.randn(10, 4)
    columns = Columns({(2, 0): LULinear(2), 3: Log(1), 1: Identity(1)})
    with torch.no_grad():
        columns.transforms[0].upper[0, 1] = 2.0
    x[:, 3] = x[:, 3].exp()
    z, logabsdet = columns(x)
    assert torch.allclose(z[:, 2], x[:, 2] + 2 * x[:, 0])
    assert torch.equal(z[:, :2], x[:, :2])
    assert torch.allclose(z[:, 3], x[:, 3].log())
    assert torch.allclose(logabsdet, -x[:, 3].log())


def test_joint_base_is_a_product():
    base = JointBase({1: StandardLogistic(1), (0, 2): maf(2, hidden=(8,))})
    x = torch.randn(7, 3)
    expected = StandardLogistic(1).log_prob(x[:, 1:2]) + StandardNormal(2).log_prob(x[:, [0, 2]])
    assert torch.allclose(base.log_prob(x), expected, atol=1e-5)
    assert base.sample((4, 5)).shape == (4, 5, 3)


@pytest.mark.parametrize("kind", [Columns, JointBase])
def test_columns_named_twice_or_left_out(kind):
    part = Identity if kind is Columns else StandardNormal
    with pytest.raises(
        ArgumentError, match=r"columns: expected each column once, and \[1\] are named twice"
    ):
        kind({0: part(1), (1, 2): part(2), 1: part(1)})
    with pytest.raises(
        ArgumentError, match=r"columns: .*every column from 0 to 3, and \[1\] are missing"
    ):
        kind({0: part(1), (2, 3): part(2)})
    with pytest.raises(ShapeError, match="columns: expected 2 columns for a part of 2 features"):
        kind({0: part(1), (1, 2, 3): part(2)})
    with pytest.raises(ArgumentError, match="columns: expected every column"):
        kind({})
    assert math.isfinite(1.0)
