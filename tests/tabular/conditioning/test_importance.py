"""The road by quadrature and weights: flows, against grids and against the exact road."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from table_models import curved, flow, of_reals, student, three_components

from flowkit.errors import ArgumentError
from flowkit.metrics import two_sample
from flowkit.tabular.conditioning.quadrature import log_integral

SIX = list("abcdef")
_slow = pytest.mark.slow
AXIS = np.linspace(-14, 14, 561)


@pytest.fixture(scope="module")
def six():
    """A flow of six columns, and a little Student t."""
    return of_reals(flow(6, seed=2), student(6), shares=[0.99, 0.01])


def assert_alike(x: np.ndarray, y: np.ndarray) -> None:
    """Two samples: columns, sums and differences of columns, and what trees see."""
    pairs = np.array(list(itertools.combinations(range(x.shape[1]), 2)))
    for a, b in zip(*(np.concatenate(
        [s, s[:, pairs[:, 0]] + s[:, pairs[:, 1]], s[:, pairs[:, 0]] - s[:, pairs[:, 1]]], axis=1
    ).T for s in (x, y)), strict=True):  # fmt: skip
        assert stats.ks_2samp(a, b).pvalue > 1e-4
    found = two_sample(x, y[: len(x)], seed=0)
    assert found.auc < found.null_high + 0.02


@pytest.fixture(scope="module")
def bent():
    """A flow of three columns, and a little Student t."""
    return of_reals(flow(3), student(3), shares=[0.99, 0.01])


def test_a_quadrature_is_accurate_for_narrow_and_far_peaks():
    mean, deviation = np.array([0.0, 7.3, -30.0, 0.01]), np.array([1.0, 1e-3, 0.5, 1e-5])

    def log_density(rows, points):
        z = (points - mean[rows]) / deviation[rows]
        return 5.0 - 0.5 * z * z - np.log(deviation[rows]) - 0.5 * np.log(2 * np.pi)

    ends = np.full(4, -np.inf), np.full(4, np.inf)
    assert log_integral(log_density, *ends) == pytest.approx(np.full(4, 5.0), abs=1e-6)
    half = log_integral(log_density, mean, np.full(4, np.inf))
    assert half == pytest.approx(np.full(4, 5.0 - np.log(2)), abs=1e-6)


def test_one_open_column_is_integrated_to_1e6(bent):
    rows = pd.DataFrame({"a": [0.3, -1.0], "c": [0.5, 2.0]})
    found = bent.marginal(["a", "c"]).estimate(rows)
    assert (found.standard_error == 0).all()
    fine = np.linspace(-40, 40, 80_001)
    for i in range(2):
        grid = pd.DataFrame({"a": rows["a"][i], "b": fine, "c": rows["c"][i]})
        density = np.exp(bent.score_samples(grid))
        # Beyond the grid is a little of the Student t.
        assert found.log_density[i] == pytest.approx(np.log(density.sum() * 1e-3), abs=3e-5)


def test_explain_integrates_each_column(bent):
    rows = pd.DataFrame({"a": [0.3], "b": [0.1], "c": [0.5]})
    found = bent.explain(rows)
    joint = bent.score_samples(rows)
    for j, name in enumerate("abc"):
        others = bent.marginal([n for n in "abc" if n != name])
        expected = joint - others.score_samples(rows.drop(columns=[name]))
        assert found[:, j] == pytest.approx(expected, abs=1e-6)


def test_a_flow_is_within_two_hundredths_of_a_nat(bent):
    rows = pd.DataFrame({"b": [0.2, -1.0, 1.5]})
    found = bent.marginal(["b"]).estimate(rows)
    plane = np.stack(np.meshgrid(AXIS[::2], AXIS[::2]), -1).reshape(-1, 2)
    cell = (AXIS[2] - AXIS[0]) ** 2
    for i, b in enumerate(rows["b"]):
        grid = pd.DataFrame({"a": plane[:, 0], "b": b, "c": plane[:, 1]})
        expected = np.log(np.exp(bent.score_samples(grid)).sum() * cell)
        conditional = bent.given({"b": b})
        assert conditional.standard_error < 0.01
        assert conditional.log_evidence == pytest.approx(expected, abs=0.02)
        assert abs(found.log_density[i] - expected) < 4 * found.standard_error[i] + 0.005


def test_draws_follow_the_density(bent):
    """Draws given a range are those of the whole density that fall into it."""
    every = bent.sample(300_000, random_state=0)
    kept = every[(every["a"] > 0.5) & (every["a"] < 1.0)]
    conditional = bent.given({"a": (0.5, 1.0)})
    drawn = conditional.sample(2_000, random_state=1)
    assert drawn["a"].between(0.5, 1.0).all()
    assert_alike(drawn.to_numpy(), kept.to_numpy())
    share = len(kept) / len(every)
    error = 4 * (conditional.standard_error + 1 / np.sqrt(len(kept)))
    assert conditional.log_evidence == pytest.approx(np.log(share), abs=error)


def test_both_roads_agree_where_both_exist():
    density = of_reals((three_components(4), curved(4)), student(4), shares=[0.95, 0.05])
    conditions = {"a": 1.0, "c": (0.0, 2.0)}
    exact = density.given(conditions, method="exact")
    estimated = density.given(conditions, method="importance")
    assert exact.standard_error == 0 < estimated.standard_error < 0.05
    gap = abs(exact.log_evidence - estimated.log_evidence)
    assert gap < 4 * estimated.standard_error
    samples = [c.sample(1_500, random_state=i).to_numpy() for i, c in enumerate((exact, estimated))]
    assert_alike(*samples)


PAIRS = list(itertools.combinations(SIX, 2))


@pytest.mark.parametrize(
    ("first", "second"), [p if p in PAIRS[:2] else pytest.param(*p, marks=_slow) for p in PAIRS]
)
def test_the_chain_rule_holds_for_pairs_within_the_stated_error(six, first, second):
    """p(a, b) by rows of a marginal, and p(a) p(b | a) by conditions."""
    row = six.sample(1, random_state=3)
    both = six.marginal([first, second]).estimate(row[[first, second]])
    one = six.marginal([first]).estimate(row[[first]])
    alone = six.given({first: row[first][0]})
    given = six.given({first: row[first][0], second: row[second][0]})
    errors = (both.standard_error[0], one.standard_error[0], given.standard_error)
    conditional = given.log_evidence - alone.log_evidence
    gap = abs(both.log_density[0] - one.log_density[0] - conditional)
    assert gap < 4 * np.linalg.norm([*errors, alone.standard_error]) + 1e-3


def test_exact_needs_a_closed_form(bent):
    with pytest.raises(ArgumentError, match=r"FlowMember; use 'auto' or 'importance'"):
        bent.given({"a": 1.0}, method="exact")
    with pytest.raises(ArgumentError, match="method: expected one of 'auto'"):
        bent.marginal(["a"], method="guess")


def test_the_same_seed_gives_the_same_draws(bent):
    conditional = bent.given({"a": 0.0})
    first, second = (conditional.sample(50, random_state=4) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    assert bent.given({"a": 0.0}).log_evidence == conditional.log_evidence
