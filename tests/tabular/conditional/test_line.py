"""Lines of numeric targets: the density of every kind of column has mass one, in its own units."""

import numpy as np
import pytest
from scipy import integrate

from flowkit.schema import Column
from flowkit.tabular.conditional.line import Line
from flowkit.tabular.conditional.normal_mixture import NormalMixture
from flowkit.tabular.conditional.target import NumericTarget

RNG = np.random.default_rng(0)
MIXTURE = NormalMixture(np.array([[0.3, 0.7]]), np.array([[-0.8, 0.5]]), np.array([[0.3, 0.6]]))
COLUMNS = {
    "real": (Column("y", "real"), RNG.normal(5, 2, 200), (-np.inf, np.inf)),
    "skewed": (Column("y", "real"), np.exp(RNG.normal(0, 1, 200)), (-np.inf, np.inf)),
    "positive": (Column("y", "positive"), np.exp(RNG.normal(0, 1, 200)), (0, np.inf)),
    "bounded": (Column("y", "bounded", lower=-1, upper=3), RNG.uniform(-0.9, 2.9, 200), (-1, 3)),
    "angle": (Column("y", "circular", period=360.0), RNG.normal(350, 30, 200) % 360, (0, 360)),
}
GRIDS = {
    "real": (Column("y", "real", step=0.5), np.round(RNG.normal(5, 2, 200) * 2) / 2),
    "positive": (Column("y", "positive", step=0.1), np.round(RNG.gamma(2, 1, 200), 1) + 0.1),
    "integer": (Column("y", "integer"), RNG.poisson(4, 200).astype(float)),
    "count": (Column("y", "integer", soft_lower=0), RNG.poisson(1, 200).astype(float)),
    "bounds": (Column("y", "integer", lower=0, upper=5), RNG.binomial(5, 0.7, 200).astype(float)),
}


def repeated(n):
    return NormalMixture(*(np.repeat(a, n, 0) for a in vars(MIXTURE).values()))


@pytest.mark.parametrize("kind", COLUMNS)
def test_density_integrates_to_one(kind):
    column, x, (low, high) = COLUMNS[kind]
    line = Line.fit(column, x, np.ones(len(x)))
    mass, _ = integrate.quad(
        lambda u: np.exp(line.log_prob(MIXTURE, np.array([u]))[0]),
        low,
        high,
        limit=500,
        points=None if np.isinf(high) else [np.median(x)],
    )
    assert mass == pytest.approx(1.0, abs=1e-4 if kind == "angle" else 1e-6)


@pytest.mark.parametrize("kind", GRIDS)
def test_masses_of_the_grid_sum_to_one(kind):
    column, x = GRIDS[kind]
    line = Line.fit(column, x, np.ones(len(x)))
    step = line.step
    values = np.arange(-2_000, 2_000) * step
    if column.kind == "positive":
        values = values[values > 0]
    log_prob = line.log_prob(repeated(len(values)), values)
    mass = np.exp(log_prob).sum() * (1 if column.kind == "integer" else step)
    # The cell of zero, half of it above the bound, belongs to no positive value.
    if column.kind == "positive":
        mass += np.exp(MIXTURE.log_mass(np.array([-np.inf]), line._edge(np.array([step / 2]))))[0]
    assert mass == pytest.approx(1.0, abs=1e-9)


def test_a_spike_gains_nothing_within_a_cell():
    column = Column("y", "real", step=1.0)
    line = Line.fit(column, np.arange(100.0), np.ones(100))
    one = np.ones((1, 1))
    spike = NormalMixture(one, line.t(np.array([50.0]))[:, None], 1e-9 * one)
    assert line.log_prob(spike, np.array([50.0]))[0] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("kind", ["real", "skewed", "positive", "bounded"])
def test_distribution_function_quantiles_and_crps_agree(kind):
    column, x, _ = COLUMNS[kind]
    line = Line.fit(column, x, np.ones(len(x)))
    target = NumericTarget(line, MIXTURE, np.zeros(0), np.zeros((1, 0)))
    q = np.array([[0.01, 0.2, 0.5, 0.9]])
    assert np.allclose(target.cdf(target.quantiles(q)), q, atol=1e-9)
    draws = line.x(repeated(200_000).sample(np.random.default_rng(2)))
    y = float(np.quantile(x, 0.3))
    others = np.random.default_rng(3).permutation(draws)
    expected = np.abs(draws - y).mean() - 0.5 * np.abs(draws - others).mean()
    assert target.crps(np.array([y]))[0] == pytest.approx(expected, rel=0.02)
    assert target.mean()[0] == pytest.approx(draws.mean(), rel=0.02)
    low, high = target.shortest(0.8)[0]
    assert ((draws >= low) & (draws <= high)).mean() == pytest.approx(0.8, abs=0.01)
    central = target.quantiles(np.array([[0.1, 0.9]]))[0]
    assert high - low <= central[1] - central[0] + 1e-6


def test_point_masses_are_jumps():
    column, x, _ = COLUMNS["real"]
    line = Line.fit(column, x, np.ones(len(x)))
    target = NumericTarget(line, MIXTURE, np.array([4.0]), np.array([[0.4]]))
    lower, upper = target.jump(np.array([4.0]))
    assert upper[0] - lower[0] == pytest.approx(0.4)
    assert target.cdf(np.array([[4.0]]))[0, 0] == pytest.approx(upper[0])
    middle = 0.5 * (lower + upper)[:, None]
    assert target.quantiles(middle)[0, 0] == pytest.approx(4.0, abs=1e-6)


def test_integer_quantiles_are_the_smallest_that_reach():
    column, x = GRIDS["count"]
    line = Line.fit(column, x, np.ones(len(x)))
    target = NumericTarget(line, MIXTURE, np.zeros(0), np.zeros((1, 0)))
    q = np.array([[0.05, 0.3, 0.77, 0.99]])
    y = target.quantiles(q)
    assert (y == np.round(y)).all()
    assert (target.cdf(y) >= q).all()
    assert (np.where(y > 0, target.cdf(y - 1), 0.0) < q).all()
