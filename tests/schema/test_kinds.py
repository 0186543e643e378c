"""Kinds in plain words, identifiers, schemas as files, and row weights from a column."""

import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from flowkit import FlowDensity
from flowkit.cli import app
from flowkit.errors import ArgumentError, DataError
from flowkit.schema import Schema, read_schema, write_schema

RNG = np.random.default_rng(0)
N = 60
TABLE = pd.DataFrame({
    "email": [f"person{i:02d}@example.org" for i in range(N)],
    "x": RNG.normal(size=N),
    "smokes": RNG.random(N) < 0.3,
    "zip": RNG.choice(["02139", "00501", "94110"], N),
})  # fmt: skip


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def kinds(table, **overrides):
    return {c.name: c.kind for c in Schema.infer(table, overrides).columns}


def test_text_that_differs_in_each_row_is_an_identifier():
    assert kinds(TABLE)["email"] == "identifier"
    assert kinds(TABLE.iloc[:19])["email"] == "categorical"  # too few rows to know
    repeated = TABLE.assign(email=TABLE["email"].str[:7])  # six values
    assert kinds(repeated)["email"] == "categorical"
    assert kinds(TABLE, email="categorical")["email"] == "categorical"


def test_identifiers_are_not_modelled_and_not_stored_and_samples_are_numbered(tmp_path):
    density = FlowDensity(effort="fast", random_state=0).fit(TABLE)
    without = TABLE.drop(columns="email")
    alone = FlowDensity(effort="fast", random_state=0).fit(without)
    assert density.score_samples(TABLE) == pytest.approx(alone.score_samples(without), abs=1e-12)
    assert density.score_samples(without) == pytest.approx(density.score_samples(TABLE))
    drawn = density.sample(70, random_state=0)
    assert drawn["email"].tolist() == [str(i) for i in range(1, 71)]
    assert drawn["email"].dtype == TABLE["email"].dtype
    density.save(tmp_path / "m.safetensors")
    assert b"person0" not in (tmp_path / "m.safetensors").read_bytes()


def test_samples_in_pieces_go_on_counting(monkeypatch):
    monkeypatch.setattr("flowkit.tabular.model.CHUNK", 32)
    density = FlowDensity(effort="fast", random_state=0).fit(TABLE)
    pieces = list(density.sample_batches(70, random_state=0))
    assert [len(piece) for piece in pieces] == [32, 32, 6]
    numbers = [value for piece in pieces for value in piece["email"]]
    assert numbers == [str(i) for i in range(1, 71)]
    # The same rows as at once.
    whole = density.sample(70, random_state=0)
    assert whole["x"].tolist() == [value for piece in pieces for value in piece["x"]]


def test_numbers_can_be_identifiers_when_told():
    table = pa.table({"id": np.arange(100, 160), "x": RNG.normal(size=60)})
    density = FlowDensity(effort="fast", random_state=0, schema={"id": "identifier"}).fit(table)
    assert density.sample(3, random_state=0)["id"].to_pylist() == [1, 2, 3]
    assert density.sample(3, random_state=0).schema.field("id").type == pa.int64()


def test_identifiers_alone_are_refused():
    with pytest.raises(DataError, match="a column to model"):
        Schema.infer(TABLE[["email"]])


@pytest.mark.parametrize(
    ("word", "values", "kind"),
    [
        ("boolean", RNG.random(N) < 0.5, "categorical"),
        ("code", RNG.choice(["a", "b"], N), "categorical"),
        ("count", RNG.poisson(3, N), "integer"),
        ("number", RNG.poisson(3, N), "real"),
        ("time", RNG.uniform(0, 86_400, N), "circular"),
        ("date", pd.date_range("2024-01-01", periods=N), "datetime"),
    ],
)
def test_kinds_have_plain_words(word, values, kind):
    (column,) = Schema.infer(pd.DataFrame({"c": values}), {"c": word}).columns
    assert column.kind == kind
    if word == "time":
        assert column.period == 86_400


def test_schemas_say_kinds_in_plain_words():
    table = TABLE.assign(
        hour=pd.to_timedelta(RNG.integers(0, 500, N), "s"),
        size=pd.Categorical(RNG.choice(["S", "L"], N), ["S", "M", "L"], ordered=True),
        flag=RNG.integers(0, 2, N),
    )
    lines = dict(line.split(maxsplit=1) for line in str(Schema.infer(table)).splitlines())
    assert lines["smokes"] == "boolean"
    assert lines["flag"].startswith("boolean")
    assert lines["hour"].startswith("duration")
    assert lines["size"].startswith("ordered category, 2 (1 more without a row): in order S, L")
    assert lines["email"].startswith("identifier")


def test_words_for_yes_and_no_are_booleans_that_stay_words():
    table = pa.table({"a": ["Ja", "Nein", None] * 20, "b": ["x", "y", "x"] * 20})
    schema = Schema.infer(table)
    assert schema.describe().splitlines() == [
        "a  boolean: Ja, Nein, may be missing",
        "b  categorical, 2: x, y",
    ]
    encoded = schema.encode(table)
    assert schema.decode(encoded.codes, encoded.values)["a"].to_pylist() == table["a"].to_pylist()


