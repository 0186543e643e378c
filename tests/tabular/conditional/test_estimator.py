"""ConditionalFlowDensity: conventions, known conditionals, draws against densities, bad input."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from flowkit import ConditionalFlowDensity
from flowkit.errors import ArgumentError, DataError, FlowkitError, ModelFileError


class WithoutScores(ConditionalFlowDensity):
    """The estimator less `score_samples`, which scikit-learn's checks would call without y."""

    @property
    def score_samples(self):
        raise AttributeError("left out for the checks")


CHECKS = list(estimator_checks_generator(WithoutScores(random_state=0), legacy=True))


@pytest.mark.parametrize(
    "check", [c for _, c in CHECKS], ids=[getattr(c, "func", c).__name__ for _, c in CHECKS]
)
def test_scikit_learn_check(check):
    check(WithoutScores(effort="fast", random_state=0))


def houses(n=240, seed=0):
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, n)
    region = rng.choice(["north", "south", "east"], n)
    income = np.where(rng.random(n) < 0.1, np.nan, np.exp(rng.normal(size=n)))
    price = age * 10 + 100 * (region == "north") + 30 * rng.normal(size=n)
    return pd.DataFrame(
        {
            "region": region,
            "age": age,
            "income": income,
            "price": price.round(0),
            "rooms": rng.poisson(age / 10),
            "old": np.where(rng.random(n) < 1 / (1 + np.exp((50 - age) / 5)), "yes", "no"),
            "sold": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(age * 24 + rng.integers(0, 99, n), "h"),
            "turn": (age / 10 + 0.3 * rng.normal(size=n)) % (2 * np.pi),
            "debt": np.where(rng.random(n) < 0.3, 0.0, age + rng.normal(size=n)),
        }
    )


FEATURES = ["region", "age", "income"]


@pytest.fixture(scope="module")
def price():
    return ConditionalFlowDensity(target="price", effort="fast", random_state=0).fit(
        houses()[[*FEATURES, "price"]]
    )


def test_arrays_and_shapes():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 2))
    y = x[:, 0] + 0.1 * rng.normal(size=50)
    model = ConditionalFlowDensity(random_state=0).fit(x, y)
    assert model.score_samples(x, y).shape == (50,)
    assert model.predict(x).shape == (50,)
    assert model.predict_quantiles(x, (0.1, 0.9)).shape == (50, 2)
    assert model.predict_quantiles(x, 0.5).shape == (50,)
    assert model.sample(x, 7, random_state=0).shape == (50, 7)
    assert model.interval(x).shape == (50, 2)
    assert model.score(x, y) > 0.9
    for method in (model.cdf, model.pit, model.crps):
        assert method(x, y).shape == (50,)


def test_pipelines_and_cross_validation():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(59, 2)), rng.normal(size=59)
    model = make_pipeline(StandardScaler(), ConditionalFlowDensity(random_state=0))
    assert cross_val_predict(model, x, y + x[:, 0] * 5, cv=3).shape == (59,)


def test_a_linear_gaussian_is_found_with_few_rows():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(58, 1))
    y = 3 * x[:, 0] + rng.normal(size=58)
    model = ConditionalFlowDensity(random_state=0).fit(x, y)
    new = rng.normal(size=(4_000, 1))
    truth = stats.norm(3 * new[:, 0], 1.0)
    drawn = truth.rvs(random_state=3)
    loss = (truth.logpdf(drawn) - model.score_samples(new, drawn)).mean()
    assert 0 <= loss < 0.1


def test_draws_follow_the_density(price):
    frame = houses(400, seed=5)
    drawn = price.sample(frame, 3, random_state=0)
    assert drawn.shape == (400, 3)
    rows = frame.assign(price=drawn[:, 1])
    assert stats.kstest(price.pit(rows), "uniform").pvalue > 1e-3
    # The mean log-density of draws is minus the entropy, which quadrature gives as well.
    y = np.arange(0.0, 1_200.0)
    some = frame.iloc[:20]
    grid = some.loc[some.index.repeat(len(y))].assign(price=np.tile(y, 20))
    log_prob = price.score_samples(grid).reshape(20, -1)
    assert np.allclose(np.exp(log_prob).sum(1), 1.0, atol=1e-3)
    entropy = -(np.exp(log_prob) * log_prob).sum(1)
    many = price.sample(some, 2_000, random_state=1)
    repeated = some.loc[some.index.repeat(2_000)].assign(price=many.ravel())
    estimate = -price.score_samples(repeated).reshape(20, -1)
    error = estimate.std(1) / np.sqrt(2_000)
    assert (np.abs(estimate.mean(1) - entropy) < 5 * error + 1e-3).all()


