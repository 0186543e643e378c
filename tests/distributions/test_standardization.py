"""Standardisation in a flow: exact, of the training rows, kept in files, and out of the way."""

import copy
import dataclasses
import math

import pytest
import torch
from torch import nn
from zoo import named_flow, two_clusters

import flowkit
from flowkit.errors import ArgumentError, ContextError, DtypeError, ModelFileError, ShapeError
from flowkit.files import flow_config, flow_from_config, read_file, write_file
from flowkit.flows import (
    BoxUniform,
    ConditionalNormal,
    Flow,
    FullNormal,
    JointBase,
    MixtureOfFlows,
    NormalMixture,
    StandardNormal,
    TorchBase,
    maf,
    nice,
    nsf,
    real_nvp,
    standardize,
)
from flowkit.testing import check_flow
from flowkit.training import fit, fit_many
from flowkit.training.data import Data
from flowkit.training.options import Options
from flowkit.training.processes import Processes
from flowkit.training.rows import split
from flowkit.training.runtime import Runtime
from flowkit.training.standardising import Standardising
from flowkit.transforms import (
    Chain,
    Circular,
    Columns,
    Elementwise,
    Identity,
    Interval,
    Inverse,
    Log,
    LULinear,
    RationalQuadraticSpline,
    Reverse,
    Standardize,
)

SMALL = {"layers": 2, "hidden": (8,)}
SCALE, SHIFT = torch.tensor([100.0, 1e-3]), torch.tensor([500.0, 7e-3])
X = two_clusters(400, 2, torch.float32) * SCALE + SHIFT
C = 1e3 * torch.randn(400, 1, generator=torch.Generator().manual_seed(0))


def fitted(make=maf, **options):
    torch.manual_seed(0)
    flow = make(2, context_features=1, **SMALL)
    fit(flow, X, context=C, steps=30, learning_rate=1e-2, **options)
    return flow


# The map is exact, and of the training rows


@pytest.mark.parametrize("make", [maf, nsf, real_nvp, nice])
def test_the_density_is_that_of_the_standardised_rows_less_log_std(make):
    flow = fitted(make)
    mean, std = X.double().mean(0), X.double().std(0, correction=0)
    z = ((X.double() - mean) / std).float()
    c = ((C.double() - C.double().mean()) / C.double().std(correction=0)).float()
    inner = Flow(Chain(*list(flow.transform.transforms)[1:]), flow.base)
    expected = inner.log_prob(z, c) - std.log().sum().float()
    torch.testing.assert_close(flow.log_prob(X, C), expected, atol=2e-4, rtol=1e-5)


@pytest.mark.parametrize("make", [maf, nsf, real_nvp])
def test_a_standardised_flow_keeps_the_contract(make):
    """The log-determinant against autograd, samples against their density, and all the rest."""
    flow = make(2, **SMALL)
    fit(flow, X, steps=30, learning_rate=1e-2)
    check_flow(flow.double(), X[:50].double())
    flow = fitted(make).double()
    x, log_prob = flow.sample_and_log_prob((3,), C[:5].double())
    torch.testing.assert_close(flow.log_prob(x, C[:5].double()), log_prob)


def test_the_mass_is_one():
    torch.manual_seed(0)
    flow, x = maf(1, **SMALL), 40 + 7 * two_clusters(400, 2, torch.float32)[:, :1]
    fit(flow, x, steps=50, learning_rate=1e-2)
    grid = torch.linspace(-60, 140, 20_001)[:, None]
    assert flow.log_prob(grid).exp().sum().item() * 0.01 == pytest.approx(1, abs=1e-3)


