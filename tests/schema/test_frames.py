"""Columns of scalars of every type: they come back as they went in, or are refused by name."""

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from column_types import COLUMNS, HOLES, REFUSED, Celsius, column_of, dtype_of, table_of
from typer.testing import CliRunner

from flowkit import FlowDensity
from flowkit.cli import app
from flowkit.errors import ArgumentError, DataError
from flowkit.schema import Column, Schema, arrow_columns, numpy_columns, pandas_columns
from flowkit.schema.precision import step_of
from flowkit.schema.ticks import seconds, ticks_of
from flowkit.tables import write_table

RNG = np.random.default_rng(1)
NAMED = [(library, name) for library, columns in COLUMNS.items() for name in columns]
BAD = [(library, name) for library, columns in REFUSED.items() for name in columns]


def round_trip(table: Any) -> Any:
    """Return a table encoded and decoded, by a schema that has been JSON in between."""
    schema = Schema.from_dict(Schema.infer(table).to_dict())
    encoded = schema.encode(table)
    return schema.decode(encoded.codes, encoded.values)


def values_of(column: Any) -> list[Any]:
    for way in ("to_pylist", "to_list", "tolist"):
        if hasattr(column, way):
            return [None if absent(v) else v for v in getattr(column, way)()]
    raise TypeError(type(column))


def absent(value: Any) -> bool:
    if value is None or value is pd.NaT or value is pd.NA:
        return True
    return isinstance(value, float | Decimal) and value != value


def same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12)
    return type(a) is type(b) and a == b


def assert_same_dtype(got: Any, expected: Any) -> None:
    assert dtype_of(got) == dtype_of(expected)
    if isinstance(expected, pd.Series) and isinstance(expected.dtype, pd.CategoricalDtype):
        # Equal dtypes may still differ in the order of their categories.
        assert list(got.cat.categories) == list(expected.cat.categories)
        assert got.cat.categories.dtype == expected.cat.categories.dtype
        assert got.cat.ordered == expected.cat.ordered


def test_the_list_of_types_is_long():
    assert len(NAMED) + len(BAD) >= 220
    assert {library: len(columns) for library, columns in COLUMNS.items()}.keys() == {
        "numpy",
        "pandas",
        "polars",
        "pyarrow",
    }


@pytest.mark.parametrize(("library", "name"), NAMED)
def test_values_and_dtype_come_back(library, name):
    table = table_of(library, COLUMNS[library][name]())
    back = column_of(round_trip(table))
    expected = column_of(table)
    assert_same_dtype(back, expected)
    pairs = list(zip(values_of(back), values_of(expected), strict=True))
    assert [pair for pair in pairs if not same(*pair)] == []


@pytest.mark.parametrize(("library", "name"), BAD)
def test_what_is_no_scalar_is_refused_by_name(library, name):
    where = "'x0'" if library == "numpy" else "'tint'"
    with pytest.raises(DataError, match=rf"column {where}.*expected numbers, .*leave the column"):
        Schema.infer(table_of(library, REFUSED[library][name]()))


FITTED = {
    "pandas": (
        *("Int8", "boolean", "string[python]", "datetime64[ms]", "timedelta64[s]", "period[M]"),
        *("ordered category", "pd.cut", "object of bool", "object of Decimal", "all missing Int64"),
        *("Sparse[float64, 0]", "ArrowDtype(decimal128(20, 2))", "object of time"),
    ),
    "polars": (
        *("Int128", "Decimal(10, 2)", "Time", "Duration(ms)", "Datetime(ns, zone)", "Enum"),
        *("Object", "Null", "Date", "Boolean"),
    ),
    "pyarrow": (
        *("decimal256(50, 2)", "time32[ms]", "duration[us]", "dictionary of dates", "null"),
        *("ordered dictionary", "run-end encoded integers", "extension bool8", "string_view"),
        *("month_day_nano_interval", "halffloat", "date64[ms]"),
    ),
}