@pytest.mark.parametrize("kind", ["positive", "real"])
def test_predictions_of_a_skewed_target_are_the_means_of_draws(kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 1))
    y = np.exp(x[:, 0] + 1.5 * rng.normal(size=200)) * (1.0 if kind == "positive" else -1.0)
    model = ConditionalFlowDensity(effort="fast", random_state=0).fit(x, y)
    draws = model.sample(x, 1_000, random_state=0)
    # Over all rows, as a row's own draws seldom meet its far components.
    error = np.sqrt(draws.var(1).sum() / draws.shape[1])
    assert abs(model.predict(x).sum() - draws.mean(1).sum()) < 4 * error
    assert np.abs(model.predict(x)).max() < np.abs(y).max()


def test_quantiles_distribution_function_and_interval_agree(price):
    frame = houses(30, seed=6)
    q = price.predict_quantiles(frame, (0.05, 0.5, 0.95))
    assert (np.diff(q, axis=1) > 0).all()
    for k, level in enumerate((0.05, 0.5, 0.95)):
        assert np.allclose(price.cdf(frame.assign(price=q[:, k])), level, atol=0.02)
    assert np.allclose(price.interval(frame, 0.9), q[:, [0, 2]], rtol=1e-9)
    assert np.allclose(price.predict(frame, average="median"), q[:, 1], rtol=1e-9)
    shortest = price.interval(frame, 0.9, kind="shortest")
    assert (np.diff(shortest, axis=1) <= np.diff(q[:, [0, 2]], axis=1) * (1 + 1e-3)).all()


def test_cell_masses_are_those_of_the_grid(price):
    frame = houses(30, seed=6)
    assert price.measure_ == {"price": "density, constant over steps of 1"}
    assert np.allclose(price.log_mass(frame, width=1.0), price.score_samples(frame), atol=1e-9)


def test_scores_do_not_depend_on_batch_or_order(price):
    frame = houses(60, seed=7)
    whole = price.score_samples(frame)
    order = np.random.default_rng(0).permutation(60)
    assert np.allclose(price.score_samples(frame.iloc[order]), whole[order], rtol=0, atol=1e-9)
    assert np.allclose(price.score_samples(frame.iloc[:7]), whole[:7], rtol=0, atol=1e-9)


def test_same_seed_same_model(price):
    again = ConditionalFlowDensity(target="price", effort="fast", random_state=0).fit(
        houses()[[*FEATURES, "price"]]
    )
    frame = houses(40, seed=8)
    assert np.array_equal(again.score_samples(frame), price.score_samples(frame))


def test_save_and_load(price, tmp_path):
    path = tmp_path / "price.safetensors"
    price.save(path)
    loaded = ConditionalFlowDensity.load(path)
    frame = houses(40, seed=8)
    assert np.array_equal(loaded.score_samples(frame), price.score_samples(frame))
    assert loaded.get_params() == price.get_params()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="altered"):
        ConditionalFlowDensity.load(path)


@pytest.mark.parametrize(
    ("target", "options", "measure"),
    [
        ("rooms", {}, "probability"),
        ("old", {}, "probability"),
        ("sold", {}, "density, constant over steps of 3600"),
        ("turn", {"turn": {"kind": "circular", "period": 2 * np.pi}}, "density"),
        ("debt", {}, "density; probability of point masses and missing values"),
    ],
)
def test_every_kind_of_target(target, options, measure):
    frame = houses(130)[[*FEATURES, target]]
    model = ConditionalFlowDensity(
        target=target, effort="fast", schema=options, random_state=0
    ).fit(frame)
    assert model.measure_ == {target: measure}
    assert np.isfinite(model.score_samples(frame)).all()
    drawn = model.sample(frame, 4, random_state=0)
    assert drawn.shape == (130, 4)
    rows = frame.assign(**{target: drawn[:, 0]})
    assert np.isfinite(model.score_samples(rows)).all()
    assert model.predict(frame).shape == (130,)
    assert model.score(frame) > 0.2 if target not in ("turn", "debt") else True


