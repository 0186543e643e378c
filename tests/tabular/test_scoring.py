"""Scores of all members at once against each member's own, in float64."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from flowkit.tabular.continuous.density import ContinuousDensity
from flowkit.tabular.continuous.fitted_member import FittedMember
from flowkit.tabular.continuous.members import (
    DeepMember,
    FlowMember,
    MixtureMember,
    StackedMembers,
    StudentMember,
)
from flowkit.tabular.continuous.preprocessing import Marginals, Standardiser
from flowkit.tabular.continuous.scoring import Scorer

N, D = 700, 3
RNG = np.random.default_rng(0)
VALUES = np.exp(RNG.normal(size=(N, D))) @ np.array([[1, 0.5, 0], [0, 1, 0.5], [0, 0, 1]])
CONTEXT = RNG.normal(size=(N, 2))
ANGLES = np.array([False, False, True])
NOWHERE = np.zeros(D, dtype=bool)
ONES = np.ones(N)


def with_holes(values):
    holed = values.copy()
    holed[RNG.random(values.shape) < 0.2] = np.nan
    return holed


def shaken(member, seed):
    """Return a member whose weights are all random, so that no output is constant."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in member.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return member.double()


def flow(seed, *, context=0, flags=False, circular=False, residual=True):
    order = np.random.default_rng(seed).permutation(D).tolist()
    angles = ANGLES.tolist() if circular else [False] * D
    return shaken(FlowMember(D, order, (16, 16), 4, context, flags, angles, residual), seed)


def deep(seed, *, context=0):
    order = np.random.default_rng(seed).permutation(D).tolist()
    return shaken(DeepMember(D, order, 2, (16, 16), 4, context, residual=True), seed)


def standardiser(values, circular=NOWHERE):
    return Standardiser(Marginals.fit(values, ONES[: len(values)], circular))


def check(members, values, context=None, maps=None):
    maps = maps or [standardiser(values)] * len(members)
    fitted = [
        FittedMember(m, s, str(i)) for i, (m, s) in enumerate(zip(members, maps, strict=True))
    ]
    scores = Scorer(fitted)(values, context)
    expected = np.stack([f.log_prob(values, context) for f in fitted], axis=1)
    np.testing.assert_allclose(scores, expected, atol=1e-4, rtol=1e-6)
    return scores


def test_flows_and_others_behind_several_maps():
    first, second = standardiser(VALUES), standardiser(VALUES[:350])
    mixture = MixtureMember.fit(first.standardised(VALUES, None), ONES, 3, NOWHERE)
    student = StudentMember.fit(VALUES, ONES, NOWHERE)
    members = [student, flow(0), mixture, deep(1), flow(2), deep(3)]
    check(members, VALUES, maps=[None, first, second, second, second, first])


def test_a_context():
    check([flow(0, context=2), deep(1, context=2), flow(2, context=2)], VALUES, CONTEXT)


def test_absent_entries_and_flags():
    values = with_holes(VALUES)
    values[7] = np.nan
    scores = check([flow(0, flags=True), flow(1), flow(2, flags=True, context=2)], values, CONTEXT)
    assert (scores[7] == 0).all()


def test_angles():
    values = np.concatenate([VALUES[:, :2], RNG.uniform(-np.pi, np.pi, (N, 1))], axis=1)
    map_ = standardiser(values, ANGLES)
    check([flow(0, circular=True), flow(1, circular=True)], values, maps=[map_] * 2)


def test_flows_without_residual_blocks():
    check([flow(0, residual=False), flow(1)], VALUES)


def test_far_rows_keep_the_digits_of_float64():
    values = VALUES.copy()
    values[::50] *= 1e6
    maps = [Standardiser(Marginals.fit(VALUES, ONES, NOWHERE, curved=False))] * 2
    members = [flow(0), deep(1)]
    scores = check(members, values, maps=maps)
    assert scores.min() < -1e4
    with torch.no_grad():
        y, log_derivative = maps[0](torch.from_numpy(values), None)
        exact = [member.log_prob(y) + log_derivative for member in members]
    np.testing.assert_allclose(scores, torch.stack(exact, 1), rtol=1e-9, atol=1e-4)