@pytest.mark.parametrize("library", FITTED)
def test_samples_have_the_dtypes_of_the_table(library, tmp_path):
    columns = {name: COLUMNS[library][name]()[:60] for name in FITTED[library]}
    frame = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}[library]
    table = frame(columns)
    density = FlowDensity(effort="fast", random_state=0).fit(table)
    assert np.isfinite(density.score_samples(table)).all()
    density.save(tmp_path / "m.safetensors")
    for fitted in (density, FlowDensity.load(tmp_path / "m.safetensors")):
        samples = fitted.sample(60, random_state=0)
        assert type(samples) is type(table)
        for name in columns:
            assert_same_dtype(samples[name], table[name])
        assert np.isfinite(fitted.score_samples(samples)).all()


def test_masked_arrays_stay_masked():
    array = np.ma.MaskedArray(RNG.normal(size=(90, 2)), RNG.random((90, 2)) < 0.2)
    array.data[array.mask] = -999.0
    density = FlowDensity(effort="fast", random_state=0).fit(array)
    samples = density.sample(400, random_state=0)
    assert isinstance(samples, np.ma.MaskedArray)
    assert samples.mask.mean() == pytest.approx(array.mask.mean(), abs=0.06)
    assert np.quantile(samples.compressed(), 0.02) > -5
    array.data[array.mask] = 1e6  # what stands below a mask means nothing
    assert np.array_equal(
        density.score_samples(array),
        density.score_samples(np.ma.MaskedArray(np.where(array.mask, 0, array.data), array.mask)),
    )


def test_levels_without_a_row_are_known_and_not_drawn():
    levels = ["low", "middle", "high", "never"]
    column = pd.Categorical(RNG.choice(levels[:3], 200), categories=levels, ordered=True)
    table = pd.DataFrame({"level": column})
    density = FlowDensity(effort="fast", random_state=0).fit(table)
    (inferred,) = density.schema_.columns
    assert inferred.levels == tuple(levels)
    assert inferred.categories == ("low", "middle", "high")
    assert str(density.schema_) == (
        "level  ordered category, 3 (1 more without a row): in order low, middle, high"
    )
    samples = density.sample(300, random_state=0)["level"]
    assert samples.dtype == table["level"].dtype
    assert set(samples) == set(levels[:3])
    never = table.iloc[:1].assign(level=pd.Categorical(["never"], dtype=column.dtype))
    assert np.isfinite(density.score_samples(never)).all()


def test_categories_of_numbers_stay_categories():
    tiers = [2.5, 10.0, 0.5]
    table = pd.DataFrame({"tier": pd.Categorical(RNG.choice(tiers, 200), categories=tiers)})
    samples = FlowDensity(effort="fast", random_state=0).fit(table).sample(300, random_state=0)
    assert samples["tier"].notna().all()
    with pytest.raises(DataError, match="column 'tier': expected numbers, to be real"):
        Schema.infer(table, {"tier": "real"})


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("kind", ["timestamp", "duration"])
def test_every_unit_gives_the_same_seconds(unit, kind):
    ticks = pa.array([0, 90, 3600], pa.int64())
    made = {"timestamp": pa.timestamp, "duration": pa.duration}[kind]
    column = ticks.cast(made("s")).cast(made(unit))
    assert arrow_columns.read("t", column).values.tolist() == [0.0, 90.0, 3600.0]
    (values,) = Schema.infer(pa.table({"t": column})).encode(pa.table({"t": column})).values.T
    assert values[np.isfinite(values)].tolist() == [0.0, 90.0, 3600.0]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_microseconds_survive_being_seconds(unit):
    per = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    step = max(per // 10**6, 1)
    ticks = RNG.integers(-(10**9) * per, 2 * 10**9 * per, 1000) // step * step
    assert np.array_equal(ticks_of(seconds(ticks, unit), unit), ticks)


def test_levels_of_nanoseconds_are_exact():
    times = pd.to_datetime([1_700_000_000_123_456_789, 1_700_000_000_123_456_790])
    table = pd.DataFrame({"t": pd.Categorical(times.repeat(20)), "x": RNG.normal(size=40)})
    assert round_trip(table)["t"].tolist() == table["t"].tolist()


def test_columns_without_a_value_are_left_out_and_come_back():
    table = pd.DataFrame({"x": RNG.normal(size=50), "none": pd.array([None] * 50, "Int64")})
    density = FlowDensity(effort="fast", random_state=0).fit(table)
    alone = FlowDensity(effort="fast", random_state=0).fit(table[["x"]])
    assert np.allclose(density.score_samples(table), alone.score_samples(table[["x"]]))
    assert "none  empty, only missing values: left out" in str(density.schema_)
    samples = density.sample(5, random_state=0)
    assert samples["none"].dtype == "Int64"
    assert samples["none"].isna().all()
    table["none"] = table["none"].mask(table.index == 7, 3)
    with pytest.raises(DataError, match="column 'none', row 7: expected no value.*got 3"):
        density.score_samples(table)
    with pytest.raises(DataError, match="column 'none': expected at least one value, to be real"):
        Schema.infer(table.assign(none=np.nan), {"none": "real"})
    with pytest.raises(DataError, match="column 'x', row 0: expected no value"):
        Schema.infer(table, {"x": "empty"})


def test_kinds_of_times_of_day_durations_and_periods():
    frame = pd.DataFrame(
        {
            "at": pd.Series(COLUMNS["numpy"]["object of time"](), dtype=object),
            "took": COLUMNS["pandas"]["timedelta64[ms]"](),
            "month": COLUMNS["pandas"]["period[M]"](),
        }
    )
    schema = Schema.infer(frame)
    assert [c.kind for c in schema.columns] == ["circular", "real", "integer"]
    assert schema.columns[0].period == 86_400
    assert schema.columns[2].lower is None  # before 1970 there were months too


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 2, "x", [3]], "row 3: .*got a list: \\[3\\]"),
        (
            [dt.date(2020, 1, 1), 5],
            "row 1: expected one type of values .*, date.*got a int: 5",
        ),
        (
            [Decimal(1), dt.time(1)],
            "row 1: .*Decimal as in the first.*a time: datetime",
        ),
        (
            [dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)],
            "row 1: expected a time without a zone",
        ),
        ([dt.time(1, tzinfo=dt.UTC)], "row 0: expected a time of day without a zone"),
        ([1, 2**60], "row 1: expected integers within 2\\*\\*53"),
    ],
)
def test_objects_that_do_not_go_together(values, message):
    frame = pd.DataFrame({"c": pd.Series(values, dtype=object)})
    with pytest.raises(DataError, match=f"column 'c', {message}"):
        Schema.infer(frame)