def test_the_moments_are_those_of_the_training_rows_alone():
    held_out, train = split(3, 400, 100)[1], split(3, 400, 100)[0]
    x, c = X.clone(), C.clone()
    x[held_out] += 1e4  # far from what is trained on
    c[held_out] -= 1e5
    flow = maf(2, context_features=1, **SMALL)
    fit(flow, x, context=c, validation=0.25, seed=3, steps=3)
    of_data, of_context = flow.transform.standardize, flow.embedding.standardize
    torch.testing.assert_close(of_data.mean, x[train].double().mean(0).float())
    torch.testing.assert_close(of_data.std, x[train].double().std(0, correction=0).float())
    torch.testing.assert_close(of_context.mean, c[train].double().mean(0).float())
    flow = maf(2, context_features=1, **SMALL)
    fit(flow, X, context=C, validation=(X + 1e4, C - 1e5), steps=3)
    torch.testing.assert_close(flow.transform.standardize.mean, X.double().mean(0).float())
    torch.testing.assert_close(flow.embedding.standardize.mean, C.double().mean(0).float())


def test_weights_count_and_rows_without_any_do_not():
    x, counts = X.clone(), torch.randint(0, 4, (400,))
    x[counts == 0] = math.nan
    flow, other = maf(2, **SMALL), maf(2, **SMALL)
    standardize(flow, x, weights=counts.float())
    standardize(other, X.repeat_interleave(counts, 0))
    for name in ("mean", "std"):
        one, two = (getattr(f.transform.standardize, name) for f in (flow, other))
        torch.testing.assert_close(one, two, rtol=1e-6, atol=0)


def test_moments_hold_their_digits_and_constants_are_not_scaled():
    noise = torch.randn(200_000, 1, dtype=torch.float64)
    x = torch.cat([1e9 + noise, torch.full_like(noise, 0.1), 1e-30 * noise], 1)
    layer = Standardize.of(x)
    assert layer.mean[0].item() == pytest.approx(1e9 + noise.mean().item(), abs=1e-4)
    assert layer.std[0].item() == pytest.approx(noise.std(correction=0).item(), rel=1e-6)
    assert layer.std[1] == 1
    assert layer.std[2].item() == pytest.approx(1e-30 * noise.std(correction=0).item(), rel=1e-9)
    flow = maf(3, **SMALL)
    fit(flow, x.float(), steps=3)
    assert all(t.isfinite().all() for t in flow.state_dict().values())
    assert flow.log_prob(x.float()).isfinite().all()


def test_one_process_of_several_has_the_moments_of_all_rows():
    """Each holds all rows; what the first one decides counts for all."""

    class Second(Processes):
        def any(self, flag):
            assert not flag  # which only the first process may raise
            return True

    flow = maf(2, **SMALL)
    with torch.no_grad():  # this one would not have
        for p in flow.parameters():
            p.add_(1e3)
    processes = Second(torch.device("cpu"), rank=1, size=2)
    data, options = Data(X, None, None, None, seeds=(0,)), Options()
    runtime = dataclasses.replace(Runtime.of(flow, options, seed=0), processes=processes)
    Standardising([flow], data, options, runtime, None).apply()
    torch.testing.assert_close(flow.transform.standardize.mean, X.double().mean(0).float())


# It stays


def test_a_standardised_flow_comes_back_from_its_file(tmp_path):
    for make in (maf, nsf, real_nvp):
        flow, path = fitted(make), tmp_path / "flow"
        flowkit.save(flow, path)
        loaded = flowkit.load(path)
        assert torch.equal(loaded.log_prob(X, C), flow.log_prob(X, C))
        draws = [f.sample((3,), C, torch.Generator().manual_seed(0)) for f in (flow, loaded)]
        assert torch.equal(*draws)
        content = path.read_bytes()
        flowkit.save(loaded, path)
        assert path.read_bytes() == content


def test_nested_flows_come_back_too(tmp_path):
    inner = maf(2, **SMALL)
    outer = maf(2, base=inner, **SMALL)
    mixture = MixtureOfFlows([maf(2, **SMALL), nsf(2, **SMALL)])
    fit(inner, X, steps=3)  # after it was made a part
    fit(mixture, X, steps=3)
    assert all(hasattr(f.transform, "standardize") for f in (inner, *mixture.flows))
    for model in (outer, mixture):
        flowkit.save(model, tmp_path / "flow")
        assert torch.equal(flowkit.load(tmp_path / "flow").log_prob(X), model.log_prob(X))
    conditional = maf(2, base=fitted(), context_features=1, **SMALL)
    flowkit.save(conditional, tmp_path / "flow")
    loaded = flowkit.load(tmp_path / "flow")
    assert torch.equal(loaded.log_prob(X, C), conditional.log_prob(X, C))


