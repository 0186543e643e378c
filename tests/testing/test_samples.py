"""`check_samples` catches planted faults, and alarms no more often than it states."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from samplers import OfBlock, OfHierarchy, OfMember, OfTable, OfVAE
from torch import nn
from zoo import perturb_

from flowkit import FlowDensity
from flowkit.flows import (
    BinaryMADE,
    ConditionalNormal,
    Flow,
    JointBase,
    MixtureOfFlows,
    NormalMixture,
    PixelDistribution,
    StandardNormal,
    StudentT,
    maf,
    nsf,
    real_nvp,
)
from flowkit.nets import MADE, PixelCNN
from flowkit.nets.incremental import parameters_sweep
from flowkit.schema import Discrete
from flowkit.tabular.continuous.members import FlowMember, KernelMember, MixtureMember
from flowkit.tabular.discrete import DiscreteBlock
from flowkit.testing import check_flow, check_samples
from flowkit.vae import HierarchicalVAE, LadderVAE

CONTEXT = torch.tensor([[1.5, -1.0], [-1.0, 0.5]], dtype=torch.float64)


class Faulty:
    """A sampler with a fault: its draws go through a function, its context through another."""

    def __init__(self, right, draws=lambda x: x, context=lambda c: c) -> None:
        self.right, self.draws, self.context = right, draws, context

    def sample(self, shape, context, generator):
        given = None if context is None else self.context(context)
        return self.draws(self.right.sample(shape, given, generator))

    def log_prob(self, x, context):
        return self.right.log_prob(x, context)


def rolled(x):
    return x.roll(1, -1)


def forgotten(context):
    return torch.zeros_like(context)


def one_column_of_others(x):
    """The last column comes from another draw: its dependence is lost."""
    return torch.cat([x[..., :-1], x[..., -1:].roll(1, 0)], -1)


def half_of_others(x):
    k = x.shape[-1] // 2
    return torch.cat([x[..., :k].roll(1, 0), x[..., k:]], -1)


def wider(x):
    return 1.15 * x


def shifted(x):
    return x + torch.tensor([0.0] * (x.shape[-1] - 1) + [0.3], dtype=x.dtype)


def caught(sampler, context=None, **options) -> bool:
    try:
        check_samples(sampler, context, **options)
    except AssertionError:
        return True
    return False


def moved(module: nn.Module, size: float = 0.2) -> nn.Module:
    torch.manual_seed(0)
    perturb_(module.double(), size)
    return module.eval()


COMMON = {
    "permutation": {"draws": rolled},
    "context": {"context": forgotten},
    "dependence": {"draws": one_column_of_others},
    "scale": {"draws": wider},
    "shift": {"draws": shifted},
}
FLOWS = {
    "maf": lambda: maf(3, context_features=2, hidden=(16,)),
    "nsf": lambda: nsf(3, context_features=2, hidden=(16,)),
    "real_nvp": lambda: real_nvp(3, context_features=2, hidden=(16,)),
}


@pytest.mark.parametrize("fault", [None, *COMMON])
@pytest.mark.parametrize("name", FLOWS)
def test_faults_of_flows(name, fault):
    flow = moved(FLOWS[name](), 0.3)
    assert caught(Faulty(flow, **COMMON.get(fault, {})), CONTEXT) == (fault is not None)


def test_a_layer_in_the_wrong_order_is_caught():
    """The fault of a sampler that reads its columns by name where it should by position."""
    flow = moved(maf(3, layers=1, hidden=(16,)), 0.5)
    made = flow.transform.layers[0].made if hasattr(flow.transform, "layers") else None
    wrong = moved(maf(3, layers=1, hidden=(16,)), 0.5)
    assert made is None or made.order == wrong.transform.layers[0].made.order
    with torch.no_grad():
        for parameter in wrong.parameters():
            if parameter.dim() == 2 and parameter.shape[1] == 3:
                parameter.copy_(parameter[:, [1, 0, 2]])

    class Wrong(Faulty):
        def sample(self, shape, context, generator):
            return wrong.sample(shape, context, generator)

    assert not caught(flow)
    assert caught(Wrong(flow))


def base_with_context() -> nn.Module:
    conditional = ConditionalNormal(2, context_features=2, hidden=(8,))
    mixture = MixtureOfFlows([conditional, NormalMixture(2, 2)])
    return moved(JointBase({(2, 0): mixture, 1: StudentT(1)}), 0.6)


@pytest.mark.parametrize("fault", [None, *COMMON, "weight"])
def test_faults_of_bases_and_mixtures(fault):
    base = base_with_context()
    if fault == "weight":  # the sampler takes all components to weigh the same
        wrong = base_with_context()
        with torch.no_grad():
            base.bases[0].logits.copy_(torch.tensor([1.0, -1.0]))

        class Wrong(Faulty):
            def sample(self, shape, context, generator):
                return wrong.sample(shape, context, generator)

        assert caught(Wrong(base), CONTEXT)
    else:
        # The third column is the mixture's first: its dependence is on the first.
        assert caught(Faulty(base, **COMMON.get(fault, {})), CONTEXT) == (fault is not None)


@pytest.mark.parametrize("features", [2, 5])
def test_a_component_that_is_never_drawn_is_caught(features):
    """Near enough to the draws to be found by a wider proposal or by moves."""
    mixture, one = (NormalMixture(features, k).double() for k in (2, 1))
    with torch.no_grad():
        mixture.means.copy_(torch.stack([torch.zeros(features), 1.2 * torch.ones(features)]))
        mixture.logits.copy_(torch.tensor([1.5, 0.0]))
        one.means.zero_()

    class Never(Faulty):
        def sample(self, shape, context, generator):
            return one.sample(shape, None, generator)

    assert not caught(mixture)
    assert caught(Never(mixture))


BITS = {
    "permutation": {"draws": rolled},
    "context": {"context": forgotten},
    "dependence": {"draws": half_of_others},
    "another level": {"draws": lambda x: torch.where(torch.rand(x.shape) < 0.03, 1 - x, x)},
    "never both": {"draws": lambda x: x * (x[..., -2:].sum(-1, keepdim=True) < 2)},
}


@pytest.mark.parametrize("features", [4, 14])
@pytest.mark.parametrize("fault", [None, *BITS])
def test_faults_of_bits(fault, features):
    """With all states listed, and with too many of them, by moves alone."""
    made = MADE(features, 1, (16,), context_features=2)
    bits = moved(BinaryMADE(made), 1.2)
    with torch.no_grad():  # each of them is both often enough
        made.net.output.bias.copy_(
            -made(torch.full((1, features), 0.5).double(), CONTEXT[:1])[0, :, 0]
        )
    sampler = Faulty(bits, **BITS.get(fault, {}))
    assert caught(sampler, CONTEXT, levels=2) == (fault is not None)


def transposed(x):
    return x.transpose(-1, -2)


PIXELS = {
    "transposed": {"draws": transposed},
    "context": {"context": forgotten},
    "dependence": {"draws": one_column_of_others},
    "permutation": {"draws": lambda x: x.flip(-1)},
    "another level": BITS["another level"],
}


@pytest.mark.parametrize("fault", [None, *PIXELS])
def test_faults_of_pixels(fault):
    net = PixelCNN((1, 3, 3), hidden=4, layers=2, context_features=2)
    images = moved(PixelDistribution(net), 0.7)
    sampler = Faulty(images, **PIXELS.get(fault, {}))
    assert caught(sampler, CONTEXT, levels=2) == (fault is not None)


class ByName(FlowMember):
    """The fault that this battery was written for: a value goes where its column stands."""

    sine_first = False

    def sample(self, present, context, generator):
        n, dtype = len(present), self._dtype()
        seen = torch.zeros(self.layer.features, n, dtype=dtype)
        y = torch.zeros(n, self.features, dtype=dtype)
        sweep = parameters_sweep(
            self.layer.made, seen, self.network_context(present, context, dtype)
        )
        for k, feature in enumerate(self.layer.made.order):
            params = sweep.advance(k)
            if feature >= self.features:
                continue
            value = self._draw(feature, params, generator)
            y[:, feature] = value = torch.where(present[:, feature], value, 0.0)
            at = k if self.sine_first else feature
            if self.circular[feature]:
                cosine, sine = (
                    (value.sin(), value.cos()) if self.sine_first else (value.cos(), value.sin())
                )
                seen[at] = cosine
                seen[k + 1 if self.sine_first else self._sines[feature]] = sine
            else:
                seen[at] = value
        return y.masked_fill(~present, torch.nan)


class SwappedSine(ByName):
    """The sine where the cosine belongs."""

    sine_first = True


def flow_member(kind: type[FlowMember] = FlowMember) -> FlowMember:
    member = kind(4, (2, 0, 3, 1), (16, 16), 3, 2, True, [False, True, False, False])
    member.start(np.random.default_rng(0).normal(size=(100, 4)), 0)
    return moved(member, 0.4)


class Uniform(FlowMember):
    """Components drawn with equal weights."""

    def _components(self, params):
        weights, means, scales = super()._components(params)
        return torch.full_like(weights, -math.log(self.components)), means, scales


@pytest.mark.parametrize(
    "fault", [None, "by name", "sine", "weight", "context", "permutation", "dependence", "scale"]
)
def test_faults_of_flow_members(fault):
    present = torch.tensor([True, True, True, True])
    right = OfMember(flow_member(), present)
    kinds = {"by name": ByName, "sine": SwappedSine, "weight": Uniform}
    periods = {1: 2 * math.pi}
    if fault in kinds:
        wrong = OfMember(flow_member(kinds[fault]), present)

        class Wrong(Faulty):
            def sample(self, shape, context, generator):
                return wrong.sample(shape, context, generator)

        assert caught(Wrong(right), CONTEXT, periods=periods)
    else:
        sampler = Faulty(right, **COMMON.get(fault, {}))
        assert caught(sampler, CONTEXT, periods=periods) == (fault is not None)


@pytest.mark.parametrize("fault", [None, "permutation", "dependence", "scale", "shift", "weight"])
@pytest.mark.parametrize("kind", ["mixture", "kernel"])
def test_faults_of_simple_members(kind, fault):
    generator = np.random.default_rng(0)
    y = generator.normal(size=(400, 3)) @ np.array([[1, 0.9, -0.3], [0, 0.4, 0.5], [0, 0, 0.4]])
    y[:100, 0] += 3
    w, angles = np.ones(400), np.zeros(3, dtype=bool)
    makes = {
        "mixture": lambda: MixtureMember.fit(y, w, 3, angles),
        "kernel": lambda: KernelMember.fit(y, w, angles),
    }
    present = torch.ones(3, dtype=torch.bool)
    right = OfMember(makes[kind](), present)
    if fault == "weight":
        other = makes[kind]()
        # One side is drawn less often by a factor e. A far mode that is never drawn would be
        # beyond the test: no move leads there.
        with torch.no_grad():
            places = other.means if kind == "mixture" else other.centers
            other.log_weights[places[:, 0] > places[:, 0].median()] -= 1.0
        wrong = OfMember(other, present)

        class Wrong(Faulty):
            def sample(self, shape, context, generator):
                return wrong.sample(shape, context, generator)

        assert caught(Wrong(right), draws=12_000)
    else:
        sampler = Faulty(right, **COMMON.get(fault, {}))
        assert caught(sampler) == (fault is not None)


@pytest.fixture(scope="module")
def block() -> DiscreteBlock:
    generator = np.random.default_rng(2)
    a = generator.integers(0, 3, 600)
    b = np.where(generator.random(600) < 0.8, a % 2, generator.integers(0, 2, 600))
    c = generator.poisson(1 + 3 * b)
    columns = [
        Discrete("a", "categorical", 3),
        Discrete("b", "flag", 2),
        Discrete("c", "integer", lower=0),
    ]
    return DiscreteBlock.fit(np.stack([a, b, c], 1), columns, effort="fast")


def with_noise(x):
    other = (x[:, 0] + 1) % 3
    changed = torch.rand(len(x), dtype=x.dtype) < 0.2
    return torch.cat([torch.where(changed, other, x[:, 0])[:, None], x[:, 1:]], 1)


BLOCKS = {
    "dependence": one_column_of_others,
    "another state": with_noise,
    "flag turned": lambda x: torch.stack([x[:, 0], 1 - x[:, 1], x[:, 2]], 1),
    "one more": lambda x: torch.cat([x[:, :2], x[:, 2:] + (x[:, 2:] > 4)], 1),
    "never zero": lambda x: torch.cat([x[:, :2], x[:, 2:].clamp(min=1)], 1),
}


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("fault", [None, *BLOCKS])
def test_faults_of_discrete_blocks(block, fault, listed):
    states = torch.cartesian_prod(torch.arange(3), torch.arange(2), torch.arange(25)).double()
    draws = BLOCKS.get(fault, lambda x: x)
    sampler = Faulty(OfBlock(block), draws)
    found = caught(sampler, support=states if listed else None, draws=40_000)
    assert found == (fault is not None)


@pytest.fixture(scope="module")
def table() -> OfTable:
    generator = np.random.default_rng(1)
    n = 600
    kind = generator.choice(["a", "b"], n, p=[0.6, 0.4])
    size = generator.normal(size=n) + np.where(kind == "b", 3, 0)
    size[generator.random(n) < 0.2] = np.nan
    weight = generator.normal(size=n) + np.nan_to_num(size)
    weight[generator.random(n) < 0.2] = 0.0
    frame = pd.DataFrame({"kind": kind, "size": size, "weight": weight})
    return OfTable(FlowDensity(effort="fast", random_state=0).fit(frame).model_)


def category_of_others(x):
    x = x.clone()
    x[:, 0] = x[:, 0].roll(1, 0)
    return x


def exchanged_values(x):
    """Two columns of values change places where both are there."""
    both = ~x[:, -2:].isnan().any(1)
    x = x.clone()
    x[both, -2:] = x[both][:, [-1, -2]]
    return x


TABLES = {
    "category": category_of_others,
    "dependence": lambda x: torch.where(
        x.isnan() | x.roll(1, 0).isnan(), x, torch.cat([x[:, :-1], x[:, -1:].roll(1, 0)], 1)
    ),
    "exchange": exchanged_values,
    "scale": lambda x: torch.cat([x[:, :-2], 1.15 * x[:, -2:]], 1),
    "shift": lambda x: torch.cat([x[:, :-1], x[:, -1:] + 0.3], 1),
}


@pytest.mark.parametrize("fault", [None, *TABLES])
def test_faults_of_tables(table, fault):
    sampler = Faulty(table, TABLES.get(fault, lambda x: x))
    assert caught(sampler, groups=table.groups, draws=15_000) == (fault is not None)


def test_impossible_draws_are_named():
    sampler = Faulty(PositiveOnly(), lambda x: x - 0.5)
    with pytest.raises(AssertionError, match=r"log-density -inf or NaN, the first of them \["):
        check_samples(sampler)


class PositiveOnly:
    def sample(self, shape, context, generator):
        return torch.rand(*shape, 1, generator=generator)

    def log_prob(self, x, context):
        return torch.where((x >= 0) & (x <= 1), 0.0, -math.inf).squeeze(-1)


def test_equal_draws_are_no_evidence():
    class Constant(PositiveOnly):
        def sample(self, shape, context, generator):
            return torch.full((*shape, 1), 2.0)

        def log_prob(self, x, context):
            return torch.where(x == 2.0, 0.0, -math.inf).squeeze(-1)

    with pytest.raises(AssertionError, match="no test is possible"):
        check_samples(Constant())


def test_check_flow_holds_samples_against_the_density():
    class WrongBase(StandardNormal):
        def _draw(self, shape, generator):
            return 1.2 * super()._draw(shape, generator)

    flow = moved(Flow(maf(3, hidden=(16,)).transform, WrongBase(3)))
    x = torch.randn(20, 3, dtype=torch.float64)
    check_flow(moved(Flow(maf(3, hidden=(16,)).transform, StandardNormal(3))), x)
    with pytest.raises(AssertionError, match="draws do not follow the density"):
        check_flow(flow, x)


def alarms(make, seeds: int, **options) -> float:
    """Return the share of seeds that fail at a false-alarm rate of 0.05."""
    failed = [caught(make(), seed=s, false_alarm=0.05, draws=1500, **options) for s in range(seeds)]
    return float(np.mean(failed))


RIGHT = {
    "flow": lambda: moved(maf(3, hidden=(8,)), 0.3),
    "mixture": lambda: moved(NormalMixture(2, 3), 0.5),
    "student": lambda: StudentT(2).double(),
    "bits": lambda: moved(BinaryMADE(MADE(3, 1, (8,))), 1.0),
}


@pytest.mark.parametrize("name", RIGHT)
def test_false_alarms_are_no_more_frequent_than_stated(name):
    levels = 2 if name == "bits" else None
    # 6 of 40 at a rate of 0.05 are exceeded with probability 0.007, in 3 of 1,000 by 7 of 40.
    assert alarms(RIGHT[name], 40, levels=levels) <= 6 / 40


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT)
def test_false_alarms_of_many_seeds(name):
    assert alarms(RIGHT[name], 600, levels=2 if name == "bits" else None) <= 0.07


def drawn_from_latents(adapted, move):
    """Replace a model's `sample` by one that moves the upper latents before it decodes."""
    model = adapted.model if isinstance(adapted, OfHierarchy) else adapted.vae

    def sample(n, generator):
        z = torch.randn(n, 2, generator=generator)
        if isinstance(adapted, OfHierarchy):
            z[:, :1] = model.prior[0].sample((), move(z[:, 1:]), generator)
            params = model._decode(z[None, :, :1])
            return model.likelihood.sample(params, generator)[0]
        params = model.decode(torch.cat([z[:, :1], move(z[:, 1:])], dim=-1), (2,))
        return model.likelihood.sample(params, generator)

    model.sample = sample
    return adapted


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ladder", "chain"])
def test_models_with_layers_of_latents(kind):
    torch.manual_seed(0 if kind == "ladder" else 2)  # with layers that matter
    if kind == "ladder":
        model = LadderVAE((2,), groups=(1, 1), hidden=(4, 4), likelihood="gaussian").eval()
    else:
        model = HierarchicalVAE((2,), sizes=(1, 1), hidden=(4,), likelihood="gaussian").eval()
    perturb_(model, 1.0)
    right = OfVAE(model, (2,), points=41) if kind == "ladder" else OfHierarchy(model)
    check_samples(drawn_from_latents(right, lambda z: z), draws=1000)
    for fault in (lambda z: 2 * z, lambda z: 0 * z, lambda z: z + 1):
        with pytest.raises(AssertionError):
            check_samples(drawn_from_latents(right, fault), draws=1000)
    del model.sample
    with pytest.raises(AssertionError):
        check_samples(Faulty(right, draws=rolled), draws=1000)
