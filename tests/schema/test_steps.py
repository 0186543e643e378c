"""Steps of numbers and times: found where every value is a multiple, and kept by draws."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from flowkit import FlowDensity
from flowkit.schema import Column, Schema
from flowkit.schema.steps import decimal_step, rounded, time_step

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(40, 20, 80)
HOURS = pd.Timestamp("2024-01-01") + pd.to_timedelta(RNG.uniform(0, 9e6, 80), "s")


def fitted(table, **options) -> FlowDensity:
    return FlowDensity(effort="fast", random_state=0, **options).fit(table)


def ends_of(dtype: str) -> tuple[float, float]:
    """Return the least and the largest number of a dtype of pandas."""
    name = dtype.lower().split("[")[0]
    limits = np.finfo("float16") if name in ("float16", "halffloat") else np.iinfo(name)
    return float(limits.min), float(limits.max)


@pytest.mark.parametrize(
    ("values", "step"),
    [
        (np.round(NORMAL, 2), 0.01),
        (np.round(NORMAL, 1).astype(np.float32), 0.1),
        (np.round(NORMAL * 4) / 4 + 0.0, 0.25),
        (np.round(NORMAL / 20, 2) * 20, 0.2),
        (np.round(NORMAL) * 1000 + 0.0, 1000.0),
        (np.round(NORMAL / 16, 4) * 16, 0.0016),
        (1e6 * np.round(NORMAL, 3), 1000.0),
        (1e9 + np.round(NORMAL, 2), 0.01),
        (np.cumsum(np.full(80, 0.1)), 0.1),  # to float rounding
        (NORMAL, None),
        (NORMAL.astype(np.float32), None),
        (NORMAL / 3, None),
        (np.append(np.round(NORMAL, 2), 40.12345678901234), None),  # all but one
        (np.array([0.5, 1.25, 2.25]), 0.01),  # quarters by accident
        (np.array([4.0, 10.0]), 1.0),
    ],
)
def test_the_step_of_decimals(values, step):
    epsilon = float(np.finfo(values.dtype).eps)
    found = decimal_step(np.unique(values.astype(np.float64)), epsilon)
    assert found == step


@pytest.mark.parametrize(
    ("unit", "step"),
    [("D", 86_400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3), ("us", 1e-6)],
)
def test_the_step_of_times(unit, step):
    seconds = HOURS.floor(unit).to_numpy().astype("datetime64[us]").astype(np.int64) / 1e6
    assert time_step(np.unique(seconds)) == step


def test_quarters_of_an_hour_are_a_step_and_two_whole_hours_none_of_their_own():
    seconds = np.unique(RNG.integers(10**6, 2 * 10**6, 60) * 900.0)
    assert time_step(seconds) == 900.0
    assert time_step(np.array([7200.0, 18_000.0])) == 3600.0


@pytest.mark.parametrize("step", [0.01, 0.1, 0.05, 0.25, 7.0, 1000.0, 0.0016])
def test_rounding_returns_the_float_of_the_decimals(step):
    k = RNG.integers(-10_000, 10_000, 1000)
    exact = np.array([float(f"{i * round(step * 1e4)}e-4") for i in k])
    assert np.array_equal(rounded(exact + RNG.uniform(-0.49, 0.49, 1000) * step, step), exact)


@pytest.mark.parametrize(
    "x",
    [
        pd.Series(np.round(NORMAL, 2)),
        pd.Series(np.round(NORMAL, 1).astype(np.float32)),
        pd.Series(np.round(NORMAL * 4) / 4),
        pd.Series(np.where(NORMAL < 25, np.nan, np.round(NORMAL, 2))),
        pd.Series(HOURS.floor("min")),
        pd.Series(HOURS.floor("D").tolist()),
        pd.Series(HOURS.floor("min")).dt.tz_localize("Europe/Berlin"),
        pd.Series(HOURS.floor("s")).astype("datetime64[s]"),
        pd.Series(25 * np.round(NORMAL * 10).astype(np.int64)),
        pd.Series(np.round(NORMAL * 1e6)),
    ],
    ids=["cents", "float32", "quarters", "holes", "minutes", "days", "zone", "s", "25", "whole"],
)
def test_draws_are_multiples_in_the_dtype_of_the_table(x):
    table = pd.DataFrame({"x": x})
    density = fitted(table)
    step = density.schema_.columns[0].step
    drawn = density.sample(20_000, random_state=0)["x"]
    assert drawn.dtype == x.dtype
    known = drawn.dropna()
    if known.dtype.kind == "M" or isinstance(known.dtype, pd.DatetimeTZDtype):
        ticks = known.dt.tz_localize(None) if x.dt.tz is None else known.dt.tz_convert("UTC")
        ticks = ticks.astype("int64").to_numpy()
        per_second = 1e9 if "ns" in str(x.dtype) else 1e6 if "us" in str(x.dtype) else 1.0
        assert (ticks % round(step * per_second) == 0).all()
    else:
        again = rounded(known.to_numpy().astype(np.float64), step).astype(known.dtype)
        assert np.array_equal(again, known)
    assert len(known.unique()) > 30
    assert abs(drawn.isna().mean() - x.isna().mean()) < 0.02
    assert np.isfinite(density.score_samples(table)).all()


def test_the_mass_of_a_cell_is_density_times_step():
    """Of 40,000 draws, by cell and by the distribution function; and summed over all multiples."""
    x = np.round(2 * np.random.default_rng(1).normal(0, 6, 99)) / 2
    density = fitted(x[:, None])
    column = density.schema_.columns[0]
    assert column.step == 0.5
    assert not column.atoms
    cells = np.arange(-40_000, 40_001) * 0.5
    mass = 0.5 * np.exp(density.score_samples(cells[:, None]))
    assert mass.sum() == pytest.approx(1, abs=1e-4)
    drawn = density.sample(40_000, random_state=0)[:, 0]
    often = mass > 1e-3
    counts = np.array([(drawn == cell).sum() for cell in cells[often]])
    expected = 40_000 * mass[often]
    assert np.abs((counts - expected) / np.sqrt(expected)).max() < 4.5
    # A draw half a step aside would be 0.017 off.
    below = np.searchsorted(np.sort(drawn), cells, side="right") / 40_000
    assert np.abs(below - np.cumsum(mass)).max() < 0.008


def test_narrow_laws_gain_nothing_by_rounding():
    """A fit sees values spread within their step: the cells of a flow have mass one, too."""
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(0, 3, (400, 1)), 1)
    density = fitted(np.concatenate([x, x + np.round(rng.normal(0, 1, x.shape), 1)], axis=1))
    assert [c.step for c in density.schema_.columns] == [0.1, 0.1]
    grid = np.round(np.arange(-250, 251) * 0.1, 1)
    cells = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    mass = 0.01 * np.exp(density.score_samples(cells))
    assert mass.sum() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        (Column("x", "positive", step=0.5), [1e-9, 0.2, 0.7, 1.1], [0.5, 0.5, 0.5, 1.0]),
        (
            Column("x", "bounded", lower=0.0, upper=1.0, step=0.25),
            [1e-9, 0.4, 0.999],
            [0.25, 0.5, 0.75],
        ),
        (Column("x", "circular", period=24.0, step=1.0), [0.4, 23.4, 23.9], [0.0, 23.0, 0.0]),
    ],
)
def test_rounding_stays_within_the_bounds(column, values, expected):
    schema = Schema((column,), "pandas")
    encoded = schema.encode(pd.DataFrame({"x": values}))
    back = schema.decode(encoded.codes, encoded.values)["x"]
    assert np.array_equal(back, expected)
    again = schema.encode(pd.DataFrame({"x": back}))
    assert np.isfinite(again.log_jacobian).all()


def test_values_that_hardly_repeat_are_not_spread():
    """Noise would only hide the few that do, and how fine they were written."""
    normal = np.random.default_rng(0).normal(size=(500, 2))
    x = np.stack([normal[:, 0].round(5), normal[:, 1].round(1)], axis=1)
    fine, coarse = Schema.infer(x).columns
    assert (fine.step, fine.resolution) == (1e-5, None)
    assert (coarse.step, coarse.resolution) == (0.1, 0.1)


@pytest.mark.parametrize("kind", ["positive", "bounded"])
def test_values_are_not_spread_beyond_a_bound(kind):
    options = {"lower": 0.0, "upper": 1.0} if kind == "bounded" else {}
    schema = Schema((Column("x", kind, resolution=0.5, **options),), "pandas")
    table = pd.DataFrame({"x": np.full(1000, 0.1)})
    spread = schema.encode(table, spread=np.random.default_rng(0))
    assert np.isfinite(spread.log_jacobian).all()
    assert len(np.unique(spread.values)) > 500


# Whole numbers


def test_integers_that_are_multiples_have_all_the_mass_but_half_a_row():
    x = 25 * np.round(NORMAL * 10).astype(np.int64)
    density = fitted(x[:, None])
    assert density.schema_.columns[0].step == 25
    every = np.arange(-300_000, 300_000)
    p = np.exp(density.score_samples(every[:, None]))
    assert p.sum() == pytest.approx(1, abs=1e-4)
    assert p[every % 25 != 0].sum() < 0.5 / 81
    assert (p > 0).all()


@pytest.mark.parametrize("n", [90, 400])
@pytest.mark.parametrize("library", ["pandas", "polars", "numpy"])
def test_whole_floats_with_holes_are_integers(n, library):
    rng = np.random.default_rng(0)
    x = np.where(rng.random(n) < 0.2, np.nan, rng.integers(100, 900, n))
    table = {
        "pandas": lambda: pd.DataFrame({"x": x}),
        "polars": lambda: pl.DataFrame({"x": [None if np.isnan(v) else v for v in x]}),
        "numpy": lambda: x[:, None],
    }[library]()
    density = fitted(table)
    assert density.schema_.columns[0].kind == "integer"
    sample = density.sample(5000, random_state=0)
    drawn = sample[:, 0] if library == "numpy" else sample["x"].to_numpy()
    assert drawn.dtype == np.float64
    known = drawn[~np.isnan(drawn)]
    assert np.array_equal(known, np.round(known))
    assert 0.15 < 1 - len(known) / 5000 < 0.26


def test_floats_with_a_fraction_or_without_holes_stay_real():
    whole = np.random.default_rng(0).permutation(5000)[:200].astype(np.float64)
    half = np.where(np.arange(200) % 5 == 0, np.nan, whole)
    half[3] += 0.5
    table = pd.DataFrame({"whole": whole, "half": half, "key": NORMAL[np.arange(200) % 80]})
    columns = Schema.infer(table).columns
    assert [c.kind for c in columns[:2]] == ["real", "real"]
    assert [c.step for c in columns[:2]] == [1.0, 0.5]


@pytest.mark.parametrize(
    "dtype",
    ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "UInt8", "Int16", "float16"],
)
def test_draws_are_within_the_dtype(dtype):
    """Counts that crowd at the end of a dtype: no draw wraps around, or is infinite."""
    low, high = ends_of(dtype)
    top = min(high, 60_000)
    x = top - np.random.default_rng(0).geometric(20 / top, 90).clip(max=top - 1)
    table = pd.DataFrame({"x": x.astype(np.int64)}).astype(dtype)
    drawn = fitted(table).sample(20_000, random_state=0)["x"]
    assert drawn.dtype == table["x"].dtype
    wide = drawn.astype(np.float64)
    assert wide.between(low if dtype == "float16" else 0, high).all()
    assert abs(np.median(wide) - np.median(table["x"].astype(np.float64))) < 0.1 * top


def test_real_columns_of_integers_come_back_whole():
    x = np.random.default_rng(0).integers(0, 250, 90).astype(np.uint8)
    density = fitted(pd.DataFrame({"x": x}), schema={"x": "real"})
    drawn = density.sample(20_000, random_state=0)["x"]
    assert drawn.dtype == np.uint8
    assert abs(drawn.mean() - x.mean()) < 10  # nothing is cut off, or wraps around


def test_times_beyond_nanoseconds_are_drawn_within_them():
    ends = pd.to_datetime(["1680-01-01", "2261-12-31"]).astype("datetime64[ns]")
    x = pd.Series(list(ends) * 3 + list(pd.date_range("2000-01-01", periods=60, freq="37D")))
    table = pd.DataFrame({"x": x.astype("datetime64[ns]")})
    drawn = fitted(table).sample(20_000, random_state=0)["x"]
    assert drawn.dtype == "datetime64[ns]"
    assert drawn.notna().all()