def test_the_file_of_a_flow_that_is_not_standardised_is_as_it_was(tmp_path):
    flow = named_flow("maf", 2)
    flowkit.save(flow, tmp_path / "flow")
    tensors, document = read_file(tmp_path / "flow")
    assert set(document["flow"]) == {"name", "arguments", "dtype"}
    assert all(name.startswith(("transform.transforms.", "base.")) for name in tensors)
    assert isinstance(flow_from_config(document["flow"]).transform, Chain)


@pytest.mark.parametrize(
    ("standardized", "message"),
    [
        ({"data": 1, "context": False}, "two booleans"),
        ({"data": True}, "the key 'context'"),
        ({"data": True, "context": False, "x": True}, "no other keys"),
        ({"data": True, "context": True}, "no context for an unconditional flow"),
        ([], "a mapping"),
    ],
)
def test_a_bad_configuration_is_refused(standardized, message):
    config = {**flow_config(maf(2, **SMALL)), "standardized": standardized}
    with pytest.raises(ArgumentError, match=f"^config.standardized: expected .*{message}"):
        flow_from_config(config)
    normal = {**flow_config(ConditionalNormal(2, context_features=1)), "standardized": standardized}
    with pytest.raises(ArgumentError, match="^config.standardized"):
        flow_from_config(normal)


def test_a_file_without_its_standardiser_is_refused(tmp_path):
    flowkit.save(fitted(), tmp_path / "flow")
    tensors, document = read_file(tmp_path / "flow")
    del tensors["transform.transforms.0.mean"]
    write_file(tmp_path / "flow", tensors, document)
    with pytest.raises(ModelFileError, match="transform.transforms.0.mean"):
        flowkit.load(tmp_path / "flow")


def test_a_state_brings_its_standardisation_along():
    flow = fitted()
    fresh = maf(2, context_features=1, **SMALL)
    raw = copy.deepcopy(fresh.state_dict())
    density = fresh.log_prob(X / 100, C / 1e3)
    fresh.load_state_dict(flow.state_dict())
    assert torch.equal(fresh.log_prob(X, C), flow.log_prob(X, C))
    assert flow_config(fresh) == flow_config(flow)
    fresh.load_state_dict(raw)
    assert torch.equal(fresh.log_prob(X / 100, C / 1e3), density)
    assert list(fresh.state_dict()) == list(raw)
    # As a part of something else, and where only a part is loaded.
    pair = nn.ModuleList([fresh, maf(2, context_features=1, **SMALL)])
    pair.load_state_dict(nn.ModuleList([flow, flow]).state_dict())
    assert torch.equal(pair[1].log_prob(X, C), flow.log_prob(X, C))
    pair[1].load_state_dict({"base.x": torch.zeros(())}, strict=False)
    assert torch.equal(pair[1].log_prob(X, C), flow.log_prob(X, C))
    copied = copy.deepcopy(flow)
    assert torch.equal(copied.log_prob(X, C), flow.log_prob(X, C))


# A flow that knows its rows is left as it is


def test_a_refit_does_not_stack_a_second_map():
    flow = fitted()
    before = flow.log_prob(X, C)
    names, mean = list(flow.state_dict()), flow.transform.standardize.mean.clone()
    history = fit(flow, 3 * X, context=2 * C, steps=1, validation=(X, C), learning_rate=1e-12)
    assert history.starting_score == pytest.approx(-before.mean().item(), abs=1e-4)
    assert list(flow.state_dict()) == names
    assert torch.equal(flow.transform.standardize.mean, mean)


def test_a_flow_trained_on_raw_rows_starts_from_what_it_was():
    x = 3 + 2 * two_clusters(600, 2, torch.float32)
    torch.manual_seed(0)
    flow = maf(2, layers=2, hidden=(16,))
    fit(flow, x, steps=300, learning_rate=2e-2, standardize=False)
    names, before = list(flow.state_dict()), flow.log_prob(x).mean().item()
    history = fit(flow, x, steps=1, learning_rate=1e-12, validation=x)
    assert list(flow.state_dict()) == names
    assert -history.starting_score == pytest.approx(before, abs=1e-5)
    # The same for a base that was fitted before.
    mixture = Flow(Identity(2), NormalMixture.fit(x, components=2, seed=0))
    assert not standardize(mixture, x)


