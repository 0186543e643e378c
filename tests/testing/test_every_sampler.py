"""Every sampler of the library draws from the density that stands beside it."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from base_zoo import BASES, CONTEXT, moved
from samplers import (
    OfBeliefNetwork,
    OfBlock,
    OfHierarchy,
    OfLikelihood,
    OfMember,
    OfTable,
    OfVAE,
)
from torch import nn
from zoo import NAMED, named_flow, perturb_

from flowkit import FlowDensity
from flowkit.estimators import concrete, concrete_log_prob
from flowkit.flows import (
    BernoulliLikelihood,
    BinaryMADE,
    BoxUniform,
    CategoricalLikelihood,
    ConditionalNormal,
    ContinuousBernoulliLikelihood,
    Dequantized,
    DiagonalNormal,
    DiscretizedLogisticLikelihood,
    Flow,
    GaussianLikelihood,
    JointBase,
    MixtureOfFlows,
    NormalMixture,
    PixelDistribution,
    StandardNormal,
    binary_made,
    maf,
    nsf,
)
from flowkit.nets import MADE, PixelCNN
from flowkit.schema import Discrete, Schema
from flowkit.tabular.continuous.members import (
    DeepMember,
    FlowMember,
    KernelMember,
    MixtureMember,
    StudentMember,
)
from flowkit.tabular.discrete import DiscreteBlock
from flowkit.testing import check_samples
from flowkit.testing.cells import all_states
from flowkit.transforms import Affine, Chain, Columns, Elementwise, RationalQuadraticSpline
from flowkit.vae import (
    VAE,
    HierarchicalVAE,
    LadderVAE,
    SigmoidBeliefNetwork,
    TableLikelihood,
    fit_posterior,
    posterior,
)


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("name", NAMED)
def test_named_flows(name, context):
    flow = moved(named_flow(name, 4, context))
    check_samples(flow, CONTEXT if context else None, draws=2000)


def test_a_flow_with_an_embedding():
    flow = Flow(
        maf(3, context_features=4, hidden=(16,)).transform,
        StandardNormal(3),
        embedding=nn.Linear(2, 4),
    )
    check_samples(moved(flow), CONTEXT)


@pytest.mark.parametrize("name", BASES)
def test_bases(name):
    check_samples(moved(BASES[name](), 0.1))


@pytest.mark.parametrize("hidden", [None, (), (8,)])
def test_conditional_bases(hidden):
    width = 4 if hidden is None else 2
    context = torch.cat([CONTEXT, CONTEXT], -1)[:, :width]
    base = moved(ConditionalNormal(2, context_features=width, hidden=hidden))
    check_samples(base, context)
    joint = moved(JointBase({0: StandardNormal(1), (2, 1): base}))
    check_samples(joint, context)
    check_samples(moved(MixtureOfFlows([base, DiagonalNormal(2)])), context)


def test_a_flow_over_another_flow():
    check_samples(moved(Flow(maf(2, hidden=(8,)).transform, nsf(2, hidden=(8,)))))


def test_different_columns():
    circle = RationalQuadraticSpline(bins=5, bound=math.pi, tails="circular")
    transform = Columns({(0, 2): maf(2, hidden=(8,)).transform, 1: Elementwise(1, circle)})
    base = JointBase({(0, 2): StandardNormal(2), 1: BoxUniform(-math.pi, math.pi)})
    check_samples(moved(Flow(Chain(transform), base)), periods={1: 2 * math.pi})


def test_torch_distributions():
    check_samples(torch.distributions.VonMises(torch.tensor([1.0]), torch.tensor([2.0])))
    check_samples(torch.distributions.Normal(torch.zeros(1).double(), 2.0))
    flow = moved(maf(2, context_features=2, hidden=(8,)))
    check_samples(flow.as_distribution(CONTEXT[0]))


@pytest.mark.parametrize("order", [None, (2, 0, 1)])
@pytest.mark.parametrize("context", [0, 2])
def test_binary_vectors(order, context):
    made = MADE(3, 1, (8,), context_features=context, order=order)
    check_samples(moved(BinaryMADE(made), 1.0), CONTEXT if context else None, levels=2)


def test_many_bits():
    check_samples(moved(binary_made(14, hidden=(16,)), 1.0), levels=2)


@pytest.mark.parametrize("context", [0, 2])
def test_images_of_bits(context):
    net = PixelCNN((1, 3, 3), hidden=4, layers=2, context_features=context)
    check_samples(moved(PixelDistribution(net), 0.5), CONTEXT if context else None, levels=2)


def test_images_of_levels():
    likelihood = CategoricalLikelihood(5)
    net = PixelCNN((2, 1, 2), hidden=4, layers=2, outputs=5)
    check_samples(moved(PixelDistribution(net, likelihood), 0.5), levels=5)


def test_dequantized_counts():
    class Exact(nn.Module):
        """A dequantised base, its probabilities by a fixed rule instead of random noise."""

        def __init__(self) -> None:
            super().__init__()
            self.counts = Dequantized(moved(NormalMixture(2, 3), 0.5))

        def sample(self, shape, context, generator):
            return self.counts.sample(shape, context, generator)

        def log_prob(self, x, context):
            u = (torch.arange(16, dtype=torch.float64) + 0.5) / 16
            cube = torch.cartesian_prod(u, u)
            return self.counts.flow.log_prob(x.unsqueeze(-2) + cube).logsumexp(-1) - math.log(256)

    distribution = Exact()
    grid = torch.arange(-9.0, 9.0, dtype=torch.float64)
    states = torch.cartesian_prod(grid, grid)
    check_samples(distribution, support=states)
    generator = torch.Generator().manual_seed(0)
    estimate = distribution.counts.log_prob(states, samples=3000, generator=generator)
    exact = distribution.log_prob(states, None)
    likely = exact > -6
    assert (estimate - exact)[likely].abs().max() < 0.1


LIKELIHOODS = {
    "bernoulli": (BernoulliLikelihood(), 2, None),
    "categorical": (CategoricalLikelihood(4), 4, None),
    "logistic": (DiscretizedLogisticLikelihood(6), 6, None),
    "mixture of logistics": (DiscretizedLogisticLikelihood(6, components=3), 6, None),
    "gaussian": (GaussianLikelihood(), None, None),
    "decoded gaussian": (GaussianLikelihood("decoded"), None, None),
    "continuous bernoulli": (ContinuousBernoulliLikelihood(), None, None),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihoods(name):
    likelihood, levels, _ = LIKELIHOODS[name]
    params = torch.randn(likelihood.outputs, 2, dtype=torch.float64)
    check_samples(OfLikelihood(likelihood.double(), params), levels=levels)


def test_table_likelihoods_column_by_column():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "kind": rng.choice(["a", "b", "c"], 300, p=[0.6, 0.3, 0.1]),
            "count": rng.poisson(5, 300),
            "size": np.where(rng.random(300) < 0.2, np.nan, rng.normal(3, 2, 300)),
        }
    )
    law = TableLikelihood(Schema.infer(table), table).double()
    params = torch.randn(1, 1, law.decoded, dtype=torch.float64)
    rows = law.sample(params.expand(1, 20_000, -1), torch.Generator().manual_seed(0))
    terms = law.log_prob(rows, params.expand(1, len(rows), -1))
    # Of a column of states or numbers: the share of each is its probability.
    for j in range(len(law.schema.discrete)):
        probability: dict[float, float] = {}
        absent = law.schema.discrete[j].absent_if
        seen = rows if absent is None else rows[rows[:, absent] == 0]
        if law.schema.discrete[j].kind == "categorical":
            seen_terms = terms
        else:
            seen_terms = terms if absent is None else terms[rows[:, absent] == 0]
        for code, term in zip(seen[:, j].tolist(), seen_terms[:, j].tolist(), strict=True):
            probability[code] = math.exp(term)
        total = sum(probability.values())
        for code, p in probability.items():
            if p > 0.02:
                share = float((seen[:, j] == code).double().mean())
                assert share == pytest.approx(p / min(total, 1), abs=0.015)
    value, present = rows[:, law._n_codes], rows[:, law._n_codes + 1] > 0
    grid = torch.linspace(-40, 40, 4001, dtype=torch.float64)
    at = rows[present][:1].repeat(len(grid), 1)
    at[:, law._n_codes] = grid
    density = law.log_prob(at, params.expand(1, len(at), -1))[:, len(law.schema.discrete)].exp()
    cumulative = torch.cumulative_trapezoid(density, grid)
    for q in (-3.0, 0.0, 2.0):
        k = int((grid < q).sum()) - 2
        share = float((value[present] < q).double().mean())
        assert share == pytest.approx(float(cumulative[k]), abs=0.015)


def test_concrete_draws():
    class Concrete:
        """The log-ratios of concrete draws to the last class."""

        logits = torch.tensor([0.5, -1.0, 0.3], dtype=torch.float64)

        def sample(self, shape, context, generator):
            log_value = concrete(self.logits, 0.7, shape, generator=generator).logit
            return (log_value - log_value[..., -1:])[..., :-1]

        def log_prob(self, x, context):
            log_value = torch.cat([x, torch.zeros(*x.shape[:-1], 1)], -1).log_softmax(-1)
            return concrete_log_prob(log_value, self.logits, 0.7)

    check_samples(Concrete())


def test_belief_networks():
    net = moved(SigmoidBeliefNetwork(4, layers=(3, 2)), 0.7).float()
    check_samples(OfBeliefNetwork(net), levels=2)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_autoencoders(likelihood):
    decoder = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 2))
    encoder = nn.Linear(2, 4)
    q = posterior("normal", 1, context_features=4)
    vae = VAE(encoder, decoder, q, likelihood=likelihood).eval()
    perturb_(vae, 0.8)
    levels = 2 if likelihood == "bernoulli" else None
    check_samples(OfVAE(vae, (2,)), levels=levels)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_a_ladder_and_a_hierarchy(likelihood):
    levels = 2 if likelihood == "bernoulli" else None
    ladder = LadderVAE((2,), groups=(1, 1), hidden=(4, 4), likelihood=likelihood).eval()
    perturb_(ladder, 0.5)
    check_samples(OfVAE(ladder, (2,), points=41), levels=levels, draws=2000)
    chain = HierarchicalVAE((2,), sizes=(1, 1), hidden=(4,), likelihood=likelihood).eval()
    perturb_(chain, 0.5)
    check_samples(OfHierarchy(chain), levels=levels, draws=2000)


@pytest.mark.parametrize("name", ["normal", "full_normal", "planar", "radial", "sylvester", "iaf"])
def test_posteriors(name):
    q = moved(posterior(name, 2, context_features=2))
    check_samples(q, CONTEXT, draws=2000)


def test_draws_of_a_fitted_posterior():
    def log_density(z):
        return -0.5 * (z[:, 0] ** 2 + 4 * (z[:, 1] - z[:, 0]) ** 2)

    fitted = fit_posterior(log_density, maf(2, hidden=(16,)), steps=400, seed=0)

    class Of:
        """The posterior, and its corrected draws against the density itself."""

        def __init__(self, resample: bool) -> None:
            self.resample = resample

        def sample(self, shape, context, generator):
            return fitted.sample(math.prod(shape), resample=self.resample, generator=generator)

        def log_prob(self, x, context):
            if not self.resample:
                return fitted.log_prob(x)
            return log_density(x.flatten(0, -2)).reshape(x.shape[:-1]) - math.log(math.pi)

    check_samples(Of(resample=False))
    check_samples(Of(resample=True), draws=1000)


# --- tables


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


ALL = {
    "all": [True, True, True, True],
    "one hole": [True, False, True, True],
    "two": [False, True, True, False],
}


@pytest.mark.parametrize("present", ALL)
@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("circular", [(), (1,), (0, 3)])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 3, 1), (3, 2, 1, 0)])
def test_flow_members(order, circular, context, present):
    angles = [j in circular for j in range(4)]
    member = FlowMember(4, order, (16, 16), 3, context, True, angles, residual=True)
    y = np.random.default_rng(0).normal(size=(100, 4))
    member.start(y, 0)
    moved(member, 0.3)
    here = torch.tensor(ALL[present])
    periods = dict.fromkeys(circular, 2 * math.pi)
    given = CONTEXT if context else None
    check_samples(OfMember(member, here), given, draws=1500, periods=periods)


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_deep_members(order, context):
    member = DeepMember(3, order, 2, (16, 16), 3, context, residual=True)
    member.start(np.random.default_rng(0).normal(size=(100, 3)), 0)
    moved(member, 0.15)
    here = torch.ones(3, dtype=torch.bool)
    check_samples(OfMember(member, here), CONTEXT if context else None, draws=2000)


def member_rows(circular: list[bool], holes: bool) -> np.ndarray:
    generator = rng()
    y = generator.normal(size=(400, 3)) @ np.array([[1, 0.8, -0.3], [0, 0.6, 0.5], [0, 0, 0.4]])
    y[:200] += 2
    y = np.where(circular, (y + np.pi) % (2 * np.pi) - np.pi, y)
    if holes:
        y[generator.random(y.shape) < 0.2] = np.nan
    return y


@pytest.mark.parametrize("present", [[True, True, True], [True, False, True], [False, True, True]])
@pytest.mark.parametrize("circular", [[False] * 3, [False, True, False], [True, False, True]])
@pytest.mark.parametrize("kind", ["mixture", "broad", "kernel"])
def test_simple_members(kind, circular, present):
    angles, y, w = np.array(circular), member_rows(circular, holes=True), np.ones(400)
    member = {
        "mixture": lambda: MixtureMember.fit(y, w, 3, angles),
        "broad": lambda: StudentMember.fit(y, w, angles),
        "kernel": lambda: KernelMember.fit(y, w, angles),
    }[kind]()
    periods = {j: 2 * math.pi for j in range(3) if circular[j]}
    check_samples(OfMember(member, torch.tensor(present)), periods=periods, draws=3000)


def mixed_table(n: int):
    generator = np.random.default_rng(1)
    kind = generator.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    amount = np.exp(generator.normal(size=n)) * np.where(kind == "a", 1, 3)
    amount[generator.random(n) < 0.3] = 0.0
    size = generator.normal(size=n) + np.where(kind == "b", 2, 0)
    size[generator.random(n) < 0.2] = np.nan
    angle = (generator.normal(size=n) + np.where(kind == "c", np.pi, 0)) % (2 * np.pi)
    count = generator.poisson(np.where(kind == "a", 2, 7))
    return pd.DataFrame(
        {"size": size, "kind": kind, "angle": angle, "amount": amount, "count": count}
    )


@pytest.fixture(scope="module")
def mixed() -> FlowDensity:
    schema = {"angle": {"kind": "circular", "period": 2 * np.pi}}
    return FlowDensity(effort="fast", random_state=0, schema=schema).fit(mixed_table(800))


def test_discrete_blocks():
    generator = rng()
    a = generator.integers(0, 3, 600)
    b = np.where(generator.random(600) < 0.7, a % 2, generator.integers(0, 2, 600))
    c = generator.poisson(1 + 2 * b)
    columns = [
        Discrete("a", "categorical", 3),
        Discrete("b", "flag", 2),
        Discrete("c", "integer", lower=0),
    ]
    block = DiscreteBlock.fit(np.stack([a, b, c], 1), columns, effort="fast")
    states = torch.cartesian_prod(torch.arange(3), torch.arange(2), torch.arange(25)).double()
    check_samples(OfBlock(block), support=states)


def test_whole_tables(mixed):
    table = OfTable(mixed.model_)
    check_samples(table, groups=table.groups, periods=table.periods, draws=6000)


def test_tables_with_kernels():
    density = FlowDensity(effort="fast", random_state=0, store_rows=True).fit(mixed_table(400))
    table = OfTable(density.model_)
    check_samples(table, groups=table.groups, draws=3000)


def test_states_are_listed():
    assert all_states(2, 3).tolist() == [[a, b] for a in range(3) for b in range(3)]


def test_affine_base_of_one_feature():
    check_samples(moved(Flow(Elementwise(1, Affine()), StandardNormal(1))))
