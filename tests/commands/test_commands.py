"""The command line: tables in files, models in files, exit codes."""

import json
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from flowkit import FlowDensity
from flowkit.cli import app
from flowkit.schema.holdout import split_again
from flowkit.tables import TableFile, TableWriter, read_table

CSV = "tall,kind,count\n" + "".join(
    f"{x:.4f},{'ab'[i % 2]},{i % 5}\n"
    for i, x in enumerate(np.random.default_rng(0).normal(size=90))
)


def run(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    (folder / "table.csv").write_text(CSV)
    code, output = run("fit", folder / "table.csv", "--out", folder / "m.safetensors")
    assert code == 0, output
    assert "tall   real" in output
    assert "fitted to 81 rows" in output
    return folder


def test_score_adds_two_columns(folder, tmp_path):
    for name in ("scored.csv", "scored.csv.gz", "scored.parquet", "scored.tsv"):
        code, output = run(
            "score", folder / "m.safetensors", folder / "table.csv", "--out", tmp_path / name
        )
        assert code == 0, output
        scored = read_table(tmp_path / name).table
        assert scored.column_names == ["tall", "kind", "count", "log_density", "percentile"]
        assert scored.num_rows == 90
        percentile = scored["percentile"].to_numpy()
        assert percentile.min() < 10
        assert percentile.max() > 90
        order = np.argsort(scored["log_density"].to_numpy())
        assert (np.diff(percentile[order]) >= 0).all()


def test_sample_has_the_types_of_the_table(folder, tmp_path):
    code, output = run(
        "sample", folder / "m.safetensors", "-n", 500, "--out", tmp_path / "new.parquet"
    )
    assert code == 0, output
    new = pa.parquet.read_table(tmp_path / "new.parquet")
    assert new.schema.types == read_table(folder / "table.csv").table.schema.types
    assert new.num_rows == 500
    assert set(new["kind"].to_pylist()) == {"a", "b"}
    assert min(new["count"].to_pylist()) >= 0
    # The same rows as in Python, for the same seed.
    drawn = FlowDensity.load(folder / "m.safetensors").sample(500, random_state=0)
    assert new.to_pydict() == drawn.to_pydict()


def test_inspect(folder):
    code, output = run("inspect", folder / "m.safetensors", "--json")
    assert code == 0
    document = json.loads(output)
    assert document["run"]["rows"] == 81
    assert document["rows_stored"] is False
    assert sum(m["weight"] for m in document["members"]) == pytest.approx(1)
    assert "No row of the table is stored" in run("inspect", folder / "m.safetensors")[1]


def test_report_knows_the_rows_that_were_held_out(folder, tmp_path):
    table = read_table(folder / "table.csv").table
    pa.parquet.write_table(table, tmp_path / "same.parquet")
    pa.parquet.write_table(table.slice(0, 50), tmp_path / "other.parquet")
    documents = {}
    for name in (folder / "table.csv", tmp_path / "same.parquet", tmp_path / "other.parquet"):
        out = tmp_path / f"{name.stem}.html"
        code, output = run("report", folder / "m.safetensors", name, "--out", out)
        assert code == 0, output
        assert out.read_text().startswith("<!DOCTYPE html>")
        documents[name.stem] = json.loads(out.with_suffix(".json").read_text())
    document = documents["table"]
    assert (document["rows"]["held_out"], document["rows"]["training"]) == (9, 81)
    assert documents["same"] == document  # rows are known again in any kind of file
    other = documents["other"]
    assert (other["rows"]["held_out"], other["rows"]["training"]) == (50, None)
    assert "not fitted to this table" in other["notes"][0]
    # The rows held out are the very ones that `fit` had scored and not seen.
    density = FlowDensity.load(folder / "m.safetensors")
    scores = density.score_samples(table)
    kept, held_out = split_again(density.schema_.encode(table), density.run_["split"])
    assert (len(kept), len(held_out)) == (density.run_["rows"], 9)
    likelihood = document["likelihood"]["flowkit"]
    assert likelihood["mean"] == pytest.approx(scores[held_out].mean())
    assert likelihood["training_rows"]["mean"] == pytest.approx(scores[kept].mean())
    for entry in document["unlikely"]:
        assert entry["log_density"] == pytest.approx(scores[entry["row"]])
        assert entry["fitted_to"] == (entry["row"] in kept)


def test_report_of_rows_that_were_all_fitted_to(folder, tmp_path):
    model = tmp_path / "m.safetensors"
    assert run("fit", folder / "table.csv", "--out", model, "--holdout", "0")[0] == 0
    code, output = run("report", model, folder / "table.csv", "--out", tmp_path / "r.html")
    assert code == 0
    assert "so scores and calibration are too good" in " ".join(output.split())
    assert run("report", model, folder / "table.csv", "--out", tmp_path / "r.html")[0] == 2
    assert run("report", model, folder / "table.csv", "--out", tmp_path / "r.pdf")[0] == 2
    code, _ = run("report", model, folder / "none.csv", "--out", tmp_path / "s.html")
    assert code == 3
    assert {p.name for p in tmp_path.iterdir()} == {"m.safetensors", "r.html", "r.json"}


def test_help_loads_nothing_heavy():
    code = (
        "import sys, flowkit.cli; print({'torch', 'numpy', 'sklearn', 'pyarrow'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_beside_a_gaussian(tmp_path):
    rows = np.random.default_rng(0).normal(size=(90, 2))
    pa.parquet.write_table(pa.table({"x": rows[:, 0], "y": rows[:, 1]}), tmp_path / "t.parquet")
    code, output = run("fit", tmp_path / "t.parquet", "--out", tmp_path / "m.safetensors")
    assert code == 0, output
    assert "Gaussian" in output


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (None, 3, "none at"),
        ("", 3, "table"),
        ("x,y\n", 3, "at least one row"),
        ("x,y\n1,2\n3\n", 3, "expected 2 columns"),
        ("x,y\n1,inf\n2,3\n", 3, "column 'y', row 0"),
        ("x,y\n,\n,\n", 3, "at least one row"),
        ("x,y\n1,2\n", 3, "at least 2 rows"),
        ("x\n" + "".join(f"{i}.5\n" for i in range(20)) + "high\n", 3, "column 'x', row 20"),
        ("x\n" + "".join(f"{i}.5\n" for i in range(20)) + "high\n", 3, "line 22 of the file"),
    ],
)
def test_bad_tables(tmp_path, content, code, message):
    if content is not None:
        (tmp_path / "t.csv").write_text(content)
    got, output = run("fit", tmp_path / "t.csv", "--out", tmp_path / "m.safetensors")
    assert got == code, output
    assert message in output.replace("\n", " ")
    assert not (tmp_path / "m.safetensors").exists()


