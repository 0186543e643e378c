"""Schemas: what columns are taken to be, and rows as codes and values and back."""

import math

import numpy as np
import pandas as pd
import polars as pl
import polars.testing
import pyarrow as pa
import pytest

from flowkit.errors import ArgumentError, DataError
from flowkit.schema import Column, Schema

N = 300


def table(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    when = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 10**6, N), "s")
    return pd.DataFrame(
        {
            "category": pd.Categorical(rng.choice(list("abc"), N)),
            "text": rng.choice(["x", "y", None], N),
            "flag": rng.random(N) < 0.5,
            "count": rng.poisson(3, N),
            "nullable": pd.array(
                np.where(rng.random(N) < 0.1, None, rng.integers(-5, 5, N)), dtype="Int64"
            ),
            "holes": np.where(rng.random(N) < 0.1, np.nan, rng.integers(0, 9, N)),
            "real": rng.normal(size=N),
            "single": rng.normal(size=N).astype(np.float32),
            "inflated": np.where(rng.random(N) < 0.3, 0.0, rng.lognormal(size=N)),
            "missing": np.where(rng.random(N) < 0.1, np.nan, rng.normal(size=N)),
            "rounded": np.round(rng.normal(size=N), 1),
            "time": when,
            "zoned": pd.Series(when).dt.tz_localize("Europe/Berlin"),
            "positive": rng.lognormal(size=N),
            "share": rng.beta(2, 3, N),
            "hour": rng.uniform(0, 24, N),
            "constant": np.full(N, 7.5),
        }
    )


OVERRIDES = {
    "positive": "positive",
    "share": {"kind": "bounded", "lower": 0, "upper": 1},
    "hour": {"kind": "circular", "period": 24.0},
}


@pytest.fixture(scope="module")
def schema() -> Schema:
    return Schema.infer(table(), OVERRIDES)


def test_inferred_kinds(schema):
    kinds = {c.name: c.kind for c in schema.columns}
    assert kinds == {
        "category": "categorical",
        "text": "categorical",
        "flag": "categorical",
        "count": "integer",
        "nullable": "integer",
        "holes": "integer",
        "real": "real",
        "single": "real",
        "inflated": "real",
        "missing": "real",
        "rounded": "real",
        "time": "datetime",
        "zoned": "datetime",
        "positive": "positive",
        "share": "bounded",
        "hour": "circular",
        "constant": "real",
    }
    columns = {c.name: c for c in schema.columns}
    assert columns["inflated"].atoms == (0.0,)
    assert columns["constant"].atoms == (7.5,)
    assert columns["rounded"].atoms == ()
    assert columns["rounded"].step == 0.1
    assert [columns[name].soft_lower for name in ("count", "holes", "nullable")] == [0, 0, None]
    assert all(c.lower is None for c in schema.columns if c.kind == "integer")
    assert [c.name for c in schema.columns if c.missing] == ["text", "nullable", "holes", "missing"]


def test_schema_survives_json(schema):
    assert Schema.from_dict(schema.to_dict()) == schema


def test_schema_prints_one_line_a_column(schema):
    lines = str(schema).splitlines()
    assert len(lines) == len(schema.columns)
    assert "bounded from 0 to 1" in lines[14]
    assert "may be missing" in lines[9]


def test_pandas_round_trip(schema):
    frame = table()
    encoded = schema.encode(frame)
    back = schema.decode(encoded.codes, encoded.values)
    assert (back.dtypes == frame.dtypes).all()
    pd.testing.assert_frame_equal(back, frame, rtol=1e-12)


def test_polars_and_arrow_round_trip(schema):
    frame = pl.from_pandas(table())
    encoded = schema.encode(table())
    for native in (frame, frame.to_arrow()):
        other = Schema.infer(native, OVERRIDES)
        again = other.encode(native)
        assert np.array_equal(again.codes, encoded.codes)
        assert np.allclose(again.log_jacobian, encoded.log_jacobian)
        back = other.decode(again.codes, again.values)
        assert type(back) is type(native)
        if isinstance(native, pa.Table):
            back, native = pl.from_arrow(back), pl.from_arrow(native)
        pl.testing.assert_frame_equal(
            back, native, rel_tol=1e-12, categorical_as_str=True, check_dtypes=False
        )


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32"])
def test_numpy_round_trip(dtype):
    x = (10 * np.random.default_rng(0).normal(size=(60, 3))).astype(dtype)
    schema = Schema.infer(x)
    encoded = schema.encode(x)
    back = schema.decode(encoded.codes, encoded.values)
    assert back.dtype == x.dtype
    assert np.array_equal(back, x)


