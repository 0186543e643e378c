"""``flowkit impute``: holes filled as in Python, every other cell as it was."""

import decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from flowkit import FlowDensity
from flowkit.cli import app
from flowkit.tables import read_table


def table(n=80, seed=0):
    """Return a table without holes."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, n)
    return pa.table(
        {
            "key": [f"k{i:03}" for i in range(n)],
            "town": pa.array(rng.choice(["Ulm", "Bonn"], n)).dictionary_encode(),
            "age": age,
            "income": rng.lognormal(7 + age / 80, 0.4),
            "when": pa.array(17 * 10**17 + rng.integers(0, 10**15, n), pa.timestamp("ns")),
            "rent": pa.array([decimal.Decimal(int(c)) / 4 for c in rng.integers(900, 4000, n)]),
        }
    )


HOLES = {"town": [2], "age": [2, 5], "income": [5, 6, 29], "when": [8], "key": [7]}


def with_holes():
    rows = table(30, seed=1)
    for name, missing in (
        ("town", [2]),
        ("age", [2, 5]),
        ("income", [5, 6, 29]),
        ("when", [8]),
        ("key", [7]),
    ):
        column = rows[name].to_pylist()
        for i in missing:
            column[i] = None
        at = rows.column_names.index(name)
        rows = rows.set_column(at, name, pa.array(column, rows[name].type))
    return rows.append_column("note", pa.array(["a note", None] * 15))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("impute")
    FlowDensity(effort="fast", random_state=0).fit(table()).save(folder / "m.safetensors")
    pa.parquet.write_table(with_holes(), folder / "holes.parquet")
    return folder


def run(folder, path, out, *more):
    arguments = ["impute", folder / "m.safetensors", path, "--out", out, *more]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize(("more", "method"), [([], "draw"), (["--mean"], "mean")])
def test_holes_are_filled_as_in_python_and_all_else_stays(folder, tmp_path, more, method):
    code, output = run(folder, folder / "holes.parquet", tmp_path / "o.parquet", "--seed", 4, *more)
    assert code == 0, output
    before, written = with_holes(), pa.parquet.read_table(tmp_path / "o.parquet")
    assert written.schema.equals(before.schema)
    density = FlowDensity.load(folder / "m.safetensors")
    same = density.impute(before.drop_columns(["note"]), method=method, random_state=4)
    for name in before.column_names:
        old, new = before[name].to_pylist(), written[name].to_pylist()
        filled = same[name].to_pylist() if name in ("town", "age", "income", "when") else old
        assert new == [f if o is None else o for o, f in zip(old, filled, strict=True)], name
    assert written.select(["town", "age", "income", "when"]).to_pandas().notna().all(axis=None)
    assert "town: 1 missing cell filled - age: 2 missing cells filled" in output
    assert "income: 3 missing cells filled" in output
    assert "key: 1 missing cell left, as the column is no part of the density" in output
    assert "o.parquet:30rows" in output.replace(" ", "")  # long paths are wrapped


def test_several_draws_stand_one_after_the_other(folder, tmp_path):
    code, output = run(folder, folder / "holes.parquet", tmp_path / "o.parquet", "-n", 3)
    assert code == 0, output
    assert "30 rows for each of 3 draws" in output
    written = pa.parquet.read_table(tmp_path / "o.parquet")
    assert written.column_names == [*with_holes().column_names, "draw"]
    assert written["draw"].to_pylist() == [1] * 30 + [2] * 30 + [3] * 30
    density = FlowDensity.load(folder / "m.safetensors")
    drawn = density.impute(with_holes().drop_columns(["note"]), 3, random_state=0)
    for k, one in enumerate(drawn):
        part = written.slice(30 * k, 30)
        assert part["income"].to_pylist() == one["income"].to_pylist()
        assert part["town"].to_pylist() == one["town"].to_pylist()
    incomes = {part["income"][5].as_py() for part in drawn}
    assert len(incomes) == 3


def test_a_table_without_holes_stays_as_it_is(folder, tmp_path):
    pa.parquet.write_table(table(), tmp_path / "whole.parquet")
    code, output = run(folder, tmp_path / "whole.parquet", tmp_path / "o.parquet")
    assert code == 0, output
    assert "no cell is missing" in output
    assert pa.parquet.read_table(tmp_path / "o.parquet").equals(table())


def test_what_a_hole_is_follows_the_reader(folder, tmp_path):
    rows = ["a,Ulm,-9,900.5,D,250", "b,Bonn,30,,D,300", "c,-9,40,800,D,260"]
    lines = [
        "key,town,age,income,when,rent",
        *(row.replace("D", "2023-11-18 01:02") for row in rows),
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    code, output = run(folder, tmp_path / "t.csv", tmp_path / "o.csv", "--missing", "-9")
    assert code == 0, output
    assert "town: 1 missing cell filled - age: 1 missing cell" in output
    written = read_table(tmp_path / "o.csv").table
    assert written["income"].to_pylist()[::2] == [900.5, 800.0]
    assert written["town"].to_pylist()[:2] == ["Ulm", "Bonn"]
    assert written["town"][2].as_py() in ("Ulm", "Bonn")
    assert min(written["age"].to_pylist()) > 0


def test_columns_without_any_value_are_filled(folder, tmp_path):
    lines = ["key,town,age,income,when,rent", *(f"k{i},,,,,{300 + i}" for i in range(9))]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    code, output = run(folder, tmp_path / "t.csv", tmp_path / "o.csv")
    assert code == 0, output
    written = read_table(tmp_path / "o.csv").table
    assert set(written["town"].to_pylist()) == {"Ulm", "Bonn"}
    assert written["age"].type == pa.int64()
    assert written.to_pandas().notna().all(axis=None)


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--mean", "-n", "2"], 2, "mean: each cell has one mean; leave out --mean or --draws"),
        (["-n", "0"], 2, "Invalid value for '--draws'"),
        (["--drop", "age"], 3, "column 'age': expected a column of that name"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(folder, tmp_path, more, code, message):
    got, output = run(folder, folder / "holes.parquet", tmp_path / "o.parquet", *more)
    assert got == code, output
    assert message in output
    assert list(tmp_path.iterdir()) == []


def test_a_column_draw_of_the_table_is_not_replaced(folder, tmp_path):
    rows = with_holes().append_column("draw", pa.array(range(30)))
    pa.parquet.write_table(rows, tmp_path / "t.parquet")
    code, output = run(folder, tmp_path / "t.parquet", tmp_path / "o.parquet", "-n", 2)
    assert code == 3
    assert "column 'draw': the number of the draw has no place" in output
    assert run(folder, tmp_path / "t.parquet", tmp_path / "o.parquet")[0] == 0


def test_an_existing_file_is_left_alone(folder, tmp_path):
    (tmp_path / "o.parquet").write_text("mine")
    assert run(folder, folder / "holes.parquet", tmp_path / "o.parquet")[0] == 2
    assert (tmp_path / "o.parquet").read_text() == "mine"
    assert run(folder, folder / "holes.parquet", tmp_path / "no" / "o.parquet")[0] == 4