def test_a_map_of_ones_own_is_kept():
    own = Standardize([500.0, 7e-3], [100.0, 1e-3])
    flow = Flow(Chain(own, maf(2, **SMALL).transform), StandardNormal(2))
    assert not standardize(flow, X)
    flow = Flow(
        maf(2, context_features=1, **SMALL).transform,
        StandardNormal(2),
        embedding=Standardize.of(C),
    )
    standardize(flow, X, C)
    assert isinstance(flow.embedding, Standardize)


def test_a_fit_that_fails_before_its_first_step_leaves_no_map():
    flow = maf(2, **SMALL)
    names = list(flow.state_dict())
    for options in ({"stpes": 3}, {"patience": 2}, {"validation": torch.full((2, 2), math.nan)}):
        with pytest.raises(ArgumentError):
            fit(flow, X, **options)
        with pytest.raises(ArgumentError):
            fit_many([flow], X, **options)
        assert list(flow.state_dict()) == names
        assert "standardized" not in flow_config(flow)


@pytest.mark.parametrize("several", [False, True])
def test_a_killed_fit_goes_on_with_its_maps(several, tmp_path):
    options = {"context": C, "steps": 25, "learning_rate": 1e-2, "validation": 0.2}
    options |= {"average": 0.9, "batch_size": 64, "validate_every": 4, "checkpoint_every": 7}

    def run(**more):
        torch.manual_seed(0)
        flows = [maf(2, context_features=1, **SMALL) for _ in range(2 if several else 1)]
        if several:
            return flows, fit_many(flows, X, **options, **more)
        return flows, [fit(flows[0], X, **options, **more)]

    expected, histories = run()
    with pytest.raises(ZeroDivisionError):
        run(checkpoint=tmp_path / "run", callbacks=[lambda state: 1 / (state.step - 17)])
    flows, resumed = run(checkpoint=tmp_path / "run")
    assert resumed == histories
    for flow, other in zip(flows, expected, strict=True):
        state = flow.state_dict()
        assert "transform.transforms.0.mean" in state
        assert all(torch.equal(t, state[name]) for name, t in other.state_dict().items())


def test_a_checkpoint_of_a_fit_without_maps_goes_on_without(tmp_path):
    """As earlier versions wrote them."""
    options = {"steps": 12, "learning_rate": 1e-3, "checkpoint": tmp_path / "run"}
    options["checkpoint_every"] = 5
    x = 5 * X / SCALE
    with pytest.raises(ZeroDivisionError):
        torch.manual_seed(0)
        fit(
            maf(2, **SMALL), x, standardize=False, callbacks=[lambda s: 1 / (s.step - 8)], **options
        )
    torch.manual_seed(0)
    expected, flow = maf(2, **SMALL), maf(2, **SMALL)
    assert len(fit(flow, x, **options).loss) == 12
    torch.manual_seed(0)
    expected = maf(2, **SMALL)
    fit(expected, x, standardize=False, steps=12, learning_rate=1e-3)
    assert all(map(torch.equal, flow.parameters(), expected.parameters()))


@pytest.mark.parametrize("seeds", [None, 0])
def test_several_flows_have_the_maps_that_each_would_have_alone(seeds):
    x = X.clone()
    x[:, 1] = (X[:, 1] - 7e-3) * 1e3 / 1.02  # near enough to standard rows for some of the splits
    options = {"steps": 15, "validation": 0.3, "batch_size": 64, "learning_rate": 3e-3}
    alone, together = ([named_flow("maf", 2, 1) for _ in range(3)] for _ in range(2))
    for seed, flow in enumerate(alone):
        fit(flow, x, context=C, seed=seed if seeds is None else 0, **options)
    fit_many(together, x, context=C, seeds=seeds, **options)
    for one, other in zip(alone, together, strict=True):
        for (name, t), u in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
            torch.testing.assert_close(t, u, atol=3e-5, rtol=1e-4, msg=name)