def test_integers_of_128_bits_that_do_not_fit():
    frame = pl.DataFrame({"n": pl.Series([1, 2**100, None], dtype=pl.Int128)})
    with pytest.raises(DataError, match=r"column 'n', row 1: .*2\*\*53.*got 1267650600228229401"):
        Schema.infer(frame)
    # An unsigned one, too.
    with pytest.raises(DataError, match=r"column 'n', row 0: .*2\*\*53"):
        Schema.infer(pl.DataFrame({"n": pl.Series([2**64 - 1], dtype=pl.UInt64)}))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "float16"])
def test_draws_beyond_a_dtype_become_its_last_value(dtype):
    column = Column("n", "integer" if "int" in dtype else "real", dtype)
    schema = Schema((column,), "pandas")
    codes, values = np.array([[10**6], [-(10**6)]]), np.array([[1e6], [-1e6]])
    n, v = (codes, values[:, :0]) if "int" in dtype else (codes[:, :0], values)
    info = np.iinfo(dtype) if "int" in dtype else np.finfo(dtype)
    assert schema.decode(n, v)["n"].tolist() == [info.max, info.min]


def test_times_beyond_a_unit_become_its_last():
    schema = Schema((Column("t", "datetime", "datetime64[ns]"),), "pandas")
    back = schema.decode(np.zeros((2, 0), int), np.array([[1e11], [-1e11]]))["t"]
    assert back.dt.year.tolist() == [2262, 1677]
    schema = Schema((Column("t", "datetime", "timestamp[us]"),), "pyarrow")
    back = schema.decode(np.zeros((2, 0), int), np.array([[1e13], [-1e13]]))["t"].to_pylist()
    assert [t.year for t in back] == [9999, 1]


def test_decimals_stay_within_bounds_when_rounded():
    kind = pa.decimal128(5, 2)
    column = Column("d", "bounded", str(kind), lower=0.0, upper=1.0)
    values = np.array([[-40.0], [40.0], [0.0]])
    back = Schema((column,), "pyarrow").decode(np.zeros((3, 0), int), values)
    assert back["d"].to_pylist() == [Decimal("0.01"), Decimal("0.99"), Decimal("0.50")]
    wide = Schema((Column("d", "real", str(kind)),), "pyarrow")
    back = wide.decode(np.zeros((2, 0), int), np.array([[1e9], [-2.345]]))
    assert back["d"].to_pylist() == [Decimal("999.99"), Decimal("-2.34")]