def test_log_jacobian_is_the_derivative(schema):
    """By central differences, of each continuous column of its own."""
    frame = table()
    encoded = schema.encode(frame)
    step = 1e-6
    for name in ("positive", "share", "hour"):
        j = schema.continuous.index(name)
        low, high = (schema.encode(frame.assign(**{name: frame[name] + s})) for s in (-step, step))
        slope = (high.values[:, j] - low.values[:, j]) / (2 * step)
        alone = Schema(tuple(c for c in schema.columns if c.name == name), "pandas")
        term = alone.encode(frame[[name]]).log_jacobian
        inner = np.abs(slope) < 1e3  # an angle may wrap between the two
        assert np.allclose(np.log(slope[inner & (slope > 0)]), term[inner & (slope > 0)], atol=1e-4)
        assert (slope > 0).mean() > 0.99
    assert encoded.log_jacobian.shape == (N,)


def test_outside_of_a_bound_there_is_no_density(schema):
    frame = table()
    for name, value in (("share", 1.5), ("share", -0.1), ("share", 1.0), ("positive", -1.0)):
        frame.loc[4, name] = value
        assert schema.encode(frame).log_jacobian[4] == -math.inf
        frame = table()


def test_columns_are_matched_by_name(schema):
    frame = table()
    encoded, shuffled = schema.encode(frame), schema.encode(frame[frame.columns[::-1]])
    assert np.array_equal(encoded.codes, shuffled.codes)
    assert np.array_equal(encoded.values, shuffled.values, equal_nan=True)


def test_chunks_encode_as_the_whole(schema):
    frame = table()
    whole = schema.encode(frame)
    parts = [schema.encode(frame[i : i + 70]) for i in range(0, N, 70)]
    assert np.array_equal(np.concatenate([p.codes for p in parts]), whole.codes)


def test_decoded_values_respect_bounds_whatever_they_are(schema):
    encoded = schema.encode(table())
    for extreme in (-1e6, 1e6):
        back = schema.decode(encoded.codes, np.where(encoded.values == 0, 0.0, extreme))
        assert back["share"].between(0, 1, inclusive="neither").all()
        assert (back["positive"] > 0).all()
        assert back["hour"].between(0, 24).all()
    single = Column("x", "bounded", "float32", lower=0.0, upper=1.0)
    x = Schema((single,), "pandas").decode(np.zeros((2, 0), int), np.array([[40.0], [-40.0]]))["x"]
    assert x.dtype == np.float32
    assert x.between(0, 1, inclusive="neither").all()


def test_values_that_were_rounded_are_spread_for_a_fit(schema):
    j = schema.continuous.index("rounded")
    plain = schema.encode(table()).values[:, j]
    spread = schema.encode(table(), spread=np.random.default_rng(0)).values[:, j]
    assert np.abs(spread - plain).max() <= 0.05
    assert len(np.unique(spread)) == N


def test_unseen_categories(schema):
    frame = table().astype({"category": object})
    frame.loc[5, "category"] = "new"
    assert schema.encode(frame).codes[5, 0] == 3
    with pytest.raises(DataError, match="column 'category', row 105: .*'new'"):
        schema.encode(frame, on_unknown="raise", rows_from=100)


def test_many_categories_are_quick():
    names = np.array([f"name {i}" for i in range(100_000)])
    frame = pd.DataFrame({"name": np.random.default_rng(0).permutation(names)})
    schema = Schema.infer(frame, {"name": "categorical"})
    encoded = schema.encode(frame)
    assert len(np.unique(encoded.codes)) == 100_000
    assert schema.decode(encoded.codes, encoded.values)["name"].tolist() == frame["name"].tolist()


