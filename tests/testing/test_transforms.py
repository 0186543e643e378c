"""The battery catches what it is there to catch: each test here plants a bug."""

import pytest
import torch
from torch import Tensor

from flowkit.errors import ArgumentError, DtypeError
from flowkit.flows import Flow, StandardNormal
from flowkit.testing import check_flow, check_transform, total_mass
from flowkit.transforms import Affine, Elementwise, Transform


class Scale(Transform):
    """A right transform, for wrong ones to inherit from: z = exp(s) x, with s of the context."""

    def __init__(self, context_features: int = 0) -> None:
        super().__init__(3, context_features=context_features)
        self.log_scale = torch.nn.Parameter(torch.tensor([0.1, 0.2, -0.5]))

    def scale(self, context: Tensor | None) -> Tensor:
        return self.log_scale if context is None else self.log_scale + context.mean(-1, True)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check_input("x", x, context)
        s = self.scale(context)
        return x * s.exp(), s.expand_as(x).sum(-1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check_input("z", z, context)
        s = self.scale(context)
        return z * (-s).exp(), -s.expand_as(z).sum(-1)


class FlippedSign(Scale):
    def forward(self, x, context=None):
        z, logabsdet = super().forward(x, context)
        return z, -logabsdet


class FlippedInverseSign(Scale):
    def inverse(self, z, context=None):
        x, logabsdet = super().inverse(z, context)
        return x, -logabsdet


class ForgottenTerm(Scale):
    def forward(self, x, context=None):
        z, logabsdet = super().forward(x, context)
        return z, logabsdet - self.scale(context)[..., 0]


class NotTheInverse(Scale):
    def inverse(self, z, context=None):
        x, logabsdet = super().inverse(z, context)
        return x + 1e-3, logabsdet


class BatchMates(Scale):
    def forward(self, x, context=None):
        z, logabsdet = super().forward(x, context)
        return z, logabsdet + 1e-10 * x.reshape(-1, 3).nan_to_num().sum(0).mean()


class SwallowsNan(Scale):
    def forward(self, x, context=None):
        z, logabsdet = super().forward(x, context)
        return torch.where(z.isnan(), 0.0, z), logabsdet


class SpreadsNan(Scale):
    def forward(self, x, context=None):
        z, logabsdet = super().forward(x, context)
        return z + 0 * x.sum(), logabsdet


class WrongShape(Scale):
    def forward(self, x, context=None):
        z, logabsdet = super().forward(x, context)
        return z, logabsdet[..., None]


class OtherDtype(Scale):
    def forward(self, x, context=None):
        z, logabsdet = super().forward(x, context)
        return z, logabsdet.half().to(torch.float32 if x.dtype == torch.float64 else torch.float64)


class Unchecked(Scale):
    def check_input(self, argument, x, context):
        pass


class BreaksTheGraph(Scale):
    def forward(self, x, context=None):
        torch._dynamo.graph_break()
        return super().forward(x, context)


class BadGradient(Scale):
    def forward(self, x, context=None):
        z, logabsdet = super().forward(x, context)
        return z + 0 * (x - x).sqrt(), logabsdet


class NotConstant(Scale):
    def __init__(self, context_features=0):
        super().__init__(context_features)
        self.constant_logabsdet = True


class Detached(Scale):
    """Its log-determinant has no gradient, by the parameters and the context."""

    def forward(self, x, context=None):
        z, logabsdet = super().forward(x, context)
        return z, logabsdet.detach()


class DetachedInverse(Scale):
    def inverse(self, z, context=None):
        x, logabsdet = super().inverse(z, context)
        return x, logabsdet.detach()


class DetachedValue(Scale):
    """Its value has none by the parameters."""

    def forward(self, x, context=None):
        self.check_input("x", x, context)
        s = self.scale(context)
        return x * s.exp().detach(), s.expand_as(x).sum(-1)


class Cube(Transform):
    """z = x + x³ / 3, whose log-determinant depends on x; it may be detached from it."""

    detached = False

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, x, context=None):
        self.check_input("x", x, context)
        logabsdet = torch.log1p(x.square()).sum(-1)
        return x + x**3 / 3, logabsdet.detach() if self.detached else logabsdet

    def inverse(self, z, context=None):
        self.check_input("z", z, context)
        root = (1 + 2.25 * z.square()).sqrt()
        low = (root - 1.5 * z).abs().pow(1 / 3)
        x = torch.where(z > 0, (1.5 * z + root).pow(1 / 3) - (1.5 * z + root).pow(-1 / 3), 0.0)
        x = torch.where(z > 0, x, 1 / low - low)
        return x, -torch.log1p(x.square()).sum(-1)


class DetachedFromInput(Cube):
    detached = True


class HalfGradient(Scale):
    """Its gradients are finite, and half of what they should be."""

    def forward(self, x, context=None):
        z, logabsdet = super().forward(x, context)
        return z, 0.5 * (logabsdet + logabsdet.detach())


class Noisy(Scale):
    def forward(self, x, context=None):
        z, logabsdet = super().forward(x, context)
        return z + 1e-3 * torch.randn_like(z), logabsdet


class NoisyInverse(Scale):
    def inverse(self, z, context=None):
        x, logabsdet = super().inverse(z, context)
        return x, logabsdet + 1e-6 * torch.rand(logabsdet.shape, dtype=x.dtype)