@pytest.mark.parametrize(
    ("dtype", "step"),
    [
        ("decimal128(16, 3)", 0.001),
        ("Decimal(precision=16, scale=2)", 0.01),
        ("object<Decimal(1)>", 0.1),
        ("Int16", 1.0),
        (">u4", 1.0),
        ("duration[ms]", 0.001),
        ("timedelta64[s]", 1.0),
        ("halffloat", None),
        ("object<float>", None),
    ],
)
def test_step_of_a_dtype(dtype, step):
    assert step_of(dtype) == step


@pytest.mark.parametrize("word", ["__import__('os')", "os.system", "binary", "list<item: int8>"])
@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "numpy", "numpy.ma", "astropy"])
def test_words_that_are_no_dtype(word, library):
    """Nothing that a file says is imported or evaluated."""
    if library == "astropy":
        pytest.importorskip("astropy.table", reason="astropy is not installed")
    schema = Schema((Column("c", "real", word),), library)
    with pytest.raises(DataError, match="column 'c': expected a dtype of"):
        schema.decode(np.zeros((1, 0), int), np.zeros((1, 1)))


def test_zones_are_names_and_not_files():
    word = "datetime64[ns, dateutil//etc/passwd]"
    schema = Schema((Column("c", "datetime", word),), "pandas")
    with pytest.raises(DataError, match="column 'c': expected a dtype of pandas"):
        schema.decode(np.zeros((1, 0), int), np.zeros((1, 1)))


@pytest.mark.parametrize("zone", ["Europe/Berlin", dt.timezone(dt.timedelta(hours=2)), "dateutil"])
def test_zones_of_pandas(zone):
    if zone == "dateutil":
        zone = pytest.importorskip("dateutil.tz").gettz("Asia/Tokyo")
    times = pd.Series(pd.date_range("2024-01-01", periods=9, freq="7h", tz=zone))
    back = round_trip(pd.DataFrame({"t": times}))["t"]
    assert back.dtype == times.dtype
    assert back.tolist() == times.tolist()


def test_extension_types_go_by_the_registry_of_arrow():
    word = arrow_columns.word_of(Celsius())
    assert arrow_columns.type_of(word) == Celsius()
    pa.unregister_extension_type("flowkit.test.celsius")
    try:
        assert arrow_columns.type_of(word) == pa.float64()  # as in any file of Arrow
        column = pa.ExtensionArray.from_storage(Celsius(), pa.array([1.0]))
        with pytest.raises(DataError, match="column 't': expected numbers"):
            Schema.infer(pa.table({"t": column}))
    finally:
        pa.register_extension_type(Celsius())


def test_dictionaries_that_differ_by_chunk():
    one, two = (pa.array(v).dictionary_encode() for v in (["a", "b"], ["c", None, "a"]))
    table = pa.table({"k": pa.chunked_array([one, two])})
    back = round_trip(table)["k"]
    assert back.to_pylist() == ["a", "b", "c", None, "a"]
    with_null = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array(["z", None]))
    table = pa.table({"k": pa.chunked_array([one, with_null])})
    assert round_trip(table)["k"].to_pylist() == ["a", "b", "z", None]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    levels = pd.CategoricalDtype(["y", "unused", "x"], ordered=True)
    return pd.DataFrame(
        {
            "tall": RNG.normal(size=90),
            "kind": pd.Categorical(RNG.choice(["x", "y"], 90), dtype=levels),
            "count": RNG.integers(0, 5, 90).astype("int16"),
            "none": np.full(90, np.nan),
        }
    )


