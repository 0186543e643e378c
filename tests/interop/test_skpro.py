"""The regressor of skpro: its own checks, and agreement with the estimator."""

import numpy as np
import pandas as pd
import pytest

from flowkit import ConditionalFlowDensity
from flowkit.errors import ArgumentError

pytest.importorskip("skpro", reason="the extra [skpro] is needed")

from skpro.metrics import CRPS, LogLoss
from skpro.utils import check_estimator

from flowkit.interop.skpro import (
    ConditionalFlowDistribution,
    ConditionalFlowRegressor,
)

N = 300


def table(seed=0, n=N):
    rng = np.random.default_rng(seed)
    x = pd.DataFrame({"a": rng.normal(size=n), "g": rng.choice(["s", "t"], n)})
    x.index = pd.Index(np.arange(n) + 1_000, name="id")
    mean = np.where(x["g"] == "s", 1.0, -1.0) + x["a"]
    return x, mean + rng.normal(size=n) * np.where(x["g"] == "s", 0.3, 0.6), rng


def fitted(y, x):
    regressor = ConditionalFlowRegressor(ConditionalFlowDensity(effort="fast", random_state=0))
    return regressor.fit(x, y.to_frame("y"))


@pytest.fixture(scope="module")
def real():
    x, y, _ = table()
    return fitted(y, x), x[:40], y[:40].to_frame("y")


@pytest.fixture(scope="module")
def mixed():
    """A target of which a third is 0."""
    x, y, rng = table()
    y = np.exp(y).where(rng.random(N) > 0.33, 0.0)
    return fitted(y, x), x[:40], y[:40].to_frame("y")


@pytest.fixture(scope="module")
def whole():
    x, y, rng = table()
    y = pd.Series(rng.poisson(np.exp(1.5 + 0.5 * y)), x.index).astype(float)
    return fitted(y, x), x[:40], y[:40].to_frame("y")


@pytest.mark.parametrize("kind", [ConditionalFlowRegressor, ConditionalFlowDistribution])
@pytest.mark.filterwarnings("ignore:.*not have a numerically exact implementation of the 'pdfnorm'")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_checks_of_skpro(kind):
    results = check_estimator(kind, raise_exceptions=True, verbose=False)
    assert len(results) > 40


@pytest.mark.parametrize("case", ["real", "mixed", "whole"])
def test_it_agrees_with_the_estimator(case, request):
    regressor, x, y = request.getfixturevalue(case)
    model, predicted = regressor.estimator_, regressor.predict_proba(x)
    truth = y["y"].to_numpy()
    assert (predicted.index == x.index).all()
    np.testing.assert_array_equal(regressor.predict(x)["y"], model.predict(x))
    np.testing.assert_array_equal(predicted.cdf(y)["y"], model.cdf(x, truth))
    quantiles = regressor.predict_quantiles(x, [0.1, 0.5, 0.95])
    expected = model.predict_quantiles(x, (0.1, 0.5, 0.95))
    np.testing.assert_allclose(quantiles, expected, rtol=1e-9, atol=1e-9)
    interval = regressor.predict_interval(x, 0.9)
    np.testing.assert_allclose(interval, model.interval(x, 0.9), rtol=1e-9, atol=1e-9)
    mass, density = predicted.log_pmf(y)["y"], predicted.log_pdf(y)["y"]
    found = np.where(mass > -np.inf, mass, density)
    scores = model.score_samples(x, truth)
    if case == "mixed":  # less the probability of states that the fit has not seen
        found = found + (scores - found).mean()
        assert predicted.pmf(0 * y)["y"].between(0.05, 0.95).all()
    np.testing.assert_allclose(found, scores, atol=1e-9)
    crps = CRPS().evaluate_by_index(y, predicted).to_numpy().ravel()
    np.testing.assert_allclose(crps, model.crps(x, truth), atol=1e-9)


def test_measures(real, mixed, whole):
    found = [
        r.predict_proba(x[:2]).get_tag("distr:measuretype") for r, x, _ in (real, mixed, whole)
    ]
    assert found == ["continuous", "mixed", "discrete"]


def test_log_loss(real):
    regressor, x, y = real
    expected = -regressor.estimator_.score_samples(x, y["y"].to_numpy()).mean()
    assert LogLoss()(y, regressor.predict_proba(x)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("case", ["real", "mixed", "whole"])
def test_draws_follow_the_distribution(case, request):
    regressor, x, _ = request.getfixturevalue(case)
    predicted = regressor.predict_proba(x[:5])
    np.random.seed(0)  # noqa: NPY002  skpro has no other seed
    draws = predicted.sample(2_000)
    assert draws.index.names[-1] == "id"
    at = predicted.ppf(0.3)
    share = predicted.cdf(at)["y"]
    below = (draws["y"] <= at["y"].reindex(draws.index, level=-1)).groupby(level=-1).mean()
    assert (np.abs(below - share) < 4 * np.sqrt(share * (1 - share) / 2_000)).all()


def test_moments(real):
    """Those of draws on a grid of probabilities."""
    regressor, x, _ = real
    predicted = regressor.predict_proba(x[:5])
    levels = (np.arange(2_000) + 0.5) / 2_000
    grid = predicted.target.quantiles(np.tile(levels, (5, 1)))
    np.testing.assert_allclose(predicted.mean()["y"], grid.mean(1), atol=2e-3)
    np.testing.assert_allclose(predicted.var()["y"], grid.var(1), rtol=0.03)
    apart = np.abs(grid[:, :, None] - grid[:, None]).mean((1, 2))
    np.testing.assert_allclose(predicted.energy()["energy"], apart, rtol=2e-3)


def test_the_density_is_that_of_the_distribution_function(mixed):
    regressor, x, _ = mixed
    predicted = regressor.predict_proba(x[:6])
    at = predicted.ppf(0.8)
    step = 1e-5 * at
    slope = (predicted.cdf(at + step) - predicted.cdf(at - step)) / (2 * step)
    np.testing.assert_allclose(predicted.pdf(at), slope, rtol=1e-4)
    zero = predicted.pmf(0 * at)
    np.testing.assert_allclose(zero, predicted.cdf(0 * at) - predicted.cdf(0 * at - 1e-9))


def test_rows_are_chosen_by_label(real):
    regressor, x, y = real
    predicted = regressor.predict_proba(x)
    some = predicted.loc[[1_007, 1_003]]
    expected = predicted.log_pdf(y).loc[[1_007, 1_003]]
    pd.testing.assert_frame_equal(some.log_pdf(y.loc[[1_007, 1_003]]), expected)
    one = predicted.iat[7, 0]
    assert one.log_pdf(y.iloc[7, 0]) == pytest.approx(expected.iloc[0, 0], abs=1e-12)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (lambda x: pd.DataFrame({"u": x["a"], "v": x["a"]}), "y: expected one target"),
        (lambda x: x[["g"]], "y: expected numbers"),
    ],
)
def test_targets_that_are_no_single_number_are_refused(y, message):
    x, _, _ = table()
    with pytest.raises(ArgumentError, match=message):
        ConditionalFlowRegressor().fit(x[["a"]], y(x))


def test_an_estimator_with_a_target_is_refused():
    x, y, _ = table()
    with pytest.raises(ArgumentError, match="without target"):
        ConditionalFlowRegressor(ConditionalFlowDensity(target="a")).fit(x, y.to_frame("y"))