def test_bad_usage(folder, tmp_path):
    table, model = folder / "table.csv", folder / "m.safetensors"
    assert run("fit", table, "--out", model)[0] == 2  # it exists
    assert run("fit", table, "--out", tmp_path / "m.txt")[0] == 2
    assert run("fit", table, "--out", tmp_path / "m.safetensors", "--column", "tall")[0] == 2
    code, output = run("fit", table, "--out", tmp_path / "n.safetensors", "--column", "no=real")
    assert code == 2
    assert "'no'" in output
    assert run("fit", table, "--out", tmp_path / "no" / "m.safetensors")[0] == 4
    assert run("fit", table)[0] == 2


def test_bad_rows_at_scoring(folder, tmp_path):
    out = tmp_path / "out.csv"
    for content, message in (
        ("tall,kind\n1.0,a\n", "column 'count'"),
        ("tall,kind,count\n1.0,a,1\nhigh,a,1\n", "high"),
        ("tall,kind,count\n1.0,a,1\n,a,1\n", "column 'tall', row 1"),
    ):
        (tmp_path / "t.csv").write_text(content)
        code, output = run("score", folder / "m.safetensors", tmp_path / "t.csv", "--out", out)
        assert code == 3
        assert message in output.replace("\n", " ")
        assert {p.name for p in tmp_path.iterdir()} == {"t.csv"}