def test_flows_of_one_fit_are_alike_where_only_some_need_a_map():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 2, generator=generator)
    x = (x - x.mean(0)) / x.std(0) + 0.1  # as far from 0 as is left alone, in about half the splits
    options = {"steps": 10, "validation": 0.3, "batch_size": 64, "learning_rate": 3e-3}
    alone, together = ([named_flow("maf", 2) for _ in range(4)] for _ in range(2))
    for seed, flow in enumerate(alone):
        fit(flow, x, seed=seed, **options)
    assert {hasattr(flow.transform, "standardize") for flow in alone} == {True, False}
    fit_many(together, x, **options)
    for one, other in zip(alone, together, strict=True):
        assert hasattr(other.transform, "standardize")
        torch.testing.assert_close(other.log_prob(x), one.log_prob(x), atol=3e-5, rtol=1e-4)


# Columns that keep their units


def box(low=-9.0, high=9.0):
    return BoxUniform([low] * 2, [high] * 2)


def mixed_base():
    return JointBase({0: StandardNormal(1), 1: BoxUniform(-99.0, 99.0)})


def torch_base(distribution, *names):
    return TorchBase(distribution, **{name: torch.ones(2) for name in names})


def layers(features=2):
    return maf(features, **SMALL).transform


def circular(tails, **options):
    return nsf(2, bound=math.pi, tails=tails, **SMALL, **options)


def columns(first, second):
    return Flow(Columns({1: first, 0: second}), StandardNormal(2))


TORCH = torch.distributions
ANGLES = RationalQuadraticSpline(tails="circular", bound=4.0)


@pytest.mark.parametrize(
    ("make", "kept"),
    [
        (lambda: circular(("circular", "linear")), [0]),
        (lambda: circular("circular", coupling=True), [0, 1]),
        (lambda: maf(2, base=box(), **SMALL), [0, 1]),
        (lambda: maf(2, base=maf(2, base=box(), **SMALL), **SMALL), [0, 1]),
        (lambda: maf(2, base=MixtureOfFlows([box(), StandardNormal(2)]), **SMALL), [0, 1]),
        (lambda: maf(2, base=mixed_base(), **SMALL), [1]),
        (lambda: Flow(Chain(layers(), Reverse(2)), mixed_base()), [0]),
        (lambda: Flow(Chain(layers(), Inverse(Reverse(2)), layers()), mixed_base()), [0]),
        (lambda: Flow(Chain(LULinear(2), layers()), mixed_base()), [0, 1]),
        (lambda: maf(2, base=torch_base(TORCH.Gamma, "concentration", "rate"), **SMALL), [0, 1]),
        (lambda: maf(2, base=torch_base(TORCH.Gumbel, "loc", "scale"), **SMALL), []),
        (lambda: columns(Elementwise(1, ANGLES), Inverse(layers(1))), [1]),
        (lambda: columns(LULinear(1), Chain(Interval(1, -9.0, 9.0), layers(1))), [0]),
    ],
)
def test_columns_on_circles_and_in_boxes_keep_their_units(make, kept):
    flow, x = make(), 1.0 + 0.3 * torch.randn(200, 2).clamp(-3, 3)
    standardize(flow, x, force=True)
    if kept == [0, 1]:
        assert not hasattr(flow.transform, "standardize")
        return
    layer = flow.transform.standardize
    same = (layer.mean == 0) & (layer.std == 1)
    assert same.nonzero().flatten().tolist() == kept


def test_a_circle_keeps_its_box_beside_a_neighbour_of_any_scale():
    torch.manual_seed(0)
    angle = (2 * torch.randn(500, 1)).remainder(2 * math.pi) - math.pi
    x = torch.cat([angle, 1e4 + 500 * torch.randn(500, 1)], 1)
    base = JointBase({0: BoxUniform(-math.pi, math.pi), 1: StandardNormal(1)})
    flow = nsf(2, bound=(math.pi, 5.0), tails=("circular", "linear"), base=base, **SMALL)
    fit(flow, x, steps=60, learning_rate=1e-2)
    assert flow.transform.standardize.std.tolist() == [1.0, pytest.approx(500, rel=0.1)]
    assert flow.sample((500,))[:, 0].abs().max() <= math.pi
    axes = torch.linspace(-3.14, 3.14, 101), torch.linspace(5e3, 1.5e4, 201)
    mass = flow.log_prob(torch.cartesian_prod(*axes)).double().exp().sum() * (6.28 / 100) * 50
    assert mass.item() == pytest.approx(1, abs=0.03)