def scores_of(member, values):
    """Return the scores of a member behind a straight map, and its own in float64."""
    fitted = FittedMember(member, standardiser(VALUES), "m")
    return Scorer([fitted])(values, None)[:, 0], fitted.log_prob(values, None)


@pytest.mark.parametrize("offset", [-300.0, -85.0, 80.0, 300.0])
def test_logits_with_any_constant_have_the_same_score(offset):
    """Far constants are outside the range of exponentials in float32."""
    member = flow(0)
    expected = scores_of(member, VALUES)[0]
    with torch.no_grad():
        bias = member.layer.made.net.output.bias.view(D, 3, 4)
        bias[:, 2] -= 20  # narrow components: the density is large where it is not small
    narrow = scores_of(member, VALUES)
    with torch.no_grad():
        bias[:, 0] += offset
    shifted = scores_of(member, VALUES)
    np.testing.assert_allclose(shifted[0], narrow[1], rtol=2e-5, atol=1e-4)
    with torch.no_grad():
        bias[:, 2] += 20
    np.testing.assert_allclose(scores_of(member, VALUES)[0], expected, rtol=2e-5, atol=1e-3)


def test_a_column_outside_float32_is_computed_in_float64():
    """One column has a density below the range of float32, its row a score above -200."""
    map_ = Standardiser(Marginals.fit(VALUES, ONES, NOWHERE, curved=False))
    values = VALUES.copy()
    values[:, 0] += 20 * VALUES[:, 0].std() * np.linspace(0, 1, N)
    fitted = FittedMember(flow(0), map_, "m")
    expected = fitted.log_prob(values, None)
    between = (expected < -100) & (expected > -200)
    assert between.sum() > 20
    np.testing.assert_allclose(Scorer([fitted])(values, None)[:, 0], expected, atol=2e-4)


def test_networks_narrower_than_their_columns_have_direct_connections():
    members = [
        shaken(FlowMember(D, order, (1, 1), 4, 2, False, [False] * D, True), seed)
        for seed, order in enumerate([[0, 1, 2], [2, 0, 1]])
    ]
    assert members[0].layer.made.direct is not None
    check(members, VALUES, CONTEXT)
    narrow = [shaken(DeepMember(D, [1, 0, 2], 2, (1, 1), 4, 0, residual=True), 0)]
    check(narrow, VALUES)


def test_many_columns_and_components_are_computed_part_by_part():
    values = np.random.default_rng(1).normal(size=(600, 12))
    values[:, 1:] += values[:, :-1]
    maps = [Standardiser(Marginals.fit(values, np.ones(600), np.zeros(12, dtype=bool)))] * 2
    orders = [np.random.default_rng(seed).permutation(12).tolist() for seed in range(2)]
    members = [
        shaken(FlowMember(12, order, (32, 32), 10, 0, False, [False] * 12, True), seed)
        for seed, order in enumerate(orders)
    ]
    check(members, values, maps=maps)


def test_a_row_has_one_score_in_any_company():
    fitted = [FittedMember(m, standardiser(VALUES), "m") for m in (flow(0), deep(1), flow(2))]
    scorer = Scorer(fitted)
    together = scorer(VALUES, None)
    np.testing.assert_array_equal(scorer(VALUES[::-1].copy(), None)[::-1], together)
    np.testing.assert_array_equal(scorer(VALUES[5:6], None), together[5:6])
    np.testing.assert_array_equal(scorer(np.tile(VALUES, (3, 1)), None)[N : 2 * N], together)
    assert scorer(VALUES[:0], None).shape == (0, 3)