def test_several_targets_are_a_product():
    frame = houses(130)[[*FEATURES, "price", "old"]]
    model = ConditionalFlowDensity(target=["old", "price"], effort="fast", random_state=0)
    model.fit(frame)
    drawn = model.sample(frame.iloc[:5], 3, random_state=0)
    assert list(drawn.columns) == ["old", "price"]
    assert len(drawn) == 15
    # Summed over the category and the grid of prices, the mass is one.
    y = np.arange(-200.0, 1_500.0)
    row = frame.iloc[[0]]
    grid = row.loc[row.index.repeat(2 * len(y))].assign(
        price=np.tile(y, 2), old=np.repeat(["yes", "no"], len(y))
    )
    assert np.exp(model.score_samples(grid)).sum() == pytest.approx(1.0, abs=0.01)


def test_a_missing_target_has_a_probability():
    frame = houses(130)[[*FEATURES, "price"]]
    frame.loc[::4, "price"] = np.nan
    model = ConditionalFlowDensity(target="price", effort="fast", random_state=0).fit(frame)
    hidden = frame.assign(price=np.nan)
    probability = np.exp(model.score_samples(hidden))
    assert probability.mean() == pytest.approx(0.25, abs=0.08)
    with pytest.raises(DataError, match="row 0"):
        model.crps(hidden)


def test_weights_of_zero_leave_rows_out():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(59, 2)), rng.normal(size=59)
    weights = (np.arange(59) < 40).astype(float)
    one = ConditionalFlowDensity(random_state=0).fit(x, y, sample_weight=weights)
    other = ConditionalFlowDensity(random_state=0).fit(x[:40], y[:40])
    assert np.allclose(one.score_samples(x, y), other.score_samples(x, y), atol=0.2)


FRAME = houses(60)[[*FEATURES, "price"]]
BAD_FITS = {
    "unknown target": (lambda: fitted("cost"), "target: expected the name of a column"),
    "all targets": (lambda: fitted(list(FRAME.columns)), "at least one column left"),
    "twice": (lambda: fitted(["price", "price"]), "columns that differ"),
    "constant": (
        lambda: fitted("price", FRAME.assign(price=3.0)),
        "target 'price': expected values that differ, got 3 in every row",
    ),
    "all missing": (
        lambda: fitted("price", FRAME.assign(price=np.nan)),
        "target 'price': has no values; choose another target",
    ),
    "y as well": (
        lambda: ConditionalFlowDensity(target="price").fit(FRAME, FRAME["price"]),
        "pass one",
    ),
    "also a feature": (
        lambda: ConditionalFlowDensity().fit(FRAME, FRAME[["price"]]),
        "the target 'price' is also a feature",
    ),
    "rows": (
        lambda: ConditionalFlowDensity().fit(np.zeros((5, 1)), np.zeros(4)),
        "one row for each of the 5 rows",
    ),
    "option": (lambda: ConditionalFlowDensity(effort="huge").fit(FRAME, [0]), "effort"),
}


def fitted(target, frame=FRAME):
    return ConditionalFlowDensity(target=target, random_state=0).fit(frame)


@pytest.mark.parametrize("name", BAD_FITS)
def test_bad_fits_are_errors_that_say_so(name):
    attempt, message = BAD_FITS[name]
    with pytest.raises(FlowkitError, match=message):
        attempt()


def test_bad_questions_are_errors_that_say_so(price):
    for q in (0.0, 1.0, -0.1, (0.5, 1.2), np.nan, ()):
        with pytest.raises(ArgumentError, match="q: expected probabilities above 0 and below 1"):
            price.predict_quantiles(FRAME, q)
    with pytest.raises(ArgumentError, match="level"):
        price.interval(FRAME, 1.0)
    with pytest.raises(DataError, match="column 'age'"):
        price.predict(FRAME.drop(columns="age"))
    with pytest.raises(ArgumentError, match="categorical"):
        price.probabilities(FRAME)
    unseen = FRAME.assign(region="west")
    assert np.isfinite(price.score_samples(unseen)).all()
    missing = FRAME.assign(income=np.nan)
    assert np.isfinite(price.predict(missing)).all()


def test_the_name_of_y_does_not_matter_later():
    rng = np.random.default_rng(5)
    x, y = pd.DataFrame({"y": rng.normal(size=50)}), rng.normal(size=50)
    model = ConditionalFlowDensity(random_state=0).fit(x, pd.Series(y, name="price"))
    scores = model.score_samples(x, y)
    assert np.array_equal(model.score_samples(x, pd.Series(y, name="other")), scores)
    unnamed = ConditionalFlowDensity(random_state=0).fit(x, y)
    assert np.array_equal(unnamed.score_samples(x, y), scores)


