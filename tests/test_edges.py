"""Edges that a first reader would not try: each was wrong once."""

import math

import pytest
import torch
from torch import distributions as td

from flowkit.errors import ArgumentError, ContextError, DirectionError, DtypeError, ShapeError
from flowkit.flows import (
    BoxUniform,
    Dequantized,
    Flow,
    JointBase,
    MixtureOfFlows,
    StandardLogistic,
    StandardNormal,
    StudentT,
    TorchBase,
    binary_made,
    iaf,
    made_mog,
    maf,
    nsf,
    radial,
)
from flowkit.transforms import (
    BatchNorm,
    Chain,
    Interval,
    Inverse,
    Log,
    LULinear,
    Planar,
    RationalQuadraticSpline,
    Reverse,
    Sylvester,
    calibrate,
)


def test_draws_of_noise_come_in_front_of_the_contexts():
    model = Dequantized(nsf(3, context_features=2))
    assert model.log_prob(torch.ones(3), torch.randn(3, 2), samples=3).shape == (3,)
    assert model.log_prob(torch.ones(3), torch.randn(4, 2), samples=3).shape == (4,)


@pytest.mark.parametrize(
    "make",
    [
        lambda: made_mog(1, components=3),
        lambda: made_mog(1, components=3, base="logistic"),
        lambda: Flow(Inverse(Planar(1)), StandardNormal(1)),
        lambda: Flow(Inverse(Sylvester(1, 1)), StandardNormal(1)),
    ],
)
def test_second_derivatives_of_what_is_solved_by_iteration(make):
    flow = make().double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    x = torch.tensor([[0.7], [-0.4]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(flow.log_prob, (x,))


def test_a_boundary_that_torch_counts_as_inside():
    base = TorchBase(td.Beta, concentration1=2 * torch.ones(1), concentration0=2 * torch.ones(1))
    z = torch.tensor([[1.0], [0.3]], requires_grad=True)
    log_prob = base.log_prob(z)
    assert log_prob[0] == -math.inf
    log_prob[1].backward()
    assert z.grad.isfinite().all()
    gamma = TorchBase(td.Gamma, concentration=torch.full((1,), 0.5), rate=torch.ones(1))
    assert gamma.log_prob(torch.zeros(1, 1)) == -math.inf


def test_a_row_outside_every_component_leaves_the_weights_alone():
    mixture = MixtureOfFlows([BoxUniform(0.0, 1.0), BoxUniform(0.0, 2.0)])
    log_prob = mixture.log_prob(torch.tensor([[5.0], [0.5]]))
    assert log_prob[0] == -math.inf
    log_prob[1].backward()
    assert mixture.logits.grad.isfinite().all()


@pytest.mark.parametrize("df", [150.0, 250.0, 1e4, 1e6])
def test_student_t_keeps_its_digits_however_many_degrees_of_freedom(df):
    base, exact = StudentT(1, df=df), StudentT(1, df=df).double()
    x = torch.linspace(-3, 3, 7)[:, None]
    assert torch.allclose(base.log_prob(x).double(), exact.log_prob(x.double()), atol=1e-4)
    truth = td.StudentT(exact.log_df.detach().exp()).log_prob(x[:, 0].double())
    assert torch.allclose(exact.log_prob(x.double()), truth, atol=1e-7)


def test_ends_are_exact_in_float64():
    middle = torch.tensor([[1.7e9 + 5]], dtype=torch.float64)
    z, logabsdet = Interval(1, 1.7e9, 1.7e9 + 10).double()(middle)
    assert z.item() == 0
    assert logabsdet.isfinite()
    faces = torch.tensor([[0.1], [0.7]], dtype=torch.float64)
    assert BoxUniform(0.1, 0.7).double().log_prob(faces).isfinite().all()


def test_samples_never_land_on_an_end():
    for support, base in ((Interval(1, 1000.0, 1001.0), StandardLogistic(1)), (Log(1), None)):
        flow = Flow(support, base or StandardNormal(1))
        assert flow.log_prob(flow.sample((100_000,))).isfinite().all()
    far = torch.tensor([[-200.0], [200.0]])
    x, _ = Log(1).inverse(far)
    assert Log(1)(x)[1].isfinite().all()


def test_huge_rows_spoil_no_gradient():
    flow = made_mog(1)
    log_prob = flow.log_prob(torch.tensor([[1e20], [0.0]]))
    assert not log_prob.isnan().any()
    log_prob[1].backward()
    assert all(p.grad.isfinite().all() for p in flow.parameters() if p.grad is not None)
    assert not radial(2).log_prob(torch.tensor([[1e20, 0.0]])).isnan()
    assert iaf(2).log_prob(torch.tensor([[math.inf, 0.0]])) == -math.inf


def test_transforms_made_of_others_ignore_a_context_that_nobody_asks_for():
    x, context = torch.randn(2, 3), torch.randn(2, 4)
    for transform in (Chain(Reverse(3)), Inverse(Reverse(3))):
        assert torch.equal(transform(x, context)[0], x.flip(-1))


def test_calibration_repairs_and_refuses():
    layer = BatchNorm(2).train()
    layer(torch.tensor([[math.nan, 1.0], [1.0, 2.0]]))
    calibrate(layer, torch.randn(10, 2))
    assert layer.running_mean.isfinite().all()
    with pytest.raises(ShapeError, match="x: expected at least two rows"):
        calibrate(maf(2, batch_norm=True), torch.zeros(0, 2))
    with pytest.raises(DirectionError):
        calibrate(Inverse(BatchNorm(2).eval()), torch.randn(50, 2))


def test_more_bad_arguments_are_named():
    flow = nsf(3, context_features=2)
    with pytest.raises(ShapeError, match=r"context: expected batch dimensions that broadcast"):
        flow.log_prob(torch.randn(4, 3), torch.randn(7, 2))
    with pytest.raises(DtypeError, match="context: expected the dtype of the flow"):
        flow.log_prob(torch.randn(4, 3), torch.randn(4, 2).double())
    with pytest.raises(ShapeError, match="bases: expected bases over vectors"):
        JointBase({(0, 1, 2, 3): StandardNormal((2, 2))})
    with pytest.raises(ArgumentError, match="bins: expected fewer than 1000"):
        RationalQuadraticSpline(2000, limit=None)
    with pytest.raises(ArgumentError, match="distribution: expected a continuous distribution"):
        TorchBase(td.Dirichlet, concentration=torch.ones(3))
    conditional = maf(2, context_features=3)
    inner = Flow(conditional.transform, conditional.base, embedding=torch.nn.Linear(5, 3))
    with pytest.raises(ContextError, match="base: expected a flow without an embedding"):
        Flow(LULinear(2), inner)


def test_an_integer_is_a_sample_shape_everywhere():
    assert binary_made(3).sample(3).shape == (3, 3)
    assert MixtureOfFlows([maf(2)]).sample(3).shape == (3, 2)
    assert StandardNormal(2).sample(3).shape == (3, 2)