class Capsule:
    """A table of some other library, which hands out its columns."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize(
    ("kind", "back"),
    [
        ("batch", pa.RecordBatch),
        ("narwhals of pandas", nw.DataFrame),
        ("narwhals of polars", nw.DataFrame),
        ("narwhals of arrow", nw.DataFrame),
        ("narwhals, lazy", nw.DataFrame),
        ("polars, lazy", pl.DataFrame),
        ("capsule", pa.Table),
    ],
)
def test_tables_in_other_hands(frame, kind, back, tmp_path):
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    table: Any = {
        "batch": lambda: pa.RecordBatch.from_pandas(frame, preserve_index=False),
        "narwhals of pandas": lambda: nw.from_native(frame),
        "narwhals of polars": lambda: nw.from_native(pl.from_pandas(frame)),
        "narwhals of arrow": lambda: nw.from_native(arrow),
        "narwhals, lazy": lambda: nw.from_native(pl.from_pandas(frame).lazy()),
        "polars, lazy": lambda: pl.from_pandas(frame).lazy(),
        "capsule": lambda: Capsule(arrow),
    }[kind]()
    density = FlowDensity(effort="fast", random_state=0).fit(table)
    assert density.schema_.names == tuple(frame.columns)
    assert density.feature_names_in_.tolist() == list(frame.columns)
    scores = density.score_samples(table)
    alone = FlowDensity(effort="fast", random_state=0).fit(frame)
    assert np.allclose(scores, alone.score_samples(frame))
    density.save(tmp_path / "m.safetensors")
    samples = FlowDensity.load(tmp_path / "m.safetensors").sample(9, random_state=0)
    assert isinstance(samples, back)
    assert set(Schema.infer(samples).columns[1].categories) <= {"x", "y"}


def test_dask_is_computed(frame):
    dask = pytest.importorskip("dask.dataframe", reason="dask is not installed")
    table = dask.from_pandas(frame, npartitions=3)
    density = FlowDensity(effort="fast", random_state=0).fit(table)
    samples = density.sample(9, random_state=0)
    assert samples.dtypes.tolist() == frame.dtypes.tolist()
    assert np.array_equal(density.score_samples(table), density.score_samples(frame))


def test_tables_of_astropy(tmp_path):
    astropy = pytest.importorskip("astropy.table", reason="astropy is not installed")
    mask = HOLES[:90]
    columns = {
        "flux": RNG.normal(size=90).astype(">f8"),
        "band": RNG.choice(["u", "g"], 90),
        "old": np.array([b"ab", b"cd"] * 45),
        "count": astropy.MaskedColumn(RNG.integers(0, 9, 90).astype(">i4"), mask=mask),
        "far": astropy.MaskedColumn(RNG.normal(size=90), mask=mask, unit="km / s"),
    }
    for kind in (astropy.Table, astropy.QTable):
        table = kind(columns)
        density = FlowDensity(effort="fast", random_state=0).fit(table)
        assert np.isfinite(density.score_samples(table)).all()
        density.save(tmp_path / "m.safetensors")
        samples = FlowDensity.load(tmp_path / "m.safetensors").sample(60, random_state=0)
        assert type(samples) is kind
        for name in columns:
            assert samples[name].dtype == table[name].dtype
            assert type(samples[name]) is type(table[name])
            assert str(samples[name].unit) == str(table[name].unit)
        assert 0 < np.asarray(samples["count"].mask).mean() < 0.3
    times = pytest.importorskip("astropy.time").Time(2.4e6 + RNG.random(90), format="jd")
    table["when"] = times
    with pytest.raises(DataError, match="column 'when'.*expected"):
        FlowDensity().fit(table)


def test_tables_of_awkward():
    ak = pytest.importorskip("awkward", reason="awkward is not installed")
    rows = ak.Array(
        {
            "x": RNG.normal(size=90),
            "gap": [None if i % 7 == 0 else float(i) for i in range(90)],
            "word": RNG.choice(["p", "q"], 90).tolist(),
        }
    )
    for extension in (True, False):
        table = ak.to_arrow_table(rows, extensionarray=extension)
        density = FlowDensity(effort="fast", random_state=0).fit(table)
        assert density.sample(9, random_state=0).schema.types == table.schema.types
    lists = ak.to_arrow_table(ak.Array({"jets": [[1.0, 2.0], []]}))
    with pytest.raises(DataError, match="column 'jets': expected numbers"):
        FlowDensity().fit(lists)


def test_command_line_on_parquet_of_every_type(tmp_path):
    """From fit to report; what CSV has no type for is written as what is nearest."""
    columns = {
        name: column
        for name, make in COLUMNS["pyarrow"].items()
        if not pa.types.is_interval((column := make()).type) and "run_end" not in str(column.type)
    }
    few = ("string_view", "decimal128(20, 2)", "decimal32(7, 2)", "time64[us]", "extension uuid")
    few += ("duration[ms]", "ordered dictionary", "dictionary of dates", "null", "extension bool8")
    every = pa.table(columns)
    for table in (every.select(few), every):
        pa.parquet.write_table(table.slice(0, 60), tmp_path / "t.parquet")
        if table is every:  # all of them only read
            stored = pa.parquet.read_table(tmp_path / "t.parquet")
            assert round_trip(stored).schema.types == stored.schema.types
            continue
        model, file = tmp_path / "m.safetensors", tmp_path / "t.parquet"
        write_table(tmp_path / "plain.csv", [pa.parquet.read_table(file)])
        for arguments in (
            ("fit", file, "--out", model, "--effort", "fast", "--empty"),
            ("score", model, file, "--out", tmp_path / "scored.parquet"),
            ("score", model, file, "--out", tmp_path / "scored.csv"),
            ("score", model, tmp_path / "plain.csv", "--out", tmp_path / "again.csv"),
            ("sample", model, "-n", 40, "--out", tmp_path / "new.parquet"),
            ("sample", model, "-n", 40, "--out", tmp_path / "new.csv"),
            ("report", model, file, "--out", tmp_path / "r.html"),
        ):
            result = CliRunner().invoke(app, [str(a) for a in arguments])
            assert result.exit_code == 0, (arguments, result.output)
        new, old = (pa.parquet.read_table(tmp_path / f) for f in ("new.parquet", "t.parquet"))
        assert new.schema.types == old.schema.types
        scores = [
            pa.csv.read_csv(tmp_path / f)["log_density"].to_numpy()
            for f in ("scored.csv", "again.csv")
        ]
        assert np.allclose(*scores)


def test_command_line_samples_of_models_of_other_libraries(tmp_path):
    frame = pd.DataFrame({n: COLUMNS["pandas"][n]() for n in ("period[M]", "pd.cut", "Int8")})
    for table in (frame, pl.DataFrame({"n": COLUMNS["polars"]["Int128"]()})):
        FlowDensity(effort="fast", random_state=0).fit(table).save(tmp_path / "m.safetensors")
        for out in ("new.parquet", "new.csv"):
            model, path = str(tmp_path / "m.safetensors"), str(tmp_path / out)
            arguments = ["sample", model, "-n", "9", "--out", path, "--force"]
            result = CliRunner().invoke(app, arguments)
            assert result.exit_code == 0, result.output


def test_libraries_are_a_closed_list():
    document = Schema.infer(np.ones((3, 1))).to_dict() | {"library": "os"}
    with pytest.raises(ArgumentError, match="library"):
        Schema.from_dict(document)


def test_dtypes_of_files_of_before():
    """Words that earlier model files have: they still name the dtype that they named."""
    assert arrow_columns.type_of("float") == pa.float32()
    assert arrow_columns.type_of("date32[day]") == pa.date32()
    kind = "dictionary<values=string, indices=int32, ordered=0>"
    assert str(arrow_columns.type_of(kind)) == kind
    assert numpy_columns.dtype_of("datetime64[us]") == np.dtype("M8[us]")
    column = Column("c", "categorical", "category", categories=("b", "a"))
    back = Schema((column,), "pandas").decode(np.array([[0], [1]]), np.zeros((2, 0)))["c"]
    assert back.tolist() == ["b", "a"]
    assert isinstance(back.dtype, pd.CategoricalDtype)
    for word, dtype in (("string[pyarrow]", pd.ArrowDtype(pa.string())), ("string", "string")):
        column = Column("c", "categorical", word, categories=("b",))
        back = Schema((column,), "pandas").decode(np.array([[0]]), np.zeros((1, 0)))["c"]
        assert back.dtype == dtype
    column = Column("c", "categorical", "Enum(categories=['a', 'b'])", categories=("b", "a"))
    assert Schema((column,), "polars").decode(np.array([[0]]), np.zeros((1, 0)))["c"][0] == "b"
    assert pandas_columns.read("c", back).values.tolist() == ["b"]