def test_bad_model_files(folder, tmp_path):
    content = (folder / "m.safetensors").read_bytes()
    for name, damaged in (
        ("cut", content[:1000]),
        ("edited", content.replace(b"default", b"fastest")),
        ("text", b"no model"),
    ):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(damaged)
        code, output = run("inspect", path)
        assert code == 4, output
        assert name in output.replace("\n", "")


def test_a_full_disk_leaves_nothing(tmp_path):
    """A limit on the size of files stands for the disk."""
    code = (
        "import resource, signal, sys, pyarrow as pa\n"
        "from flowkit.tables import TableWriter\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "with TableWriter(sys.argv[1]) as writer:\n"
        "    writer.write(pa.table({'x': list(range(100_000))}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "big.csv")], capture_output=True, text=True
    )
    assert "DataError: out: expected a place to write to" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 10_000


def test_an_interrupted_table_is_not_there(tmp_path):
    with pytest.raises(KeyboardInterrupt), TableWriter(tmp_path / "t.csv") as writer:
        writer.write(pa.table({"x": [1.0]}))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_decimal_in_the_last_row_makes_the_whole_column_real(tmp_path):
    lines = ["x"] + [str(i) for i in range(300_000)] + ["0.5"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    with TableFile(tmp_path / "t.csv") as file:
        batches = list(file.batches())
    assert len(batches) > 1
    assert {batch.schema.field("x").type for batch in batches} == {pa.float64()}
    assert batches[-1]["x"][-1].as_py() == 0.5


def test_every_guess_is_printed_and_can_be_overruled(tmp_path):
    rows = [f"{i % 9},{i % 7}5;0{i % 3}" for i in range(60)]
    (tmp_path / "t.csv").write_text("size;code\n" + "\n".join(rows) + "\n?;01\n")
    model = tmp_path / "m.safetensors"
    code, output = run("fit", tmp_path / "t.csv", "--out", model, "--effort", "fast")
    assert code == 0, output
    said = " ".join(output.split())
    for note in (
        "read `;` as separator (--separator)",
        "read `,` as decimal mark (--decimal)",
        "size: `?` in 1 row taken as missing (--present '?')",
        "code: text, as `00` starts with a zero (--column code=number)",
    ):
        assert note in said
    arguments = ("--separator", ";", "--decimal", ",", "--drop", "code", "--missing", "?")
    code, output = run("fit", tmp_path / "t.csv", "--out", model, "--force", *arguments)
    assert code == 0, output
    assert "code" not in output


def test_sentinels_are_printed_once(tmp_path):
    rows = [f"{-999 if i % 9 == 4 else i % 70 / 8},{i % 5}" for i in range(90)]
    (tmp_path / "t.csv").write_text("size,n\n" + "\n".join(rows) + "\n")
    code, output = run("schema", tmp_path / "t.csv")
    assert code == 0, output
    assert output.count("-999") == 2, output
    assert "point mass at -999 in 10 rows" in output
    assert "(--missing -999 if it stands for a missing value)" in output
    code, output = run("schema", tmp_path / "t.csv", "--missing", "-999")
    assert "may be missing" in output


def test_a_table_is_scored_as_the_one_before_was_read(tmp_path):
    """Day and month, and a code that looks like a missing value, are not guessed anew."""
    days = [f"{i % 28 + 1}/{i % 12 + 1}/2023" for i in range(90)]
    codes = ["NA", "DE", "ZA"]
    rows = [f"{day},{codes[i % 3]},{i % 7}.5" for i, day in enumerate(days)]
    (tmp_path / "t.csv").write_text("day,code,x\n" + "\n".join(rows) + "\n")
    model = tmp_path / "m.safetensors"
    code, output = run("fit", tmp_path / "t.csv", "--out", model, "--effort", "fast")
    assert code == 0, output
    (tmp_path / "u.csv").write_text("day,code,x\n3/4/2023,NA,1.5\n5/6/2023,NA,2.5\n")
    code, output = run("score", model, tmp_path / "u.csv", "--out", tmp_path / "s.parquet")
    assert code == 0, output
    scored = pa.parquet.read_table(tmp_path / "s.parquet")
    assert [day.isoformat() for day in scored["day"].to_pylist()] == ["2023-04-03", "2023-06-05"]
    assert scored["code"].to_pylist() == ["NA", "NA"]
    (tmp_path / "v.csv").write_text("day,code,x,more\n3/4/2023,NA,1.5,\n")
    code, output = run("score", model, tmp_path / "v.csv", "--out", tmp_path / "v.parquet")
    assert code == 0, output
    assert "more" in pa.parquet.read_table(tmp_path / "v.parquet").column_names


def test_ctrl_c_writes_the_best_so_far(tmp_path):
    rows = np.random.default_rng(0).normal(size=(9_000, 4))
    np.savetxt(tmp_path / "t.csv", rows, delimiter=",", header="a,b,c,d", comments="")
    command = [sys.executable, "-m", "flowkit.cli", "fit", "t.csv", "--out", "m.safetensors"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:  # the schema is printed, then the fit begins
        if line.startswith("d"):
            break
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "interrupted; this is the best so far" in said
    assert FlowDensity.load(tmp_path / "m.safetensors").run_["ended_early"]


@pytest.fixture(scope="module")
def houses(tmp_path_factory):
    """A table with an index, a category and a column that is dropped by its schema."""
    folder = tmp_path_factory.mktemp("houses")
    rng = np.random.default_rng(0)
    rows = [
        f"{1000 + i};{rng.normal():.3f};{'Ulm' if i % 3 else 'Bonn'};{'A' if i % 9 else 'k.A.'}"
        for i in range(90)
    ]
    (folder / "houses.csv").write_text("ref;size;town;class\n" + "\n".join(rows) + "\n")
    (folder / "houses.toml").write_text(
        '[reading]\nmissing = ["k.A."]\ndrop = ["town"]\n'
        "[columns.ref]\ndrop = true\n"
        '[columns.town]\nkind = "categorical"\n'
        '[columns.class]\nkind = "categorical"\ncategories = ["A", "k.A."]\n'
    )
    return folder


def test_schema_files_drop_columns_and_categories_that_are_missing(houses):
    out = houses / "by_schema.safetensors"
    code, output = run(
        "fit", houses / "houses.csv", "--schema", houses / "houses.toml", "--out", out
    )
    assert code == 0, output
    schema = FlowDensity.load(out).schema_
    assert schema.names == ("size", "class")
    assert schema.columns[1].categories == ("A",)
    assert schema.columns[1].missing
    # No note on a column that the model does not have.
    code, output = run("score", out, houses / "houses.csv", "--out", houses / "s.csv", "--force")
    assert code == 0, output
    assert "ref" not in output


def test_scoring_counts_unseen_values_and_advises_what_can_be_done(houses, tmp_path):
    model, table = tmp_path / "m.safetensors", houses / "houses.csv"
    code, output = run("fit", table, "--drop", "ref", "--out", model, "--effort", "fast")
    assert code == 0, output
    text = table.read_text()
    (tmp_path / "new.csv").write_text(text.replace("Bonn", "Essen", 2))
    code, output = run("score", model, tmp_path / "new.csv", "--out", tmp_path / "s.csv")
    assert code == 0, output
    assert "town: 2 rows have a value that the fit has not seen" in " ".join(output.split())
    lines = text.split("\n")
    lines[5] = lines[5].replace(lines[5].split(";")[1], "abc")
    (tmp_path / "bad.csv").write_text("\n".join(lines))
    code, output = run("score", model, tmp_path / "bad.csv", "--out", tmp_path / "b.csv")
    assert code == 3
    said = " ".join(output.split())
    assert "fit the model again with --missing abc" in said
    assert "--column" not in said
    code, output = run("schema", tmp_path / "bad.csv", "--column", "size=number")
    assert "--column size=text" in " ".join(output.split())


def test_a_wrong_kind_is_answered_with_all_words_for_kinds(houses):
    code, output = run("schema", houses / "houses.csv", "--column", "size=nummer")
    assert code == 2
    for word in ("real", "circular", "identifier", "number", "duration", "code"):
        assert word in output
