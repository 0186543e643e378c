"""TARP: credibilities are those of closed forms, intervals hold, and faults are detected."""

import numpy as np
import pytest
from linear_gaussian import DEVIATION, draws, pairs
from scipy.integrate import quad
from scipy.stats import ncx2, norm

from flowkit.errors import DataError, ShapeError
from flowkit.metrics import sbc_ranks, tarp


def test_a_far_reference_orders_by_the_parameter():
    rng = np.random.default_rng(0)
    theta, x = pairs(rng, 50)
    drawn = draws(rng, x, 30, scale=0.7)
    for side, expected in ((-1, sbc_ranks(theta, drawn)), (1, 30 - sbc_ranks(theta, drawn))):
        found = tarp(theta, drawn, references=np.full((50, 1), side * 1e3))
        assert found.ranks.tolist() == expected[:, 0].tolist()


def test_credibility_is_that_of_a_ball_around_the_reference():
    rng = np.random.default_rng(1)
    theta, x = pairs(rng, 60, 3)
    theta[0], theta[1] = -4.0, 4.0  # ranges are 8 in each column: balls are round
    references, number = rng.normal(size=(60, 3)), 4_000
    found = tarp(theta, draws(rng, x, number), references=references)
    offset, radius = (((p - references) / DEVIATION) ** 2 for p in (x / 2, theta))
    expected = ncx2.cdf(radius.sum(1), 3, offset.sum(1))
    error = np.sqrt(expected * (1 - expected) / number) + 1e-3
    assert (abs(found.ranks / number - expected) < 4.5 * error).all()


def test_units_of_a_column_do_not_matter():
    rng = np.random.default_rng(2)
    theta, x = pairs(rng, 80, 2)
    drawn, references, unit = draws(rng, x, 50), rng.normal(size=(80, 2)), [1.0, 1024.0]
    found = tarp(theta, drawn, references=references)
    other = tarp(theta * unit, drawn * unit, references=references * unit)
    assert (found.ranks == other.ranks).all()
    assert (tarp(theta, drawn).ranks == tarp(theta * unit, drawn * unit).ranks).all()


@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0])
def test_curve_and_area_are_those_of_the_closed_form(scale):
    rng = np.random.default_rng(3)
    theta, x = pairs(rng, 4_000)
    drawn, references = draws(rng, x, 499, scale=scale), np.full((4_000, 1), -1e3)
    found = tarp(theta, drawn, references=references, level=0.999)

    def coverage(level):
        return norm.cdf(scale * norm.ppf(level))

    assert found.coverage == pytest.approx(coverage(found.curve.at), abs=4 * 0.5 / 4_000**0.5)
    area = quad(lambda level: coverage(level) - level, 0.5, 1)[0]
    assert found.area == pytest.approx(area, abs=4 * (5 / 192 / 4_000) ** 0.5)
    assert found.curve.within == (scale == 1)
    assert (found.p_value <= 0.001) == (scale != 1)
    assert (found.area_low < found.area < found.area_high) == (scale == 1)
    if scale != 1:
        assert np.sign(found.area) == np.sign(scale - 1)


@pytest.mark.parametrize(("scale", "shift"), [(0.7, 0), (1.4, 0), (1, 0.5)])
def test_faults_are_detected_with_the_default_references(scale, shift):
    rng = np.random.default_rng(4)
    theta, x = pairs(rng, 2_000, 2)
    assert tarp(theta, draws(rng, x, 99), level=0.999).curve.within
    wrong = draws(rng, x, 99, scale=scale, shift=shift)
    assert not tarp(theta, wrong, level=0.999).curve.within


def test_band_and_interval_hold_as_often_as_stated():
    rng, within, inside = np.random.default_rng(5), [], []
    for seed in range(300):
        theta, x = pairs(rng, 60, 2)
        found = tarp(theta, draws(rng, x, 5), level=0.8, points=10, seed=seed)
        within.append(found.curve.within)
        inside.append(found.area_low < found.area < found.area_high)
    # Four standard errors of a share of 0.8 among 300.
    assert np.mean(within) == pytest.approx(0.8, abs=0.093)
    assert np.mean(inside) == pytest.approx(0.8, abs=0.093)


def test_references_that_depend_on_x_reveal_prior_draws():
    rng = np.random.default_rng(6)
    theta, x = pairs(rng, 1_000)
    prior = rng.normal(size=(1_000, 99, 1))
    assert tarp(theta, prior, level=0.999).curve.within
    assert not tarp(theta, prior, references=x, level=0.999).curve.within
    assert tarp(theta, draws(rng, x, 99), references=x, level=0.999).curve.within


def test_a_constant_parameter_is_no_division_by_zero():
    rng = np.random.default_rng(7)
    theta, drawn = np.ones((40, 2)), np.ones((40, 9, 2))
    theta[:, 0], drawn[..., 0] = rng.normal(size=40), rng.normal(size=(40, 9))
    assert tarp(theta, drawn).curve.within


def test_references_are_checked():
    theta, drawn = np.zeros((4, 2)), np.zeros((4, 3, 2))
    with pytest.raises(ShapeError, match=r"references: expected shape \(4, 2\), as theta"):
        tarp(theta, drawn, references=np.zeros((4, 1)))
    with pytest.raises(DataError, match="references, row 1, column 0: expected a finite number"):
        tarp(theta, drawn, references=[[0, 0], [np.nan, 0], [0, 0], [0, 0]])