def test_a_mixture_weighs_the_members_scores():
    fitted = [FittedMember(m, standardiser(VALUES), "m") for m in (flow(0), deep(1))]
    density = ContinuousDensity(fitted, np.log([0.25, 0.75]).tolist())
    expected = np.log(np.exp([f.log_prob(VALUES, None) for f in fitted]).T @ [0.25, 0.75])
    np.testing.assert_allclose(density.log_prob(VALUES), expected, atol=1e-4)


@pytest.mark.parametrize("members", [[flow(0), flow(1)], [deep(0), deep(1)]])
def test_stacked_members_train_as_they_would_alone(members):
    """The same gradient, through all layers: compared after a step and `unstack`."""
    x = torch.randn(2, D, 9, dtype=torch.float64)
    present = torch.ones_like(x, dtype=torch.bool)
    stacked = StackedMembers(members)
    expected = torch.stack([m(x[i].T, present[i].T, None) for i, m in enumerate(members)])
    torch.testing.assert_close(stacked(x, present, None), expected)
    expected.sum().backward()
    stacked(x, present, None).sum().backward()
    with torch.no_grad():
        for parameter in stacked.parameters():
            parameter += 1e-3 * parameter.grad
        for member in members:
            for parameter in member.parameters():
                parameter += 1e-3 * parameter.grad
        after = torch.stack([m(x[i].T, present[i].T, None) for i, m in enumerate(members)])
        stacked.unstack()
        copied = torch.stack([m(x[i].T, present[i].T, None) for i, m in enumerate(members)])
    torch.testing.assert_close(stacked(x, present, None), copied)
    torch.testing.assert_close(copied, after)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_threads_change_no_score_and_no_setting(two_threads):
    fitted = [FittedMember(m, standardiser(VALUES), "m") for m in (flow(0), deep(1), flow(2))]
    mixture = MixtureMember.fit(standardiser(VALUES).standardised(VALUES, None), ONES, 3, NOWHERE)
    fitted.append(FittedMember(mixture, standardiser(VALUES), "mixture"))
    many = np.tile(VALUES, (12, 1))
    precision = torch.get_float32_matmul_precision()
    scores = Scorer(fitted)(many, None)
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as pool:  # a thread that is started later
        assert pool.submit(torch.get_num_threads).result() == 2
    assert torch.get_float32_matmul_precision() == precision
    torch.set_num_threads(1)
    alone = Scorer(fitted)(many, None)
    np.testing.assert_array_equal(scores[:, :3], alone[:, :3])
    np.testing.assert_allclose(scores[:, 3], alone[:, 3], rtol=1e-12)


@pytest.mark.parametrize("raw", [-3.0, 4.0])
def test_a_draw_has_the_scale_of_the_density(raw):
    """Far from zero, where the soft bound of the log-scale matters."""
    member = FlowMember(1, [0], (4,), 1, 0, False, [False], residual=True).double()
    member.start(np.zeros((5, 1)), 0)
    with torch.no_grad():
        member.layer.made.net.output.bias.copy_(torch.tensor([0.0, 0.0, raw]))
        generator = torch.Generator().manual_seed(0)
        y = member.sample(torch.ones(20_000, 1, dtype=torch.bool), None, generator)
        # Of a normal law, the mean log-density of its own draws is minus the entropy.
        log_peak = member.log_prob(torch.zeros(1, 1, dtype=torch.float64))
        assert member.log_prob(y).mean().item() == pytest.approx(log_peak.item() - 0.5, abs=0.03)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_scores_that_float32_cannot_hold_are_computed_in_float64(broken):
    fitted = [FittedMember(flow(0), standardiser(VALUES), "flow")]
    scorer, expected = Scorer(fitted), Scorer(fitted)(VALUES, None)

    def network(x, present, context):
        return torch.full((x.shape[0], x.shape[2]), broken)

    scorer._stacks[0]._network = network
    np.testing.assert_allclose(scorer(VALUES, None), expected, rtol=0, atol=1e-4)
