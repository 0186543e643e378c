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
    "bounded": (
        Column("y", "bounded", lower=0.0, upper=3.0, step=0.5),
        RNG.integers(1, 6, 200) / 2,
    ),
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
    if column.kind == "bounded":
        values = values[(values > 0) & (values < 3)]
    log_prob = line.log_prob(repeated(len(values)), values)
    mass = np.exp(log_prob).sum() * (1 if column.kind == "integer" else step)
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
    error = draws.std() / len(draws) ** 0.5
    assert target.mean()[0] == pytest.approx(draws.mean(), abs=5 * error)
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
    assert (target.cdf(y - 1) < q).all()
    assert target.cdf(np.array([[-1.0]]))[0, 0] == 0


@pytest.mark.parametrize(
    "options", [{"step": 5}, {"step": 5, "soft_lower": 0}, {"lower": 0, "upper": 9}]
)
def test_masses_of_all_integers_sum_to_one(options):
    column = Column("y", "integer", **options)
    line = Line.fit(column, 5.0 * RNG.poisson(3, 200), np.ones(200))
    values = np.arange(-3_000.0, 3_000.0)
    mass = np.exp(line.log_prob(repeated(len(values)), values)).sum()
    assert mass == pytest.approx(1.0, abs=1e-9)


def discrete(kind):
    """Return a discrete target, its values, and their probabilities."""
    if kind == "levels":
        points, masses = np.array([0.0, 1.0, 5.0]), np.array([[0.1, 0.6, 0.3]])
        line = Line.fit(Column("y", "real"), RNG.normal(size=50), np.ones(50))
        return NumericTarget(line, MIXTURE, points, masses), points, masses[0]
    column, x = GRIDS[kind]
    line = Line.fit(column, x, np.ones(len(x)))
    target = NumericTarget(line, MIXTURE, np.zeros(0), np.zeros((1, 0)))
    values = np.arange(0.0, 1_000.0)
    return target, values, np.exp(line.log_prob(repeated(1_000), values)) / (1 - line.below)


@pytest.mark.parametrize("kind", ["levels", "count"])
def test_discrete_targets_against_sums(kind):
    target, values, masses = discrete(kind)
    for y in (0.0, 1.0, 5.0):
        expected = (masses * np.abs(values - y)).sum()
        expected -= 0.5 * (masses * masses[:, None] * np.abs(values - values[:, None])).sum()
        assert target.crps(np.array([y]))[0] == pytest.approx(expected, abs=2e-4)
        below = masses[values <= y].sum()
        assert target.cdf(np.array([[y]]))[0, 0] == pytest.approx(below, abs=1e-6)
        assert target.cdf(np.array([[y + 0.7]]))[0, 0] == pytest.approx(below, abs=1e-6)
    assert target.mean()[0] == pytest.approx((masses * values).sum(), rel=1e-3)
    assert target.mode()[0] == values[masses.argmax()]
    lower, upper = target.jump(np.array([1.0]))
    assert upper[0] - lower[0] == pytest.approx(masses[1], abs=1e-6)


def test_wide_components_of_an_angle_are_uniform():
    column, x, _ = COLUMNS["angle"]
    line = Line.fit(column, x, np.ones(len(x)))
    one = np.ones((1, 1))
    wide = NormalMixture(one, 0 * one, 100 * one)
    angles = np.linspace(0, 359, 50)
    log_prob = [line.log_prob(wide, np.array([angle]))[0] for angle in angles]
    assert np.allclose(log_prob, -np.log(360), atol=1e-9)


def test_cells_of_point_masses_are_theirs_alone():
    column = Column("y", "real", step=1.0, atoms=(0.0,))
    line = Line.fit(column, np.round(RNG.normal(0, 3, 200)), np.ones(200))
    values = np.arange(-500.0, 500.0)
    values = values[values != 0]
    mass = np.exp(line.log_prob(repeated(len(values)), values)).sum()
    assert mass == pytest.approx(1.0, abs=1e-9)
    target = NumericTarget(line, MIXTURE, np.zeros(1), np.array([[0.25]]))
    density = 0.75 * np.exp(line.log_prob(repeated(len(values)), values))
    for y in (-3.5, 2.5):
        below = density[values < y].sum() + 0.25 * (y > 0)
        assert target.cdf(np.array([[y]]))[0, 0] == pytest.approx(below, abs=1e-9)


def test_the_mean_direction_of_an_angle():
    column, x, _ = COLUMNS["angle"]
    line = Line.fit(column, x, np.ones(len(x)))
    target = NumericTarget(line, MIXTURE, np.array([90.0]), np.array([[0.2]]))
    drawn = np.deg2rad(line.x(repeated(200_000).sample(np.random.default_rng(4))))
    whole = 0.2 * np.exp(0.5j * np.pi) + 0.8 * np.exp(1j * drawn).mean()
    assert target.mean()[0] == pytest.approx(np.rad2deg(np.angle(whole)) % 360, abs=0.3)


@pytest.mark.parametrize("kind", ["real", "skewed", "positive"])
def test_map_is_straight_beyond_the_values_of_the_fit(kind):
    column, x, (low, _) = COLUMNS[kind]
    line = Line.fit(column, x, np.ones(len(x)))
    width = np.ptp(x)
    beyond = x.max() + width * np.array([0.0, 1e-6, 1.0, 2.0, 1e3])
    if low == -np.inf:
        beyond = np.concatenate([x.min() - width * np.array([1e3, 2.0, 1.0, 1e-6, 0.0]), beyond])
    t = line.t(beyond)
    assert np.allclose(line.x(t), beyond, rtol=1e-9)
    slopes = np.exp(line._log_slope(beyond))
    each = np.diff(t[-4:]) / np.diff(beyond[-4:])
    assert np.allclose(each, slopes[-1], rtol=1e-6)
    if low == -np.inf:
        assert np.allclose(np.diff(t[:4]) / np.diff(beyond[:4]), slopes[0], rtol=1e-6)
    else:  # towards a bound t has no end
        assert np.ptp(line.t(np.array([1e-300, 1e-30]))) > 1


@pytest.mark.parametrize("kind", ["skewed", "positive"])
def test_mean_is_that_of_draws_whatever_the_tails(kind):
    column, x, _ = COLUMNS[kind]
    line = Line.fit(column, x, np.ones(len(x)))
    n = 400_000
    tails = NormalMixture(np.array([[0.9, 0.1]]), np.array([[0.2, 0.0]]), np.array([[0.5, 30.0]]))
    none = np.zeros((1, 0))
    mean = NumericTarget(line, tails, np.zeros(0), none).mean()[0]
    many = NormalMixture(*(np.repeat(a, n, 0) for a in vars(tails).values()))
    drawn = line.x(many.sample(RNG))
    assert abs(mean - drawn.mean()) < 4 * drawn.std() / np.sqrt(n)
