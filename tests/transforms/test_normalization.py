"""Batch norm and act norm."""

import math

import pytest
import torch
from zoo import named_flow, trained, two_clusters

from flowkit.errors import ArgumentError, DirectionError, ShapeError
from flowkit.flows import maf, real_nvp
from flowkit.testing import check_flow
from flowkit.training import fit
from flowkit.transforms import ActNorm, BatchNorm, Inverse, calibrate


def test_training_normalises_by_the_batch_and_its_biased_variance():
    layer = BatchNorm(3).double()
    x = 5 + 2 * torch.randn(50, 3, dtype=torch.float64)
    z, logabsdet = layer(x)
    var = x.var(0, correction=0)
    assert torch.allclose(z, (x - x.mean(0)) / (var + 1e-5).sqrt())
    assert torch.allclose(logabsdet, -0.5 * (var + 1e-5).log().sum().expand(50))


def test_a_fresh_layer_in_eval_is_nearly_the_identity():
    """nflows' starts its running variance at zero and multiplies by 316."""
    z, _ = BatchNorm(3).eval()(torch.ones(2, 3))
    assert torch.allclose(z, torch.ones(2, 3), atol=1e-4)


@pytest.mark.parametrize("architecture", [maf, real_nvp])
def test_after_calibration_eval_scores_a_set_as_training_does(architecture):
    torch.manual_seed(0)
    flow = architecture(4, hidden=(16, 16), batch_norm=True).double()
    x = two_clusters(500, 4)
    fit(flow, x, steps=50, batch_size=100)
    flow.train()
    with torch.no_grad():
        expected = flow.log_prob(x).mean()
        calibrate(flow, x)
        got = flow.eval().log_prob(x).mean()
    assert got == pytest.approx(expected.item(), abs=1e-6)
    # a row's density does not depend on its batch mates
    whole = flow.log_prob(x)
    assert torch.allclose(torch.cat([flow.log_prob(row[None]) for row in x[:20]]), whole[:20])
    check_flow(flow, x[:100])


def test_fit_leaves_the_statistics_of_the_whole_training_set():
    torch.manual_seed(0)
    x = two_clusters(500, 3)
    flow = trained(named_flow("maf_batch_norm", 3).double(), 3)
    fit(flow, x, steps=30, batch_size=50, standardize=False)
    first = flow.transform.transforms[1]
    z, _ = flow.transform.transforms[0](x)
    assert torch.allclose(first.running_mean, z.mean(0))
    assert torch.allclose(first.running_var, z.var(0, correction=0))


def test_running_statistics_approach_the_data():
    layer = BatchNorm(2)
    for _ in range(100):
        layer(3 + 2 * torch.randn(200, 2))
    assert torch.allclose(layer.running_mean, torch.full((2,), 3.0), atol=0.2)
    assert torch.allclose(layer.running_var, torch.full((2,), 4.0), atol=0.4)


def test_bad_batch_norm_input_is_named():
    layer = BatchNorm(2)
    with pytest.raises(ShapeError, match="x: expected at least two rows in a training batch"):
        layer(torch.randn(1, 2))
    with pytest.raises(DirectionError, match=r"no inverse while training.*eval\(\)"):
        layer.inverse(torch.randn(5, 2))
    with pytest.raises(ShapeError, match="at least two rows"):
        calibrate(layer, torch.randn(1, 2))
    assert not layer._calibrating
    assert layer(torch.empty(0, 2))[0].shape == (0, 2)
    for option in ({"momentum": 0.0}, {"momentum": 1.5}, {"eps": 0.0}):
        with pytest.raises(ArgumentError, match=f"^{next(iter(option))}: expected"):
            BatchNorm(2, **option)


def test_act_norm_initialises_and_keeps_a_constant_column_finite():
    """nflows' divides by a standard deviation of zero."""
    x = torch.randn(200, 3) * 5 + 2
    x[:, 1] = 0.1
    layer = ActNorm(3)
    assert torch.equal(layer(x)[0], x)
    layer.initialize(x)
    z, logabsdet = layer(x)
    assert torch.allclose(z.mean(0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(z.std(0, correction=0), torch.tensor([1.0, 0.0, 1.0]), atol=1e-5)
    assert logabsdet.isfinite().all()
    with pytest.raises(ShapeError, match="x: expected at least one row"):
        layer.initialize(torch.empty(0, 3))


def test_calibration_repairs_and_refuses():
    layer = BatchNorm(2).train()
    layer(torch.tensor([[math.nan, 1.0], [1.0, 2.0]]))
    calibrate(layer, torch.randn(10, 2))
    assert layer.running_mean.isfinite().all()
    with pytest.raises(ShapeError, match="x: expected at least two rows"):
        calibrate(maf(2, batch_norm=True), torch.zeros(0, 2))
    with pytest.raises(DirectionError):
        calibrate(Inverse(BatchNorm(2).eval()), torch.randn(50, 2))
