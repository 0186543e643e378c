"""Point masses, levels and sentinels: inferred, normalised, and drawn as they are scored."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from flowkit import FlowDensity
from flowkit.errors import ArgumentError
from flowkit.gan import DequantizedTable
from flowkit.report.unlikely_rows import gains_by_column
from flowkit.schema import Column, Schema

N = 600


def drawn_from(values, n: int = N, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(values, n)


def column_of(values, **options) -> Column:
    return Schema.infer(pd.DataFrame({"x": values}), options or None).columns[0]


def fitted(values, **schema) -> FlowDensity:
    options = {"schema": schema} if schema else {}
    return FlowDensity(effort="fast", random_state=0, **options).fit(pd.DataFrame({"x": values}))


def probability(density: FlowDensity, values) -> np.ndarray:
    return np.exp(density.score_samples(pd.DataFrame({"x": values})))


PRICES = (1.5, 2.0, 4.25, 9.99)
DOSES = (0.1, 0.3, 1.0, 3.0, 10.0)
COINS = (1, 2, 5, 10, 20, 50, 100)
HALVES = tuple(np.arange(1, 11) / 2)
DATES = tuple(np.array(["2024-01-01", "2024-02-01", "2024-03-01"], dtype="datetime64[us]"))


@pytest.mark.parametrize("values", [PRICES, DOSES, HALVES, COINS, DATES])
def test_few_levels_are_drawn_exactly_and_as_often_as_they_are_scored(values):
    x = drawn_from(values)
    density = fitted(x)
    sample = density.sample(20_000, random_state=1)["x"]
    levels, counts = np.unique(sample, return_counts=True)
    assert set(levels) == set(np.unique(x))
    p = probability(density, levels)
    assert 1 - 1 / N < p.sum() < 1
    assert np.abs((counts - 20_000 * p) / np.sqrt(20_000 * p)).max() < 5
    shares = np.unique(x, return_counts=True)[1] / N
    assert np.allclose(p, shares, atol=2 / N)


@pytest.mark.parametrize(("values", "off"), [(PRICES, 3.0), (DOSES, 2.0), (HALVES, 3.7)])
def test_a_number_between_levels_has_a_small_finite_density(values, off):
    density = fitted(drawn_from(values))
    assert -20 < density.score_samples(pd.DataFrame({"x": [off]}))[0] < np.log(1 / N)


@pytest.mark.parametrize("kind", ["real", "positive", "bounded"])
def test_levels_and_the_line_between_them_have_mass_one(kind):
    options = {"kind": kind} | ({"lower": 0.0, "upper": 10.0} if kind == "bounded" else {})
    density = fitted(drawn_from(DOSES), x=options)
    column = density.schema_.columns[0]
    assert column.at_levels
    # Over z with x = sinh z, exp z or a logistic function of z: all of the support.
    z = np.linspace(-30, 30, 200_001) + 1e-7
    x, slope = {
        "real": (np.sinh(z), np.cosh(z)),
        "positive": (np.exp(z), np.exp(z)),
        "bounded": (10 / (1 + np.exp(-z)), 10 / (4 * np.cosh(z / 2) ** 2)),
    }[kind]
    between = np.trapezoid(probability(density, x) * slope, z)
    assert between == pytest.approx(0.5 / (N + 1), rel=0.02)
    assert probability(density, DOSES).sum() + between == pytest.approx(1, abs=1e-4)
    if kind != "real":
        assert probability(density, [-1.0])[0] == 0


@pytest.mark.parametrize("values", [(0, 1), (1, 2), (7,), (-3, 12), COINS])
def test_whole_levels_and_all_other_integers_have_mass_one(values):
    x = drawn_from(values)
    density = fitted(x)
    every = probability(density, np.arange(-300_000, 300_000))
    assert every.sum() == pytest.approx(1, abs=1e-6)
    on = probability(density, list(values)).sum()
    assert 1 - on == pytest.approx(0.5 / (N + 1), rel=1e-6)
    assert (every > 0).all()
    assert set(density.sample(20_000, random_state=0)["x"]) == set(values)


@pytest.mark.parametrize("n", [40, 500])
@pytest.mark.parametrize(
    "value", [1e6, 0.0, -2.5, 7, pd.Timestamp("2024-02-03"), pd.Timestamp("2024-02-03 10:20:30")]
)
def test_a_constant_is_drawn_and_another_value_is_scored(value, n):
    x = pd.Series([value] * n)
    density = fitted(x)
    sample = density.sample(20_000, random_state=0)["x"]
    assert sample.dtype == x.dtype
    assert (sample == value).all()
    p = probability(density, [value])[0]
    assert p == pytest.approx(1 - 0.5 / (n + 1))
    other = value + pd.Timedelta(days=1) if isinstance(value, pd.Timestamp) else value + 1
    assert -60 < density.score_samples(pd.DataFrame({"x": [other]}))[0] < np.log(1 / n)


@pytest.mark.parametrize(
    "x",
    [
        pd.Series(drawn_from((0, 1))),
        pd.Series(drawn_from((0, 1)).astype(np.uint8)),
        pd.Series(drawn_from((0.0, 1.0))),
        pd.Series(drawn_from((0.0, 1.0, np.nan))),
        pd.Series(drawn_from((0, 1, None)), dtype="Int8"),
        pd.Series(np.append(np.zeros(N), 1)),
        pd.Series(np.append(np.zeros(N, dtype=int), 1)),
    ],
    ids=["int64", "uint8", "float64", "holes", "Int8", "one", "one-int"],
)
def test_flags_are_drawn_as_flags_and_a_two_is_unseen(x):
    density = fitted(x)
    sample = density.sample(20_000, random_state=0)["x"]
    assert sample.dtype == x.dtype
    assert set(sample.dropna().unique()) == {0, 1}
    assert abs(sample.isna().mean() - x.isna().mean()) < 0.02
    assert abs(sample.mean() - x.mean()) < 0.02
    two = density.score_samples(pd.DataFrame({"x": pd.Series([2], dtype=x.dtype)}))[0]
    assert -15 < two < np.log(1 / N)


def test_levels_beside_other_columns_keep_their_dependence():
    rng = np.random.default_rng(0)
    dose = rng.choice(DOSES, 300)
    table = pd.DataFrame({"dose": dose, "effect": np.log(dose) + rng.normal(0, 0.3, 300)})
    density = FlowDensity(effort="fast", random_state=0).fit(table)
    sample = density.sample(4000, random_state=0)
    assert set(sample["dose"]) == set(DOSES)
    middle = sample.groupby("dose")["effect"].mean()
    assert np.allclose(middle, np.log(middle.index), atol=0.15)
    assert density.schema_.continuous == ("effect",)


def test_counts_are_no_levels():
    """They may go on: 0 to 7 in a table are no reason against 8."""
    column = column_of(np.random.default_rng(0).poisson(2, N))
    assert (column.kind, column.at_levels, column.soft_lower) == ("integer", False, 0.0)
    rare = column_of(np.append(drawn_from((1, 2, 50)), [70, 81]))
    assert not rare.at_levels


def test_levels_come_back_from_rows_of_noise():
    """A generator of a table draws no other state than the levels."""
    table = pd.DataFrame({"dose": drawn_from(DOSES), "flag": drawn_from((0, 1))})
    rows = DequantizedTable(Schema.infer(table), table)
    x = 3 * np.random.default_rng(0).normal(size=(500, rows.width))
    back = rows.decode(torch.from_numpy(x))
    assert set(back["dose"]) == set(DOSES)
    assert set(back["flag"]) == {0, 1}


def test_a_number_off_the_levels_is_blamed_by_probabilities():
    """The gain is that of the unseen's probability, whatever the column's units."""
    x = drawn_from(DOSES)
    for unit in (1e-6, 1.0, 1e6):
        density = fitted(x * unit)
        rows = pd.DataFrame({"x": [2.0 * unit]})
        encoded = density.schema_.encode(rows)
        samples = density.schema_.encode(density.sample(200, random_state=0))
        gains, _ = gains_by_column(density, encoded, density.score_samples(rows), samples)
        largest = np.unique(x, return_counts=True)[1].max() / N
        assert gains[0, 0] == pytest.approx(np.log(largest / (0.5 / (N + 1))), abs=0.05)


# Sentinels


def with_sentinel(value: float, rows: int, n: int = 80) -> np.ndarray:
    x = np.random.default_rng(0).normal(50, 10, n)
    return np.append(x, np.full(rows, value))


@pytest.mark.parametrize(
    ("value", "rows", "n"), [(-999.0, 3, 117), (-999.0, 2, 80), (9999.0, 2, 80), (-99.0, 3, 80)]
)
def test_a_far_value_that_repeats_is_a_point_mass_and_is_named(value, rows, n):
    x = with_sentinel(value, rows, n)
    schema = Schema.infer(pd.DataFrame({"x": x}))
    assert schema.columns[0].atoms == (value,)
    assert f"point mass at {value:g} in {rows} rows" in str(schema)
    density = fitted(x)
    sample = density.sample(20_000, random_state=0)["x"]
    share = (sample == value).mean()
    p = probability(density, [value])[0]
    assert p == pytest.approx(rows / len(x), rel=0.3)
    assert abs(share - p) < 5 * np.sqrt(p / 20_000)
    rest = sample[sample != value]
    assert abs(rest.mean() - 50) < 2
    assert rest.std() < 13
    assert np.isfinite(density.score_samples(pd.DataFrame({"x": [0.5 * (value + 50)]}))).all()


def test_the_state_of_a_sentinel_is_its_own():
    """Zeros, a cap and a sentinel each come back as themselves."""
    x = with_sentinel(-999.0, 3, 92)
    x[:25], x[25:40] = 0.0, 60.0
    schema = Schema.infer(pd.DataFrame({"x": x}))
    assert set(schema.columns[0].atoms) == {0.0, 60.0, -999.0}
    encoded = schema.encode(pd.DataFrame({"x": x}))
    assert np.array_equal(schema.decode(encoded.codes, encoded.values)["x"], x)
    assert np.isnan(encoded.values).sum() == 43
    p = probability(fitted(x), [0.0, 60.0, -999.0])
    assert np.allclose(p, [25.5 / 97, 15.5 / 97, 3.5 / 97], atol=1e-9)


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_a_sentinel_among_integers_is_a_point_mass_and_is_named(dtype):
    x = np.round(with_sentinel(-999.0, 3)).astype(dtype)
    schema = Schema.infer(pd.DataFrame({"x": x, "y": np.arange(83)}))
    assert schema.columns[0].kind == "integer"
    assert schema.columns[0].sentinels == ((-999.0, 3),)
    assert "point mass at -999 in 3 rows" in str(schema)
    density = fitted(x, x="integer")
    assert probability(density, [-999])[0] == pytest.approx(3 / 83, rel=0.3)
    sample = density.sample(20_000, random_state=0)["x"]
    assert sample[sample != -999].between(-50, 150).mean() > 0.999


def test_a_time_that_stands_for_none_is_a_point_mass():
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(90) * 7919 % 100_000, "min")
    x = pd.Series(days.tolist() + [pd.Timestamp("1900-01-01")] * 2)
    schema = Schema.infer(pd.DataFrame({"x": x}))
    assert "point mass at 1900-01-01T00:00:00 in 2 rows" in str(schema)
    sample = fitted(x).sample(5000, random_state=0)["x"]
    early = sample[sample < pd.Timestamp("2000-01-01")]
    assert len(early)
    assert (early == pd.Timestamp("1900-01-01")).all()


@pytest.mark.parametrize(
    "x",
    [
        np.round(np.random.default_rng(0).normal(50, 10, 500), 1),
        np.round(np.random.default_rng(0).standard_t(2, 2000), 1),
        np.round(np.random.default_rng(0).lognormal(3, 2, 2000), 2),
        np.append(np.random.default_rng(0).normal(50, 10, 100), -999.0),  # once: an outlier
    ],
    ids=["normal", "student", "lognormal", "once"],
)
def test_repeated_values_of_a_rounded_column_are_no_sentinels(x):
    column = column_of(x)
    assert column.sentinels == ()
    assert column.atoms == ()


# What is kept, and what is refused


def test_levels_survive_files_and_overrides(tmp_path):
    table = pd.DataFrame({"dose": drawn_from(DOSES, 150), "flag": drawn_from((0, 1), 150), "k": 4})
    density = FlowDensity(effort="fast", random_state=0).fit(table)
    density.save(tmp_path / "m.safetensors")
    loaded = FlowDensity.load(tmp_path / "m.safetensors")
    assert loaded.schema_ == density.schema_
    assert np.array_equal(loaded.score_samples(table), density.score_samples(table))
    bounded = Schema.infer(table, {"flag": {"kind": "integer", "lower": 0, "upper": 1}})
    assert not bounded.columns[1].at_levels
    free = Schema.infer(table, {"dose": "categorical"})
    assert free.columns[0].categories == DOSES


def test_what_is_told_of_levels_and_steps_holds():
    hour = np.random.default_rng(0).integers(0, 24, 500).astype(float)
    table = pd.DataFrame({"half": drawn_from(HALVES, 500), "hour": hour, "flag": hour % 2})
    told = {
        "half": {"at_levels": False, "step": 0.25},
        "hour": {"kind": "circular", "period": 24.0},
        "flag": "real",
    }
    half, hours, flag = Schema.infer(table, told).columns
    assert (half.at_levels, half.atoms, half.step) == (False, (), 0.25)
    assert (hours.at_levels, hours.atoms, hours.step) == (False, (), 1.0)
    assert (flag.kind, flag.at_levels, set(flag.atoms)) == ("real", True, {0.0, 1.0})
    whole = Schema.infer(table, {"hour": "integer"}).columns[1]
    assert (whole.soft_lower, whole.lower, whole.step) == (0.0, None, None)
    density = FlowDensity(effort="fast", schema=told, random_state=0).fit(table[:90])
    drawn = density.sample(5000, random_state=0)
    assert set(drawn["hour"]) <= set(np.arange(24.0))
    assert (drawn["half"] % 0.25 == 0).all()
    assert not (drawn["half"] % 0.5 == 0).all()


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "real", "at_levels": True},
        {"kind": "integer", "atoms": (1.0,)},
        {"kind": "integer", "at_levels": True, "atoms": (0.5,)},
        {"kind": "integer", "at_levels": True, "atoms": (0, 1), "lower": 0},
        {"kind": "real", "soft_lower": 0.0},
        {"kind": "real", "step": 0.0},
        {"kind": "integer", "step": 0.5},
        {"kind": "categorical", "step": 1.0},
        {"kind": "categorical", "at_levels": True},
    ],
)
def test_options_that_do_not_fit(options):
    with pytest.raises(ArgumentError, match="column 'x'"):
        Column("x", **options)


def test_polars_and_numpy_levels():
    frame = pl.DataFrame(
        {"dose": drawn_from(DOSES, 150), "flag": drawn_from((0, 1), 150).astype(np.int8)}
    )
    sample = FlowDensity(effort="fast", random_state=0).fit(frame).sample(2000, random_state=0)
    assert sample.schema == frame.schema
    assert set(sample["dose"]) == set(DOSES)
    array = frame.to_numpy().astype(np.float32)
    drawn = FlowDensity(effort="fast", random_state=0).fit(array).sample(2000, random_state=0)
    assert drawn.dtype == np.float32
    assert set(drawn[:, 0]) == set(array[:, 0])
    assert set(drawn[:, 1]) == {0, 1}
