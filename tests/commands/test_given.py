"""``flowkit sample --given``: conditions as text, and the rows that are drawn given them."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from flowkit import FlowDensity
from flowkit.cli import app
from flowkit.commands.conditions import read_conditions
from flowkit.schema import Column, Schema
from flowkit.tables import read_table

DAY = dt.datetime(2024, 1, 1)
TOWNS = ["Ulm", "a..b", "Ulm, upper", 'the "old" one', "x=y"]


def table(n=90):
    rng = np.random.default_rng(0)
    age = rng.integers(18, 80, n)
    income = rng.lognormal(7 + age / 80, 0.4)
    return pa.table(
        {
            "town": pa.array(rng.choice(TOWNS, n)),
            "age": pa.array(age),
            "income": pa.array(np.where(rng.random(n) < 0.2, np.nan, income), from_pandas=True),
            "owner": pa.array(rng.random(n) < 0.5),
            "a=b": pa.array(rng.normal(size=n)),
            "when": pa.array([DAY + dt.timedelta(hours=int(h)) for h in rng.integers(0, 9000, n)]),
            "dose": pa.array(rng.choice([0.5, 1.0, 2.0], n)),
            "key": [f"k{i:03}" for i in range(n)],
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    FlowDensity(effort="fast", random_state=0).fit(table()).save(folder / "m.safetensors")
    return folder


@pytest.fixture(scope="module")
def schema(folder):
    return FlowDensity.load(folder / "m.safetensors").schema_


def run(folder, out, *items, rows=200, more=()):
    given = [part for item in items for part in ("--given", item)]
    arguments = ["sample", folder / "m.safetensors", "-n", rows, "--out", out, *given, *more]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("age=61", 61),
        ("age= 61", 61),
        ("income=-2.5e3", -2500.0),
        ("income=", None),
        ("age=60..", (60, None)),
        ("age=..30", (None, 30)),
        ("income=-3.5..60", (-3.5, 60)),
        ("age=20,30", {20, 30}),
        ("dose=0.5,2", {0.5, 2}),
        ("owner=true", True),
        ("owner=False", False),
        ("owner=true,false", {True, False}),
        ("town=Ulm", "Ulm"),
        ("town=a..b", "a..b"),
        ("town=x=y", "x=y"),
        ("town=Ulm, upper", "Ulm, upper"),
        ('town="Ulm, upper"', "Ulm, upper"),
        ('town="Ulm, upper", Ulm', {"Ulm", "Ulm, upper"}),
        ('town=the "old" one', 'the "old" one'),
        ('town="the ""old"" one",a..b', {'the "old" one', "a..b"}),
        ("town=Ulm,", {"Ulm", None}),
        ("a=b=0.5", 0.5),
        ("when=2024-03-01", dt.datetime(2024, 3, 1)),
        (
            "when=2024-03-01..2024-03-02T18:30",
            (dt.datetime(2024, 3, 1), dt.datetime(2024, 3, 2, 18, 30)),
        ),
    ],
)
def test_a_text_is_the_condition_of_its_columns_kind(schema, text, condition):
    (found,) = read_conditions([text], schema).values()
    assert found == condition
    assert type(found) is type(condition)


def test_times_of_day_durations_and_zones():
    columns = (
        Column("clock", "circular", "time64[us]", period=86_400.0),
        Column("wait", "positive", "duration[us]"),
        Column("when", "datetime", "timestamp[us, tz=Europe/Berlin]", zone="Europe/Berlin"),
        Column("price", "real"),
    )
    items = ["clock=22:00..4:30", "wait=90:00:30", "when=2024-07-01T12:00"]
    found = read_conditions(items, Schema(columns, "pyarrow"))
    assert found["clock"] == (22 * 3600, 4.5 * 3600)
    assert found["wait"] == 90 * 3600 + 30
    assert found["when"].astimezone(dt.UTC) == dt.datetime(2024, 7, 1, 10, tzinfo=dt.UTC)


def test_the_longest_name_is_the_columns():
    columns = (Column("a", "real"), Column("a=b", "real"), Column("c", "real"))
    schema = Schema(columns, "pyarrow")
    assert read_conditions(["a=b=1", "a=2"], schema) == {"a=b": 1, "a": 2}


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["agee=61"], "given: there is no column 'agee'; the columns are town, age"),
        (["age"], "given: expected COLUMN=VALUE, got 'age'"),
        (["=3"], "given: expected COLUMN=VALUE, got '=3'"),
        (["age=60..", "age=..70"], "given: column 'age' stands twice"),
        (["age=60..30"], "column 'age': the range (60, 30) ends before it starts"),
        (["age=.."], "column 'age': expected a number, a range such as 30..60"),
        (["age=old"], "column 'age': expected a number, a range such as 30..60"),
        (["income=nan"], "column 'income': expected a number"),
        (["income=1e999"], "column 'income': expected a number"),
        (["age=61.5"], "column 'age': expected an integer"),
        (["age="], "column 'age': the fit saw no missing value"),
        (["town=Bonn"], "column 'town': the fit has not seen 'Bonn'; it has seen "),
        (["town=Ulm,Bonn"], "column 'town': the fit has not seen 'Bonn'; it has seen "),
        (['town="Ulm'], "column 'town': expected texts separated by commas"),
        (["dose=1.5"], "column 'dose': the fit has not seen 1.5; its only values are 0.5, 1, 2"),
        (["when=yesterday"], "column 'when': expected a time, a range such as 2024-01-31.."),
        (["when=2024-01-01T00:00+02:00"], "column 'when': expected a time without a zone"),
        (
            [
                "town=Ulm",
                "age=61",
                "income=900",
                "owner=true",
                "a=b=0",
                "when=2024-03-01",
                "dose=1",
            ],
            "given: every column has a value, so that no column is left to draw; leave one out",
        ),
    ],
)
def test_wrong_conditions_are_one_sentence_and_write_nothing(folder, tmp_path, items, message):
    code, output = run(folder, tmp_path / "out.csv", *items)
    assert code == 2, output
    assert output.startswith("flowkit: ")
    assert message in output
    assert list(tmp_path.iterdir()) == []


def test_values_stand_in_their_columns_and_the_rest_is_drawn_as_in_python(folder, tmp_path):
    items = ["when=2024-03-01T06:30", "income=1234.56", "town=a..b,Ulm", "age=60..", "owner=true"]
    code, output = run(folder, tmp_path / "out.parquet", *items)
    assert code == 0, output
    assert "log-density of the conditions: -" in output
    written = pa.parquet.read_table(tmp_path / "out.parquet")
    assert written.schema.names == table().schema.names
    assert written.schema.types == table().schema.types
    assert set(written["when"].to_pylist()) == {dt.datetime(2024, 3, 1, 6, 30)}
    assert set(written["income"].to_pylist()) == {1234.56}
    assert set(written["owner"].to_pylist()) == {True}
    assert set(written["town"].to_pylist()) == {"a..b", "Ulm"}
    assert min(written["age"].to_pylist()) >= 60
    conditional = FlowDensity.load(folder / "m.safetensors").given(
        {
            "when": dt.datetime(2024, 3, 1, 6, 30),
            "income": 1234.56,
            "town": {"a..b", "Ulm"},
            "age": (60, None),
            "owner": True,
        }
    )
    drawn = conditional.sample(200, random_state=0)
    assert written.select(conditional.columns).to_pydict() == drawn.to_pydict()
    assert f"conditions: {conditional.log_evidence:.3f}" in output


def test_a_missing_value_stands_as_a_hole(folder, tmp_path):
    code, output = run(folder, tmp_path / "out.csv", "income=", "town=Ulm, upper", rows=5)
    assert code == 0, output
    written = read_table(tmp_path / "out.csv", empty=True).table
    assert written["income"].null_count == 5
    assert written["town"].to_pylist() == ["Ulm, upper"] * 5


def test_the_seed_decides_the_draws(folder, tmp_path):
    texts = []
    for k, seed in enumerate((3, 3, 4)):
        out = tmp_path / f"{k}.csv"
        assert run(folder, out, "age=30", rows=20, more=("--seed", seed))[0] == 0
        texts.append(out.read_text())
    assert texts[0] == texts[1] != texts[2]


def test_batches_are_the_rows_of_a_sample(folder, monkeypatch):
    monkeypatch.setattr("flowkit.tabular.conditioning.conditional._AT_ONCE", 64)
    conditional = FlowDensity.load(folder / "m.safetensors").given({"age": (60, None)})
    batches = list(conditional.sample_batches(150, random_state=5))
    assert [len(batch) for batch in batches] == [64, 64, 22]
    assert pa.concat_tables(batches).equals(conditional.sample(150, random_state=5))


def test_a_model_of_another_library_and_an_array(tmp_path):
    rows = np.random.default_rng(0).normal(size=(60, 3))
    FlowDensity(effort="fast", random_state=0).fit(rows).save(tmp_path / "m.safetensors")
    code, output = run(tmp_path, tmp_path / "a.csv", "x1=0.5", "x0=0..", rows=30)
    assert code == 0, output
    written = read_table(tmp_path / "a.csv").table
    assert written.column_names == ["x0", "x1", "x2"]
    assert set(written["x1"].to_pylist()) == {0.5}
    assert min(written["x0"].to_pylist()) >= 0
    frame = table().to_pandas()
    frame["town"] = frame["town"].astype("category")
    FlowDensity(effort="fast", random_state=0).fit(frame).save(tmp_path / "m.safetensors")
    code, output = run(tmp_path, tmp_path / "f.csv", "town=Ulm, upper", "when=2024-03-01", rows=3)
    assert code == 0, output
    written = read_table(tmp_path / "f.csv").table
    assert written.column_names == list(frame.columns)
    assert written["town"].to_pylist() == ["Ulm, upper"] * 3


def test_a_value_that_the_columns_type_cannot_hold(tmp_path):
    rng = np.random.default_rng(0)
    frame = pa.table({"n": rng.integers(0, 900, 60), "x": rng.normal(size=60)})
    density = FlowDensity(effort="fast", schema={"n": "real"}, random_state=0).fit(frame)
    density.save(tmp_path / "m.safetensors")
    code, output = run(tmp_path, tmp_path / "o.csv", "n=61.5", rows=3)
    assert code == 2
    assert "column 'n': 61.5 is no value of its type, int64; the nearest is 62" in output
    assert not (tmp_path / "o.csv").exists()