def test_maps_of_supports_stay_in_front():
    """Rows in (0, 1), on circles and over orders of magnitude come in their own units."""
    torch.manual_seed(0)
    x = torch.cat([torch.rand(500, 1), (16 + torch.randn(500, 1)).exp()], 1)
    front = Columns({0: Interval(1, 0.0, 1.0), 1: Log(1)})
    flow = Flow(Chain(front, maf(2, **SMALL).transform), StandardNormal(2))
    fit(flow, x, steps=60, learning_rate=1e-2)
    assert flow.transform.transforms[0] is front
    assert flow.transform.standardize.mean[1].item() == pytest.approx(16, abs=0.2)
    assert -flow.log_prob(x).mean() < 16 + 1.42 + 0.3  # entropy of the log-normal, and a little
    draws = flow.sample((500,))
    assert ((draws[:, 0] > 0) & (draws[:, 0] < 1)).all()
    assert flow.log_prob(torch.tensor([[1.5, 1e7]])) == -math.inf
    turn = Flow(Chain(Circular(2, 360.0), nsf(2, bound=math.pi, tails="circular").transform),
                BoxUniform([-math.pi] * 2, [math.pi] * 2))  # fmt: skip
    assert not standardize(turn, 360 * torch.rand(100, 2))


def test_a_flow_of_fixed_maps_is_standardised_behind_them():
    flow, x = Flow(Identity(2), FullNormal(2)), X.double()
    fit(flow.double(), x, steps=2)
    assert flow.transform.transforms[1] is flow.transform.standardize


# Embeddings


def test_a_standardize_is_an_embedding():
    torch.manual_seed(0)
    transform = maf(2, context_features=1, **SMALL).transform
    flow = Flow(transform, StandardNormal(2), embedding=Standardize.of(C))
    plain = Flow(transform, StandardNormal(2))
    assert torch.equal(flow.log_prob(X, C), plain.log_prob(X, Standardize.of(C)(C)[0]))
    assert flow.sample((3,), C[:4]).shape == (3, 4, 2)
    with pytest.raises(ShapeError, match=r"^embedding: expected event shape \(1,\)"):
        Flow(transform, StandardNormal(2), embedding=Standardize([0.0, 0.0], [1.0, 1.0]))
    flow = Flow(transform, StandardNormal(2), embedding=nn.LSTM(1, 1))
    with pytest.raises(DtypeError, match="^embedding: expected a module that returns a tensor"):
        flow.log_prob(X, C)
    with pytest.raises(ContextError, match="^embedding"):
        Flow(maf(2, **SMALL).transform, StandardNormal(2), embedding=Standardize([0.0], [1.0]))


def test_the_map_stands_in_front_of_an_embedding_that_learns():
    torch.manual_seed(0)
    contexts = 1e3 + 300 * torch.randn(400, 5)

    def make(embedding):
        transform = maf(2, context_features=1, **SMALL).transform
        return Flow(transform, StandardNormal(2), embedding=embedding)

    net = nn.Linear(5, 1)
    flow = make(net)
    fit(flow, X, context=contexts, steps=2)
    assert flow.embedding.embedding is net
    torch.testing.assert_close(flow.embedding.standardize.mean, contexts.double().mean(0).float())
    frozen = make(nn.Linear(5, 1).requires_grad_(False))
    fit(frozen, X, context=contexts, steps=2)
    assert isinstance(frozen.embedding, nn.Linear)
    codes = make(nn.Sequential(nn.Embedding(7, 1), nn.Flatten(-2)))
    fit(codes, X, context=torch.randint(0, 7, (400, 1)), steps=2)
    assert isinstance(codes.embedding, nn.Sequential)