def test_values_off_the_levels_and_beyond_the_bounds():
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(50, 1)), rng.choice([0.5, 1.25, 7.5], 50)
    model = ConditionalFlowDensity(random_state=0).fit(x, y)
    off = np.full(50, 4.0)
    assert np.isfinite(model.score_samples(x, off)).all()
    assert np.allclose(model.cdf(x, off), model.cdf(x, np.full(50, 1.25)))
    assert (model.crps(x, off) > 0).all()
    positive = ConditionalFlowDensity(random_state=0, schema={"y": "positive"})
    positive.fit(x, np.exp(rng.normal(size=50)))
    assert (positive.cdf(x, np.full(50, -1.0)) == 0).all()


def test_features_of_any_size_and_features_without_values():
    rng = np.random.default_rng(7)
    x = np.column_stack([1e40 * rng.normal(size=70), np.full(70, 3.0)])
    y = x[:, 0] / 1e40 + 0.1 * rng.normal(size=70)
    model = ConditionalFlowDensity(effort="fast", random_state=0).fit(x, y)
    assert model.score(x, y) > 0.8
    names = pd.DataFrame({"name": [f"row {i}" for i in range(70)], "price": y})
    with pytest.raises(DataError, match="features: expected at least one column"):
        ConditionalFlowDensity(target="price", random_state=0).fit(names)


def test_rounded_draws_are_where_the_density_is():
    frame = houses(130)[[*FEATURES, "debt"]].round({"debt": 0})
    model = ConditionalFlowDensity(target="debt", effort="fast", random_state=0).fit(frame)
    drawn = model.sample(frame, 200, random_state=0)
    y = np.arange(0.0, 120.0)
    row = frame.iloc[[3]]
    grid = row.loc[row.index.repeat(len(y))].assign(debt=y)
    share = np.exp(model.score_samples(grid))
    assert share.sum() == pytest.approx(1.0, abs=0.02)
    assert (drawn[3] == 0).mean() == pytest.approx(share[0], abs=0.12)


def test_weights_of_small_sum_are_pointed_out():
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(70, 1)), rng.normal(size=70)
    with pytest.warns(UserWarning, match="add up to 1 rows"):
        ConditionalFlowDensity(random_state=0).fit(x, y, sample_weight=np.full(70, 1 / 70))


def test_expectations_of_few_rows_are_those_of_the_target():
    """However far the background reaches on a line of logarithms."""
    rng, rows = np.random.default_rng(0), 55
    x = rng.normal(size=(rows, 1))
    log = 0.5 * x[:, 0] + 0.4 * rng.normal(size=rows)
    count = rng.poisson(np.exp(1.5 + log))
    positive = np.exp(log)
    some_zero = np.where(rng.random(rows) < 0.3, 0.0, positive)
    for y in (positive, some_zero, count):
        model = ConditionalFlowDensity(random_state=0).fit(x, y)
        of_rows = model.distribution(x)
        assert model.predict(x).mean() == pytest.approx(y.mean(), rel=0.25)
        assert 0 < model.crps(x, y).mean() < y.std()
        spread = np.sqrt(np.mean(of_rows.variance() + of_rows.mean() ** 2) - y.mean() ** 2)
        assert 0.5 < spread / y.std() < 3


def test_quantiles_beside_a_point_mass_invert_the_distribution_function():
    """However far the tail reaches."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(55, 1))
    y = np.where(rng.random(55) < 0.3, 0.0, np.exp(x[:, 0] + 0.4 * rng.normal(size=55)))
    model = ConditionalFlowDensity(random_state=0).fit(x, y)
    q = model.predict_quantiles(x, (0.6, 0.95))
    for column, level in zip(q.T, (0.6, 0.95), strict=True):
        assert model.cdf(x, column) == pytest.approx(np.full(55, level), abs=1e-9)


@pytest.mark.parametrize("target", ["number", "category"])
def test_a_feature_that_some_folds_never_have(target):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 2))
    x[1:, 1] = np.nan  # the one number is held out in one fold
    y = x[:, 0] + rng.normal(size=100)
    if target == "category":
        y = np.where(y > 0, "high", "low")
    model = ConditionalFlowDensity(effort="fast", random_state=0).fit(x, y)
    assert np.isfinite(model.score_samples(x, y)).all()
