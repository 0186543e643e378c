"""Local C2ST: statistics are those of the exact classifier, and p-values those of a test."""

import numpy as np
import pytest
from linear_gaussian import DEVIATION, draws, pairs
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from flowkit.errors import ArgumentError, ShapeError
from flowkit.metrics import local_c2st

QUADRATIC = make_pipeline(PolynomialFeatures(2), LogisticRegression(C=1e6))


def exact_statistic(shift: float) -> float:
    """Return E (d - 1/2)² over draws wrong by a shift, for the exact classifier d."""

    def integrand(z):
        return norm.pdf(z, shift) * (expit(norm.logpdf(z, shift) - norm.logpdf(z)) - 0.5) ** 2

    return quad(integrand, -9, 9 + shift)[0]


def locally_wrong(rng, x, number):
    """Return draws with a mean of x instead of x / 2: right at 0, and more wrong farther out."""
    return x[:, None] / 2 + draws(rng, x, number)


def test_statistics_are_those_of_the_exact_classifier():
    # The log-ratio of the two densities is quadratic in (theta, x), as is the classifier.
    rng = np.random.default_rng(0)
    theta, x = pairs(rng, 20_000)
    at = np.array([[0.0], [1.0], [2.0]])
    found = local_c2st(
        theta, lambda x: locally_wrong(rng, x, 4_000 if x is at else 1), x, at,
        classifier=QUADRATIC, trials=19,
    )  # fmt: skip
    expected = [exact_statistic(a / 2 / DEVIATION) for a in at[:, 0]]
    assert found.statistic == pytest.approx(expected, abs=0.004)
    assert (found.p_value <= 0.05).tolist() == [False, True, True]
    assert (found.statistic > found.high).tolist() == [False, True, True]


def test_p_values_are_uniform_for_an_exact_posterior():
    rng, p_values, above = np.random.default_rng(1), [], []
    for seed in range(60):
        theta, x = pairs(rng, 40, 6)
        at = rng.normal(size=(1, 6))
        drawn, at_drawn = draws(rng, x, 1), draws(rng, at, 100)
        found = local_c2st(
            theta[:, :1], drawn[..., :1], x, at, at_drawn[..., :1],
            classifier=LogisticRegression(), trials=9, level=0.8, seed=seed,
        )  # fmt: skip
        p_values.append(found.p_value[0])
        above.append(found.statistic[0] > found.high[0])
    assert min(p_values) >= 0.1  # 1 / (1 + trials)
    # Four standard errors of a share of 0.5 among 60.
    assert np.mean(np.array(p_values) < 0.55) == pytest.approx(0.5, abs=0.26)
    assert above == [p < 0.25 for p in p_values]  # p-values are multiples of 0.1


def test_the_default_network_detects_a_wrong_posterior():
    rng = np.random.default_rng(2)
    theta, x = pairs(rng, 400)
    at = np.array([[0.5]])
    found = local_c2st(theta, lambda x: draws(rng, x, 200, shift=1), x, at, trials=9, level=0.8)
    assert found.p_value[0] == 0.1
    assert found.null.shape == (9, 1)
    assert 0 < found.null.min() < found.high[0] < found.statistic[0] < 0.25


def test_observations_are_tested_one_by_one():
    rng = np.random.default_rng(3)
    theta, x = pairs(rng, 60, 2)
    drawn, at = draws(rng, x, 1), rng.normal(size=(3, 2))
    at_drawn = draws(rng, at, 50)
    options = {"classifier": LogisticRegression(), "trials": 5, "seed": 1}
    together = local_c2st(theta, drawn, x, at, at_drawn, **options)
    for i in range(3):
        alone = local_c2st(theta, drawn, x, at[i : i + 1], at_drawn[i : i + 1], **options)
        assert alone.statistic[0] == together.statistic[i]
        assert (alone.null[:, 0] == together.null[:, i]).all()
        assert alone.p_value[0] == together.p_value[i]
    assert not hasattr(options["classifier"], "coef_")  # a clone is fitted


THETA, DRAWS, X, AT = np.zeros((30, 1)), np.zeros((30, 2, 1)), np.zeros((30, 2)), np.zeros((1, 2))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((THETA, DRAWS, X, AT), {}, ArgumentError, r"at_draws: expected draws \(k, M, d\)"),
        ((THETA, DRAWS, X, AT, DRAWS[:2]), {}, ShapeError, r"at_draws: expected shape \(1, L, 1\)"),
        ((THETA, DRAWS, X, AT[0], DRAWS[:1]), {}, ShapeError, r"at: expected shape \(k, 2\), as x"),
        ((THETA, DRAWS, X, X[:, :1], DRAWS), {}, ShapeError, r"at: expected shape \(k, 2\), as x"),
        ((THETA, DRAWS, X[:9], AT, DRAWS[:1]), {}, ShapeError, "x: expected as many rows as theta"),
        (
            (THETA[:9], DRAWS[:9], X[:9], AT, DRAWS[:1]),
            {},
            ShapeError,
            "x: expected as many rows as theta, 9, at least 20",
        ),
        ((THETA, DRAWS, X, AT, DRAWS[:1]), {"trials": 0}, ArgumentError, "trials"),
        ((THETA, DRAWS, X, AT, DRAWS[:1]), {"level": 1.0}, ArgumentError, "level"),
        (
            (THETA, DRAWS, X, AT, DRAWS[:1]),
            {"classifier": LogisticRegression},
            ArgumentError,
            "classifier: expected None or a classifier",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments, options, error, message):
    with pytest.raises(error, match=message):
        local_c2st(*arguments, **options)