def points(context: int) -> tuple[Tensor, Tensor | None]:
    x = torch.randn(20, 3, dtype=torch.float64)
    return x, torch.randn(20, context, dtype=torch.float64) if context else None


@pytest.mark.parametrize("context", [0, 2])
def test_a_right_transform_passes_and_is_left_alone(context):
    transform = Scale(context).double().train()
    before = {k: v.clone() for k, v in transform.state_dict().items()}
    errors = check_transform(transform, *points(context))
    assert set(errors) == {"logabsdet", "inverse_logabsdet", "round_trip", "inverse_round_trip"}
    assert transform.training
    assert all(torch.equal(v, before[k]) for k, v in transform.state_dict().items())


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (FlippedSign, "^logabsdet is wrong"),
        (FlippedInverseSign, "inverse_logabsdet is wrong"),
        (ForgottenTerm, "^logabsdet is wrong"),
        (NotTheInverse, "round_trip is wrong"),
        (BatchMates, "batch mates"),
        (SwallowsNan, "NaN in gives no NaN out"),
        (SpreadsNan, "NaN in one row changes another"),
        (WrongShape, "logabsdet has shape"),
        (OtherDtype, "another dtype"),
        (Unchecked, "bad input to forward raises RuntimeError, not ShapeError"),
        (BadGradient, "logabsdet is wrong by nan"),
        (Detached, "gradient of forward's logabsdet by (context|parameters) is wrong"),
        (DetachedInverse, "gradient of inverse's logabsdet by (context|parameters) is wrong"),
        (DetachedValue, "gradient of forward's value by (context|parameters) is wrong"),
        (HalfGradient, "gradient of forward's logabsdet by (context|parameters) is wrong by 0"),
        (Noisy, "two calls of forward at the same points differ by .* must not be random"),
        (NoisyInverse, "two calls of inverse at the same points differ"),
    ],
)
def test_a_wrong_transform_is_caught(wrong, message, context):
    with pytest.raises(AssertionError, match=message):
        check_transform(wrong(context).double(), *points(context))


def test_a_graph_break_is_caught():
    with pytest.raises(torch._dynamo.exc.Unsupported, match="(?i)graph.break"):
        check_transform(BreaksTheGraph().double(), *points(0))


def test_a_logabsdet_that_is_not_constant_is_caught():
    with pytest.raises(AssertionError, match="said to be constant"):
        check_transform(NotConstant(2).double(), *points(2))


def test_a_wrong_flow_is_caught():
    class Forgetful(Flow):
        def _base_log_prob(self, z, context):
            return super()._base_log_prob(z, context) + 0.01 * z[..., 0]

    class Careless(Flow):
        def sample_and_log_prob(self, sample_shape=(), context=None, generator=None):
            x, log_prob = super().sample_and_log_prob(sample_shape, context, generator)
            return x, log_prob + 1e-3

    x, _ = points(0)
    with pytest.raises(AssertionError, match="log_prob of samples is wrong"):
        check_flow(Careless(Scale(), StandardNormal(3)).double(), x)
    wrong = Forgetful(Elementwise(1, Affine()), StandardNormal(1))
    assert total_mass(wrong, -10, 10) == pytest.approx(1, abs=1e-2)
    assert total_mass(wrong, -10, 10) != pytest.approx(1, abs=1e-5)


def test_a_logabsdet_that_is_detached_from_the_input_is_caught():
    x = torch.randn(20, 1, dtype=torch.float64)
    check_transform(Cube(), x)
    with pytest.raises(AssertionError, match="gradient of forward's logabsdet by x is wrong"):
        check_transform(DetachedFromInput(), x)
    flow = Flow(DetachedFromInput(), StandardNormal(1)).double()
    with pytest.raises(AssertionError, match="gradient of forward's logabsdet by x is wrong"):
        check_flow(flow, x)


@pytest.mark.parametrize("wrong", [Detached, DetachedInverse, HalfGradient])
def test_gradients_are_checked_in_float32_too(wrong):
    x = torch.randn(20, 3)
    check_transform(Scale(), x)
    with pytest.raises(AssertionError, match="logabsdet by parameters is wrong"):
        check_transform(wrong(), x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.long])
def test_dtypes_without_a_tolerance_are_refused(dtype):
    x, flow = torch.zeros(5, 3, dtype=dtype), Flow(Scale(), StandardNormal(3))
    for check, module in ((check_transform, Scale()), (check_flow, flow)):
        with pytest.raises(DtypeError, match=f"^x: expected float32 or float64 .*{dtype}"):
            check(module, x)
        with pytest.raises(DtypeError, match=r"^x: expected a torch\.Tensor, got list"):
            check(module, [[0.0]])


def test_a_flow_is_no_transform_and_the_other_way_round():
    x, flow = torch.zeros(5, 3), Flow(Scale(), StandardNormal(3))
    with pytest.raises(ArgumentError, match="^transform: expected .*check_flow.*, got Flow$"):
        check_transform(flow, x)
    with pytest.raises(ArgumentError, match="^flow: expected .*check_transform.*, got Scale$"):
        check_flow(Scale(), x)
    with pytest.raises(ArgumentError, match="^transform: expected .*, got Linear$"):
        check_transform(torch.nn.Linear(3, 3), x)
