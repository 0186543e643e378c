"""The road by algebra: conditionals and marginals of known mixtures, to 1e-9."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import logsumexp
from table_models import (
    continuous,
    covariance_of,
    curved,
    density_of,
    mixture,
    of_reals,
    student,
    three_components,
)

from flowkit.schema import Column, Schema

SIX = list("abcdef")


def rows_of(n: int, d: int, seed: int = 1) -> pd.DataFrame:
    return pd.DataFrame(
        np.random.default_rng(seed).normal(scale=2, size=(n, d)), columns=list("abcdefgh"[:d])
    )


def test_a_gaussian_conditional_is_the_schur_complement():
    covariance, mean = covariance_of(4), np.array([1.0, -2.0, 0.5, 3.0])
    density = of_reals(mixture(mean, covariance[None], [1.0]))
    conditional = density.given({"b": 0.7, "d": 2.0})
    assert conditional.is_exact
    assert conditional.columns == ("a", "c")
    seen, open_ = [1, 3], [0, 2]
    gain = covariance[np.ix_(open_, seen)] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
    offset = np.array([0.7, 2.0]) - mean[seen]
    law = stats.multivariate_normal(
        mean[open_] + gain @ offset,
        covariance[np.ix_(open_, open_)] - gain @ covariance[np.ix_(seen, open_)],
    )
    rows = rows_of(20, 4)[["a", "c"]]
    assert conditional.score_samples(rows) == pytest.approx(law.logpdf(rows), abs=1e-9)
    marginal = stats.multivariate_normal(mean[seen], covariance[np.ix_(seen, seen)])
    assert conditional.log_evidence == pytest.approx(marginal.logpdf([0.7, 2.0]), abs=1e-9)
    assert conditional.standard_error == 0
    assert conditional.effective_samples == np.inf
    drawn = conditional.sample(40_000, random_state=0).to_numpy()
    assert drawn.mean(0) == pytest.approx(law.mean, abs=5 * np.sqrt(law.cov.max() / 40_000))
    assert np.cov(drawn.T) == pytest.approx(law.cov, rel=0.05, abs=0.02)


def test_a_mixture_conditional_reweights_its_components():
    member = three_components(3)
    density = of_reals(member)
    conditional = density.given({"a": 1.0})
    means = member.means.numpy()
    covariances = (member.factors @ member.factors.mT).numpy()
    of_a = stats.norm(means[:, 0], covariances[:, 0, 0] ** 0.5).logpdf(1.0)
    log_weights = member.log_weights.numpy() + of_a
    assert conditional.log_evidence == pytest.approx(logsumexp(log_weights), abs=1e-9)
    rows = rows_of(20, 3)[["b", "c"]]
    scores = []
    for mean, c in zip(means, covariances, strict=True):
        gain = c[1:, 0] / c[0, 0]
        law = stats.multivariate_normal(
            mean[1:] + gain * (1.0 - mean[0]), c[1:, 1:] - np.outer(gain, c[0, 1:])
        )
        scores.append(law.logpdf(rows))
    expected = logsumexp(np.stack(scores).T + log_weights, axis=1) - logsumexp(log_weights)
    assert conditional.score_samples(rows) == pytest.approx(expected, abs=1e-9)


def test_a_marginal_of_students_is_their_product():
    density = of_reals(student(3, loc=1.0, scale=2.0))
    rows = rows_of(10, 3)[["c", "a"]]
    expected = stats.t(2, loc=1.0, scale=2.0).logpdf(rows).sum(1)
    assert density.marginal(["c", "a"]).score_samples(rows) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("pair", list(itertools.combinations(range(6), 2)))
def test_the_chain_rule_holds_for_every_pair(pair):
    density = of_reals((three_components(6), curved(6)), student(6), shares=[0.9, 0.1])
    first, second = (SIX[j] for j in pair)
    row = rows_of(1, 6)
    a, b = row[[first]], row[[second]]
    both = density.marginal([first, second]).score_samples(row[[first, second]])[0]
    alone = density.marginal([first]).score_samples(a)[0]
    given = density.given({first: a.iloc[0, 0]})
    rest = [name for name in SIX if name != first]
    # p(b | a) = p(a, b, others) / p(others | a, b) / p(a).
    last = density.given({first: a.iloc[0, 0], second: b.iloc[0, 0]})
    others = row[[name for name in rest if name != second]]
    conditional = given.score_samples(row[rest])[0] - last.score_samples(others)[0]
    assert both == pytest.approx(alone + conditional, abs=1e-6)
    assert both == pytest.approx(last.log_evidence, abs=1e-9)


@pytest.mark.parametrize("ends", [(1.0, 2.5), (None, -4.0), (3.0, None)])
def test_one_range_is_exact(ends):
    covariance = covariance_of(3)
    density = of_reals(mixture(np.zeros(3), covariance[None], [1.0]))
    low, high = (-np.inf if ends[0] is None else ends[0], np.inf if ends[1] is None else ends[1])
    law = stats.norm(scale=covariance[1, 1] ** 0.5)
    conditional = density.given({"b": ends})
    mass = law.cdf(high) - law.cdf(low)
    assert conditional.log_evidence == pytest.approx(np.log(mass), abs=1e-9)
    assert conditional.standard_error == 0
    drawn = conditional.sample(20_000, random_state=0)
    assert ((drawn["b"] >= low) & (drawn["b"] <= high)).all()
    truncated = stats.truncnorm(low / law.std(), high / law.std(), scale=law.std())
    assert stats.kstest(drawn["b"], truncated.cdf).pvalue > 1e-4
    slope = covariance[0, 1] / covariance[1, 1]
    left = drawn["a"] - slope * drawn["b"]
    expected = stats.norm(scale=(covariance[0, 0] - slope * covariance[0, 1]) ** 0.5)
    assert stats.kstest(left, expected.cdf).pvalue > 1e-4
    outside = pd.DataFrame({"a": [0.0], "b": [low - 1 if ends[0] else high + 1], "c": [0.0]})
    assert conditional.score_samples(outside)[0] == -np.inf


def test_several_ranges_have_weights_and_a_stated_error():
    covariance = covariance_of(3)
    density = of_reals(mixture(np.zeros(3), covariance[None], [1.0]))
    conditional = density.given({"a": (1.0, None), "b": (-1.0, 0.5), "c": (None, 2.0)})
    law = stats.multivariate_normal(np.zeros(3), covariance)
    mass = law.cdf([np.inf, 0.5, 2.0], lower_limit=[1.0, -1.0, -np.inf])
    assert 0 < conditional.standard_error < 0.02
    error = abs(conditional.log_evidence - np.log(mass))
    assert error < 4 * conditional.standard_error + 1e-4
    drawn = conditional.sample(4_000, random_state=0)
    assert (drawn["a"] >= 1).all()
    assert drawn["b"].between(-1, 0.5).all()
    assert (drawn["c"] <= 2).all()
    # Against rejection.
    every = law.rvs(400_000, random_state=0)
    kept = every[(every[:, 0] >= 1) & (abs(every[:, 1] + 0.25) <= 0.75) & (every[:, 2] <= 2)]
    for j, name in enumerate("abc"):
        assert stats.ks_2samp(drawn[name], kept[:, j]).pvalue > 1e-4, name


def test_a_rare_range_is_drawn_without_rejection():
    density = of_reals(three_components(5), student(5), shares=[0.99, 0.01])
    drawn = density.given({"c": (9.0, None)}).sample(10_000, random_state=0)
    assert len(drawn) == 10_000
    assert (drawn["c"] >= 9.0).all()
    assert len(drawn.drop_duplicates()) == 10_000


def test_quantiles_and_means_are_those_of_the_conditional():
    covariance = covariance_of(2)
    density = of_reals(mixture(np.zeros(2), covariance[None], [1.0]))
    conditional = density.given({"a": 1.5})
    slope = covariance[0, 1] / covariance[0, 0]
    law = stats.norm(1.5 * slope, (covariance[1, 1] - slope * covariance[0, 1]) ** 0.5)
    error = 5 * law.std() / np.sqrt(16_384)
    assert conditional.mean()["b"] == pytest.approx(law.mean(), abs=error)
    found = conditional.quantiles([0.1, 0.5, 0.9])["b"]
    assert found == pytest.approx(law.ppf([0.1, 0.5, 0.9]), abs=3 * error)
    assert conditional.quantiles(0.5)["b"].shape == ()


def test_scores_are_in_the_units_of_the_table():
    """A map of each column changes nothing but the density's own units."""
    density = of_reals((three_components(3), curved(3)))
    row = rows_of(1, 3)
    conditional = density.given({"b": row["b"][0]})
    total = conditional.score_samples(row[["a", "c"]]) + conditional.log_evidence
    assert total == pytest.approx(density.score_samples(row), abs=1e-9)


def test_circular_columns_are_conditioned():
    member = mixture([[0.5, 1.0], [-2.0, -1.0]], covariance_of(2)[None].repeat(2, 0), [0.6, 0.4],
                     circular=[True, False])  # fmt: skip
    member.concentrations.copy_(member.concentrations + 4.0)
    columns = (Column("angle", "circular", period=2 * np.pi), Column("x", "real"))
    density = density_of(Schema(columns, "pandas"), continuous(member))
    every = density.sample(200_000, random_state=0)
    for low, high in ((1.0, 2.0), (6.0, 1.0)):  # the second passes zero
        turn = (every["angle"] - low) % (2 * np.pi) <= (high - low) % (2 * np.pi)
        conditional = density.given({"angle": (low, high)})
        assert conditional.log_evidence == pytest.approx(np.log(turn.mean()), abs=0.03)
        drawn = conditional.sample(5_000, random_state=0)
        assert ((drawn["angle"] - low) % (2 * np.pi) <= (high - low) % (2 * np.pi) + 1e-9).all()
        assert stats.ks_2samp(drawn["x"], every["x"][turn]).pvalue > 1e-4