def test_a_schema_of_many_columns_is_quick():
    """Ten thousand took minutes, when each column looked at the names of all."""
    table = pa.table({f"v{j}": [1.5, 2.5, j] for j in range(3000)})
    start = time.process_time()
    Schema.infer(table).describe(table)
    assert time.process_time() - start < 20


def test_schema_files_come_back(tmp_path):
    schema, path = Schema.infer(TABLE), tmp_path / "s.toml"
    write_schema(path, schema, {"separator": ";", "missing": ("?",)})
    overrides, reading = read_schema(path)
    assert reading == {"separator": ";", "missing": ("?",)}
    assert Schema.infer(TABLE, overrides) == schema


def test_edited_schemas_are_kept_to(tmp_path):
    table, path, model = tmp_path / "t.csv", tmp_path / "s.toml", tmp_path / "m.safetensors"
    rows = [f"{i % 7};{(i * 31 % 50) / 7:.2f};t{i % 3}" for i in range(60)]
    table.write_text("\n".join(["level;x;note", *(r.replace(".", ",") for r in rows)]))
    result = run("schema", table, "--separator", ";", "--out", path)
    assert result.exit_code == 0, result.output
    assert "read `,` as decimal mark" in result.output
    text = path.read_text()
    assert 'separator = ";"' in text
    edited = text.replace('[columns.level]\nkind = "integer"', '[columns.level]\nkind = "real"')
    assert edited != text
    path.write_text(edited.replace("[columns.note]\n", "[columns.note]\ndrop = true\n"))
    result = run("fit", table, "--schema", path, "--effort", "fast", "--out", model)
    assert result.exit_code == 0, result.output
    found = FlowDensity.load(model).schema_
    assert {c.name: c.kind for c in found.columns} == {"level": "real", "x": "real"}


def test_schema_files_keep_that_there_is_no_header(tmp_path):
    table, path = tmp_path / "t.csv", tmp_path / "s.toml"
    table.write_text("level,x\n" + "\n".join(f"a{i % 3},b{i % 2}" for i in range(60)) + "\n")
    result = run("schema", table, "--no-header", "--out", path)
    assert result.exit_code == 0, result.output
    overrides, reading = read_schema(path)
    assert (list(overrides), reading["header"]) == (["x0", "x1"], False)
    result = run("fit", table, "--schema", path, "--effort", "fast",
                 "--out", tmp_path / "m.safetensors")  # fmt: skip
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("columns = 3\n", "tables"),
        ("x = 1\n", "tables"),
        ("[columns]\nx = 'real'\n", "options of column 'x'"),
        ("[columns.x]\nkind = \n", "line 2"),
        ("[columns.x]\nkind = 'odd'\n", "kind"),
        ("[columns.y]\nkind = 'real'\n", "names of columns"),
    ],
)
def test_bad_schema_files_are_named(tmp_path, text, message):
    table, path = tmp_path / "t.csv", tmp_path / "s.toml"
    table.write_text("x\n1.5\n2.5\n3.25\n")
    path.write_text(text)
    result = run("fit", table, "--schema", path, "--out", tmp_path / "m.safetensors")
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert not (tmp_path / "m.safetensors").exists()


def test_schema_without_a_file():
    with pytest.raises(ArgumentError, match="schema"):
        read_schema("nowhere.toml")


def test_weights_come_from_a_column(tmp_path):
    table, model = tmp_path / "t.csv", tmp_path / "m.safetensors"
    rows = pd.DataFrame({"x": RNG.normal(size=80), "w": RNG.integers(0, 4, 80)})
    rows.to_csv(table, index=False)
    result = run("fit", table, "--weights", "w", "--holdout", "0", "--effort", "fast",
                 "--out", model)  # fmt: skip
    assert result.exit_code == 0, result.output
    x = pa.table({"x": rows["x"].to_numpy()})
    told = FlowDensity(effort="fast", random_state=0).fit(x, sample_weight=rows["w"].to_numpy())
    equal = FlowDensity(effort="fast", random_state=0).fit(x)
    found = FlowDensity.load(model)
    assert found.schema_.names == ("x",)
    assert found.score_samples(x) == pytest.approx(told.score_samples(x), abs=1e-9)
    assert np.abs(found.score_samples(x) - equal.score_samples(x)).max() > 1e-3


@pytest.mark.parametrize(
    ("cells", "message", "code"),
    [
        (("1.5,a", "2.5,b", "3.5,a"), "numbers, to be weights", 3),
        (("1.5,1", "2.5,-1", "3.5,2"), "row 1", 3),
        (("1.5,1", "2.5,", "3.5,2"), "row 1", 3),
        (None, "a column: x, w", 2),
    ],
)
def test_bad_weights_are_named(tmp_path, cells, message, code):
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["x,w", *(cells or ("1.5,1", "2.5,2", "3.5,1"))]) + "\n")
    name = "w" if cells else "v"
    result = run("fit", table, "--weights", name, "--out", tmp_path / "m.safetensors")
    assert result.exit_code == code, result.output
    assert message in result.output
