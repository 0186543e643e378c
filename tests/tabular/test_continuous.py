"""The density of continuous columns: normalised, marginalised, weighed, and near the truth."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from flowkit.errors import ArgumentError
from flowkit.flows import Flow
from flowkit.tabular.continuous import ContinuousDensity, fitting, training
from flowkit.tabular.continuous.fitting import fit_continuous
from flowkit.tabular.continuous.members import (
    FlowMember,
    KernelMember,
    MixtureMember,
    StudentMember,
)
from flowkit.tabular.continuous.plan import plan
from flowkit.tabular.continuous.preprocessing import Marginals, Residuals
from flowkit.tabular.continuous.rows import Rows
from flowkit.tabular.continuous.training import _noise_factor
from flowkit.tabular.settings import FitSettings
from flowkit.tabular.stacking import stack
from flowkit.training import Batch, History, stacked

RNG = np.random.default_rng(0)
CLUSTERS = np.concatenate([RNG.normal(-2, 0.5, (300, 2)), RNG.normal(2, 1.0, (300, 2))])
NOWHERE = np.zeros(2, dtype=bool)


def fit(values, *, store_rows=False, **options):
    settings = FitSettings(effort="fast", store_rows=store_rows)
    return fit_continuous(values, settings=settings, **options)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


# Smooth enough for sums over a coarse grid to be integrals.
SMOOTH = RNG.normal(size=(600, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]])


@pytest.fixture(scope="module")
def clusters() -> ContinuousDensity:
    return fit(CLUSTERS)


@pytest.fixture(scope="module")
def smooth() -> ContinuousDensity:
    return fit(SMOOTH)


@pytest.fixture(scope="module")
def holes() -> ContinuousDensity:
    values = SMOOTH.copy()
    values[RNG.random(600) < 0.3, 0] = np.nan
    values[RNG.random(600) < 0.2, 1] = np.nan
    return fit(values)


def grid_mass(density, low, high, points, columns=2, context=None):
    axis = np.linspace(low, high, points + 1)
    axis = (axis[:-1] + axis[1:]) / 2
    rows = np.stack(np.meshgrid(*[axis] * columns), axis=-1).reshape(-1, columns)
    given = None if context is None else np.tile(context, (len(rows), 1))
    return np.exp(density.log_prob(rows, given)).sum() * ((high - low) / points) ** columns


def test_mass_is_one(smooth):
    assert grid_mass(smooth, -15, 15, 500) == pytest.approx(1, abs=1e-3)


def test_mass_is_one_in_one_dimension_with_heavy_tails():
    density = fit(stats.t(2).rvs((400, 1), random_state=0))
    assert grid_mass(density, -3000, 3000, 200_000, columns=1) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("width", [0.1, 1.0])
def test_mass_is_one_on_a_grid_of_levels(width):
    """Values on a decimal grid, smeared: the steep map that irons them out has an exact slope."""
    rng = np.random.default_rng(1)
    levels = np.round(rng.normal(0, 20, (800, 1)) / 5) * 5
    density = fit(levels + rng.uniform(0, width, levels.shape))
    assert density.log_prob(levels + width / 2).mean() > density.log_prob(levels + 2.5).mean() + 1
    assert grid_mass(density, -200, 200, 200_000, columns=1) == pytest.approx(1, abs=1e-3)


def test_a_missing_entry_is_integrated_out(holes):
    """Of the mixture and the broad law: the mean over one entry of the density of both."""
    axis = np.linspace(-40, 40, 4001)
    marginal = np.exp(holes.log_prob(np.stack([np.full(9, np.nan), np.linspace(-4, 4, 9)], 1)))
    assert np.isfinite(marginal).all()
    rows = np.stack([np.full(4001, np.nan), axis], axis=1)
    assert np.exp(holes.log_prob(rows)).sum() * (axis[1] - axis[0]) == pytest.approx(1, abs=2e-3)
    assert grid_mass(holes, -15, 15, 500) == pytest.approx(1, abs=1e-3)
    assert holes.log_prob(np.full((1, 2), np.nan)) == pytest.approx(0, abs=1e-9)


def test_samples_follow_the_density(smooth):
    sample = smooth.sample(np.ones((20_000, 2), dtype=bool), None, generator())
    score = smooth.log_prob(sample)
    axis = np.linspace(-15, 15, 501)[:-1] + 0.03
    rows = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    log_prob = smooth.log_prob(rows)
    expected = (np.exp(log_prob) * log_prob).sum() * 0.06**2
    assert score.mean() == pytest.approx(expected, abs=5 * score.std() / 20_000**0.5)


def test_samples_have_the_asked_pattern(holes):
    present = RNG.random((500, 2)) < 0.5
    sample = holes.sample(present, None, generator())
    assert np.array_equal(~np.isnan(sample), present)


def test_scores_depend_on_neither_batch_nor_order(holes):
    values = SMOOTH[::7].copy()
    values[::5, 0] = np.nan
    whole = holes.log_prob(values)
    single = np.concatenate([holes.log_prob(row[None]) for row in values])
    assert np.allclose(single, whole, rtol=0, atol=1e-7)


def test_the_context_is_listened_to():
    rng = np.random.default_rng(0)
    context = rng.integers(0, 2, (2000, 1)).astype(float)
    values = rng.normal(6 * context - 3, 0.5)
    density = fit(values, context=context)
    truth = stats.norm(6 * context - 3, 0.5).logpdf(values).mean()
    assert density.log_prob(values, context).mean() == pytest.approx(truth, abs=0.1)
    for c in (0.0, 1.0):
        mass = grid_mass(density, -80, 80, 100_000, columns=1, context=[c])
        assert mass == pytest.approx(1, abs=1e-3)


def test_an_angle_has_no_ends():
    rng = np.random.default_rng(0)
    angle = rng.vonmises(3.0, 2.0, (3000, 1))
    density = fit(angle, circular=np.array([True]))
    ends = density.log_prob(np.array([[-math.pi], [math.pi - 1e-12]]))
    assert ends[0] == pytest.approx(ends[1], abs=1e-6)
    assert grid_mass(density, -math.pi, math.pi, 10_000, columns=1) == pytest.approx(1, abs=1e-6)
    gap = density.log_prob(angle) - stats.vonmises(2.0, loc=3.0).logpdf(angle[:, 0])
    assert abs(gap.mean()) < 0.03
    sample = density.sample(np.ones((1000, 1), dtype=bool), None, generator())
    assert (np.abs(sample) <= math.pi).all()


def test_one_gross_outlier_does_no_harm():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(500, 3))
    values[0] = 1e8
    test = rng.normal(size=(500, 3))
    assert fit(values).log_prob(test).mean() > -4.6  # the truth has -4.26
    assert np.isfinite(fit(rng.normal(size=(500, 3))).log_prob(np.full((1, 3), 1e12))).all()


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0.0, 1.0], [1.0, 1.0]]),
        np.zeros((3, 1)),
        np.repeat(RNG.normal(size=(200, 1)), 3, axis=1),
        np.column_stack([RNG.normal(size=150), np.full(150, np.nan)]),
        np.column_stack([RNG.normal(size=150), np.full(150, 7.0)]),
        1e-9 * RNG.normal(size=(150, 2)) + 5,
    ],
    ids=["two rows", "one value", "collinear", "empty column", "constant column", "tiny scale"],
)
def test_degenerate_tables(values):
    density = fit(values)
    assert np.isfinite(density.log_prob(values)).all()
    sample = density.sample(~np.isnan(values), None, generator())
    assert np.array_equal(np.isnan(sample), np.isnan(values))


def test_members_and_their_weights(clusters):
    members = clusters.members
    assert sum(m["weight"] for m in members) == pytest.approx(1)
    assert {m["kind"] for m in members} <= {"flow", "deep flow", "mixture", "broad"}
    assert any(m["kind"] == "flow" for m in members)
    assert isinstance(clusters.flow, Flow)
    assert len(clusters.curves) > 0
    alone = clusters.flows_only().log_prob(CLUSTERS).mean()
    assert alone == pytest.approx(clusters.log_prob(CLUSTERS).mean(), abs=0.3)


def test_flows_alone_need_flows():
    with pytest.raises(ArgumentError, match="flows"):
        fit(CLUSTERS[:50]).flows_only()


def test_rows_are_kept_only_if_allowed(clusters):
    assert not any(m["kind"] == "kernel" for m in clusters.members)
    rng = np.random.default_rng(0)
    t = rng.uniform(0, 20, 700)
    spiral = np.stack([t * np.cos(t), t * np.sin(t)], axis=1) + 0.1 * rng.normal(size=(700, 2))
    kept = fit(spiral, store_rows=True)
    assert any(m["kind"] == "kernel" for m in kept.members)
    assert kept.log_prob(spiral).mean() > -5.5


def test_weights_are_repetitions_on_small_tables():
    values = CLUSTERS[:30]
    weights = np.random.default_rng(0).integers(1, 3, 30).astype(float)
    weighted = fit(values, weights=weights).log_prob(CLUSTERS)
    repeated = fit(np.repeat(values, weights.astype(int), axis=0)).log_prob(CLUSTERS)
    assert np.allclose(weighted, repeated, rtol=0, atol=1e-8)


def test_weights_count_on_larger_tables():
    weights = np.repeat([10.0, 1e-3], 300)  # the first cluster alone, as good as
    density = fit(CLUSTERS, weights=weights)
    assert density.log_prob(CLUSTERS[:300]).mean() > density.log_prob(CLUSTERS[300:]).mean() + 2


def test_configuration_and_state_make_it_again(holes):
    config = json.loads(json.dumps(holes.config(), allow_nan=False))
    state = torch.random.get_rng_state()
    again = ContinuousDensity.from_config(config)
    assert torch.equal(state, torch.random.get_rng_state())
    again.load_state_dict(holes.state_dict())
    assert np.array_equal(again.log_prob(SMOOTH), holes.log_prob(SMOOTH))
    for broken in (
        {},
        {"members": [{"kind": "flow"}]},
        {"members": [{**config["members"][0], "kind": "os"}]},
    ):
        with pytest.raises(ArgumentError):
            ContinuousDensity.from_config(broken)


def test_stacking_finds_the_better_member():
    good, bad = np.full(100, -1.0), np.full(100, -3.0)
    share = stack(np.stack([good, bad], axis=1), np.ones(100))
    assert share[0] > 0.97
    half = np.where(np.arange(100) % 2 == 0, -1.0, -9.0)
    share = stack(np.stack([half, -10 - half], axis=1), np.ones(100))
    assert share == pytest.approx([0.5, 0.5], abs=0.01)


@pytest.mark.parametrize("kind", ["flow", "mixture", "broad", "kernel"])
def test_members_marginalise_and_sample(kind):
    """Of each kind of member alone: its mass without an entry, and samples that agree."""
    y = (SMOOTH - SMOOTH.mean(0)) / SMOOTH.std(0)
    w = np.ones(len(y))
    if kind == "flow":
        member = FlowMember(2, [1, 0], (16,), 4, 0, True, [False, False])
        member.start(y, 0)
        with torch.no_grad():
            for parameter in member.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    elif kind == "mixture":
        member = MixtureMember.fit(y, w, 3, NOWHERE)
    elif kind == "broad":
        member = StudentMember.fit(y, w, NOWHERE)
    else:
        member = KernelMember.fit(y, w, NOWHERE)
    member.double()
    axis = torch.linspace(-300, 300, 60_001, dtype=torch.float64)
    rows = torch.stack([axis, torch.full_like(axis, torch.nan)], dim=1)
    with torch.no_grad():
        assert float(member.log_prob(rows).exp().sum() * 0.01) == pytest.approx(1, abs=1e-3)
        present = torch.ones(20_000, 2, dtype=torch.bool)
        sample = member.sample(present, None, generator()).double()
        assert sample.isfinite().all()
        score = member.log_prob(sample)
        # E[1 / q] under q is the area where it lives, whatever q: here, a box's.
        inside = ((sample > -0.5) & (sample < 0.5)).all(1)
        area = torch.where(inside, (-score).exp(), 0.0)
    error = 5 * float(area.std()) / 20_000**0.5
    assert float(area.mean()) == pytest.approx(1, abs=error)
    assert error < 0.2  # or the test says nothing


def test_marginals_invert_and_have_the_right_slope():
    rng = np.random.default_rng(0)
    skewed = np.stack(
        [rng.lognormal(0, 1, 500), np.round(rng.normal(0, 9, 500)), rng.normal(size=500)], 1
    )
    skewed[:, 1] += rng.uniform(0, 0.2, 500)
    marginals = Marginals.fit(skewed, np.ones(500), np.zeros(3, dtype=bool))
    x = torch.from_numpy(skewed).requires_grad_()
    y, log_slope = marginals(x)
    assert torch.allclose(marginals.restore(y), x, rtol=1e-9, atol=1e-9)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(slope.log().sum(1), log_slope, rtol=0, atol=1e-9)


@pytest.mark.parametrize("order", [[], [2, 0, 3, 1]])
def test_residuals_invert_with_holes_and_have_the_right_slope(order):
    rng = np.random.default_rng(0)
    context = rng.normal(size=(400, 2))
    y = rng.normal(size=(400, 4)) @ rng.normal(size=(4, 4)) + context @ rng.normal(size=(2, 4))
    y[rng.random((400, 4)) < 0.2] = np.nan
    angles = np.array([False, False, False, True])
    residuals = Residuals.fit(y, context, np.ones(400), angles, order)
    x, given = torch.from_numpy(y), torch.from_numpy(context)
    z, log_slope = residuals(x, given)
    assert torch.allclose(residuals.inverse(z, given), x, rtol=0, atol=1e-9, equal_nan=True)
    assert torch.equal(z[:, 3].nan_to_num(), x[:, 3].nan_to_num())
    # The derivatives of the columns that are present make a triangular matrix.
    row = x[7].clone()
    here = ~row.isnan()
    matrix = torch.func.jacrev(lambda r: residuals(r[None], given[7:8])[0][0])(row)
    expected = matrix[here][:, here].det().abs().log()
    assert log_slope[7].item() == pytest.approx(expected.item(), abs=1e-9)


def test_residuals_find_the_line():
    rng = np.random.default_rng(1)
    context, first = rng.normal(size=(5_000, 1)), rng.normal(size=5_000)
    second = 1 + 2 * first - 3 * context[:, 0] + rng.normal(0, 0.5, 5_000)
    y, ones = np.stack([first, second], axis=1), np.ones(5_000)
    residuals = Residuals.fit(y, context, ones, NOWHERE, [0, 1])
    assert residuals.among[1, 0].item() == pytest.approx(2, abs=0.04)
    assert residuals.given[1, 0].item() == pytest.approx(-3, abs=0.04)
    assert residuals.bias[1].item() == pytest.approx(1, abs=0.04)
    assert residuals.scale[1].item() == pytest.approx(0.5, abs=0.02)
    # With hardly more rows than columns the scale is that of rows not seen.
    noise = rng.normal(size=(30, 21))
    scale = Residuals.fit(noise, None, ones[:30], np.zeros(21, dtype=bool), list(range(21))).scale
    assert scale[-1].item() == pytest.approx(1, abs=0.4)


def test_noise_is_of_the_shape_of_the_columns():
    rng = np.random.default_rng(2)
    y = rng.normal(size=(9_000, 3)) @ np.array([[1, 0.995, 0], [0, 0.1, 0], [0, 0, 1]])
    factor = _noise_factor(y, [False, False, True])
    covariance = (factor @ factor.mT).numpy()
    expected = np.corrcoef(y.T)
    expected[2], expected[:, 2] = 0, 0  # an angle is not moved
    assert covariance == pytest.approx(expected, abs=1e-3)


def test_training_noise_is_of_that_shape_and_size(monkeypatch):
    seen = []

    def end_at_once(model, *_, **__):
        seen.append(model.noise[0])
        return [History({}, [], 0, "steps")]

    monkeypatch.setattr(stacked, "fit_stacked", end_at_once)
    y = np.random.default_rng(3).normal(size=(200, 2)) @ np.array([[1, 0.9], [0, 0.1]])
    member = FlowMember(2, [0, 1], (8,), 2, 0, False, [False, False], residual=True)
    held_out = np.arange(200) < 20
    rows = Rows(y, None, np.ones(200))
    assert plan(200, 2).noise == 0.05
    settings = FitSettings()
    training.train([member], [rows], [held_out], plan=plan(200, 2), settings=settings, seeds=[0])
    covariance = (seen[0] @ seen[0].mT).numpy()
    assert covariance == pytest.approx(0.05**2 * np.corrcoef(y[20:].T), abs=1e-6)


def test_training_noise_leaves_absent_entries_alone():
    """The network must see in training what it sees in scoring: zero where a value is absent."""
    seen = []

    class Stacked(torch.nn.Module):
        def forward(self, y, present, context):
            seen.append((y, present))
            return y.sum(1)

    trainer = training._Trainer(Stacked(), torch.eye(2).expand(3, 2, 2), holes=True)
    flags = (torch.rand(3, 50, 2, generator=generator()) > 0.5).float()
    trainer._loss(Batch(torch.cat([torch.zeros(3, 50, 2), flags], -1)), generator())
    ((y, present),) = seen
    assert (y[~present] == 0).all()
    assert (y[present] != 0).all()
    assert torch.equal(present, flags.mT > 0.5)


def test_a_fit_that_is_stopped_in_its_course_has_every_kind_in_every_fold():
    for most in (1, 5, 40):
        calls = []

        def stop(calls=calls, most=most):
            calls.append(None)
            return len(calls) > most

        density = fit_continuous(CLUSTERS, settings=FitSettings(effort="fast", stop=stop))
        names = [member["name"] for member in density.members]
        assert len({names.count(name) for name in names}) == 1
        assert np.isfinite(density.log_prob(CLUSTERS)).all()


def test_threads_change_no_member():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = fit(CLUSTERS)
        torch.set_num_threads(2)
        shared = fit(CLUSTERS)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    for name, tensor in alone.state_dict().items():
        assert torch.equal(tensor, shared.state_dict()[name]), name


def test_an_error_in_one_task_ends_the_others(monkeypatch):
    def fails(*_, **__):
        raise ArgumentError("components", "a failure", "one")

    before = torch.get_num_threads()
    monkeypatch.setattr(MixtureMember, "fit", fails)
    try:
        torch.set_num_threads(2)
        with pytest.raises(ArgumentError, match="a failure"):
            fit(CLUSTERS)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_every_fold_is_held_out_by_members_of_its_own(monkeypatch):
    held_out = []

    def noted(member, rows, chosen, *, plan, **options):
        held_out.extend(chosen)
        return training.train(member, rows, chosen, plan=replace(plan, steps=1), **options)

    monkeypatch.setattr(fitting, "train", noted)
    density = fit(CLUSTERS)
    folds = np.unique(np.stack(held_out), axis=0)
    assert len(folds) == 3
    assert (folds.sum(axis=0) <= 1).all()  # no row in two of them
    assert folds.sum() == 0.3 * len(CLUSTERS)
    counts = [m["name"] for m in density.members]
    assert all(counts.count(name) == 3 for name in counts)


@pytest.mark.parametrize("n", [300, pytest.param(3_000, marks=pytest.mark.slow)])
def test_columns_that_tell_each_other_and_hang_on_a_category(n):
    """Neither the noise of training nor blindness to the context may cost much."""
    rng = np.random.default_rng(3)

    def draw(n):
        kind, x = rng.integers(0, 2, n), rng.normal(size=n)
        values = np.stack([x, x + rng.normal(0, 0.05, n), 5 * kind + rng.normal(size=n)], axis=1)
        return values, np.eye(2)[kind]

    entropy = 1.5 * (1 + math.log(2 * math.pi)) + math.log(0.05)
    values, context = draw(n)
    density = fit(values, context=context)
    assert density.log_prob(*draw(3_000)).mean() == pytest.approx(-entropy, abs=0.2)


@pytest.mark.slow
def test_known_answers_of_columns():
    """Within 0.03 nats per column of the truth, never above."""
    rng = np.random.default_rng(0)
    for law in (stats.norm(3, 2), stats.t(3), stats.lognorm(0.8), stats.gamma(2)):
        train, test = law.rvs((2, 20_000, 1), random_state=rng)
        gap = fit_continuous(train).log_prob(test) - law.logpdf(test[:, 0])
        assert -0.03 < gap.mean() < 3 * gap.std() / len(gap) ** 0.5


@pytest.mark.parametrize(
    ("n", "d", "options", "flows"),
    [
        (100, 1, {}, ("flow",)),
        (100, 1, {"context_features": 2}, ("flow", "flow of residuals")),
        (1_999, 3, {}, ("flow", "flow of residuals")),
        (2_000, 3, {}, ("flow", "deep flow")),
        (8_001, 3, {}, ("deep flow",)),
        (8_001, 1, {}, ("flow",)),
        (8_001, 3, {"holes": True}, ("flow",)),
        (2_000, 3, {"circular": True}, ("flow",)),
    ],
)
def test_plan_by_size(n, d, options, flows):
    assert plan(n, d, **options).flows == flows


def test_plan_by_effort_and_rows():
    fast, default = plan(1_000, 3, effort="fast"), plan(1_000, 3)
    assert (fast.folds, fast.steps, fast.hidden) == (3, 210, (64, 64))
    assert (default.folds, default.steps, default.noise) == (3, 420, 0.05)
    assert (default.layers, plan(30_000, 3).layers) == (2, 4)
    assert default.mixtures == (1, 2, 4, 8, 16, 32)
    assert default.straight_mixtures == (1, 4, 16)
    many = plan(100_000, 3)
    assert (many.folds, many.batch_size, many.noise) == (2, 512, 0.0)
    assert (many.mixtures, many.straight_mixtures) == ((8, 32), (8,))
    assert many.steps == int(420 * 22**0.8)