def test_dates_with_time_zones_keep_the_instant():
    zones = pd.Series(pd.date_range("2024-03-31", periods=48, freq="h", tz="Europe/Berlin"))
    utc = zones.dt.tz_convert("UTC")
    schema = Schema.infer(pd.DataFrame({"t": zones}))
    one, two = (schema.encode(pd.DataFrame({"t": t})).values for t in (zones, utc))
    assert np.array_equal(one, two)
    assert np.allclose(np.diff(one[:, 0]), 3600)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"a": []}), "table: expected at least one row"),
        (pd.DataFrame(index=range(3)), "table: expected at least one row and one column"),
        (pd.DataFrame({"a": [np.nan] * 2, "b": [None] * 2}), "table: .*only missing"),
        (pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), "column 'a': .*twice"),
        (pd.DataFrame({"a": [1.0, np.inf, 2.0]}), "column 'a', row 1: .*infinity"),
        (pd.DataFrame({"a": [1.0, 1e300, 2.0]}), "column 'a', row 1: .*1e150"),
        (pd.DataFrame({"a": [1, 2**53 + 1]}), "column 'a', row 1: .*2\\*\\*53"),
        (pd.DataFrame({"a": [1.0, [2]]}), "column 'a', row 1: .*list"),
        ([1, 2, 3], "table: expected an array"),
    ],
)
def test_bad_tables(frame, message):
    with pytest.raises(DataError, match=message):
        Schema.infer(frame)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="real"), "column 'real': expected a column of that name"),
        (lambda f: f.assign(real="many"), "column 'real', row 10: expected a number.*'many'"),
        (lambda f: f.assign(real=np.nan), "column 'real', row 10: expected a value"),
        (lambda f: f.assign(count=0.5), "column 'count', row 10: expected an integer"),
        (lambda f: f.assign(time=1.0), "column 'time'.*time"),
        (lambda f: f.assign(real=-np.inf), "column 'real', row 10"),
    ],
)
def test_bad_rows_are_named(schema, change, message):
    with pytest.raises(DataError, match=message):
        schema.encode(change(table()), rows_from=10)


@pytest.mark.parametrize(
    "overrides",
    [
        {"nowhere": "real"},
        {"real": "imaginary"},
        {"real": {"color": "red"}},
        {"real": {"kind": "bounded"}},
        {"real": {"kind": "bounded", "lower": 1, "upper": 0}},
        {"real": "circular"},
        {"text": "real"},
        {"real": "positive"},
    ],
)
def test_bad_overrides(overrides):
    with pytest.raises(ArgumentError):
        Schema.infer(table(), overrides)


def test_values_on_a_bound_become_atoms():
    x = np.append(np.random.default_rng(0).beta(2, 2, 50), [0.0, 1.0])[:, None]
    schema = Schema.infer(x, {"x0": {"kind": "bounded", "lower": 0.0, "upper": 1.0}})
    assert schema.columns[0].atoms == (0.0, 1.0)
    assert schema.discrete[0].size == 3
    assert np.isfinite(schema.encode(x).log_jacobian).all()


def test_one_repeated_value_and_one_outlier():
    x = np.append(np.full(50, 3.0), 1e9)[:, None] + 0.25
    schema = Schema.infer(x)
    assert schema.columns[0].atoms == (3.25,)
    encoded = schema.encode(x)
    assert np.isnan(encoded.values).sum() == 50
    assert np.array_equal(schema.decode(encoded.codes, encoded.values), x)


def test_ranges_of_a_table_are_described():
    frame = pd.DataFrame(
        {
            "price": [*np.arange(50) / 4, -999.0, -999.0],
            "day": pd.date_range("2024-01-31", periods=52),
            "at": pd.to_timedelta(np.arange(52) * 3, unit="min"),
            "town": ["Ulm", "Bonn"] * 26,
        }
    )
    schema = Schema.infer(frame)
    lines = schema.describe(frame).splitlines()
    assert lines[0].startswith("price  real, 0 to 12.25, in steps of 0.25, point mass at -999 in 2")
    assert lines[1] == "day    date, 2024-01-31 to 2024-03-22"
    assert lines[2] == "at     duration, 0 to 9180, in steps of 3 minutes"
    assert lines[3] == "town   categorical, 2: Bonn, Ulm"
    assert "12.25" not in str(schema)
