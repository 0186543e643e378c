"""``flowkit fit --target`` and ``flowkit predict``, against the estimator; and their errors."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from flowkit import ConditionalFlowDensity
from flowkit.cli import app
from flowkit.schema.holdout import split_rows


def table(n=70):
    rng = np.random.default_rng(0)
    rooms = rng.integers(1, 8, n)
    return pd.DataFrame(
        {
            "rooms": rooms,
            "region": rng.choice(["north", "south"], n),
            "price": (100.0 * rooms + 20 * rng.normal(size=n)).round(1),
        }
    )


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def houses(tmp_path):
    path = tmp_path / "houses.csv"
    table().to_csv(path, index=False)
    return path


def fitted(houses, target):
    model = houses.with_name(f"{target}.safetensors")
    result = run("fit", houses, "--target", target, "--effort", "fast", "--out", model)
    assert result.exit_code == 0, result.output
    return model, result


def test_fit_and_predict_a_number(houses, tmp_path):
    model, result = fitted(houses, "price")
    assert "CRPS" in result.output
    assert "90% interval" in result.output
    out = tmp_path / "predicted.csv"
    result = run("predict", model, houses, "--quantiles", "0.1,0.9", "--out", out)
    assert result.exit_code == 0, result.output
    written, estimator = pd.read_csv(out), ConditionalFlowDensity.load(model)
    frame = table()
    added = ["price_mean", "price_q0.1", "price_q0.9", "log_density"]
    assert list(written.columns) == [*frame.columns, *added]
    assert np.allclose(written["price_mean"], estimator.predict(frame))
    assert np.allclose(written["price_q0.9"], estimator.predict_quantiles(frame, 0.9))
    assert np.allclose(written["log_density"], estimator.score_samples(frame))


def test_predict_needs_no_target(houses, tmp_path):
    model, _ = fitted(houses, "price")
    new = tmp_path / "new.csv"
    table().drop(columns="price").to_csv(new, index=False)
    out = tmp_path / "predicted.csv"
    assert run("predict", model, new, "--out", out).exit_code == 0
    assert "log_density" not in pd.read_csv(out).columns


def test_rows_without_a_target_are_predicted(houses, tmp_path):
    model, _ = fitted(houses, "price")
    frame = table()
    frame.loc[[0, 5], "price"] = np.nan
    holes, out = tmp_path / "holes.csv", tmp_path / "predicted.csv"
    frame.to_csv(holes, index=False)
    result = run("predict", model, holes, "--out", out)
    assert result.exit_code == 0, result.output
    written = pd.read_csv(out)
    assert written["price_mean"].notna().all()
    assert written["log_density"].isna().to_numpy().nonzero()[0].tolist() == [0, 5]


def test_fit_and_predict_a_category(houses, tmp_path):
    model, result = fitted(houses, "region")
    assert "share predicted right" in result.output
    out = tmp_path / "predicted.csv"
    assert run("predict", model, houses, "--out", out).exit_code == 0
    written = pd.read_csv(out)
    shares = written[["region=north", "region=south"]]
    assert np.allclose(shares.sum(axis=1), 1.0)
    best = np.where(shares["region=north"] > shares["region=south"], "north", "south")
    assert (written["region_predicted"] == best).all()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--target", "cost"], 2, "target: expected the name of a column"),
        (["--target", "price", "--store-rows"], 2, "cannot be combined with --target"),
    ],
)
def test_wrong_targets_are_errors(houses, tmp_path, arguments, code, message):
    result = run("fit", houses, *arguments, "--out", tmp_path / "m.safetensors")
    assert result.exit_code == code
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "m.safetensors").exists()


def test_a_model_of_a_table_predicts_nothing(houses, tmp_path):
    model = tmp_path / "m.safetensors"
    assert run("fit", houses, "--effort", "fast", "--out", model).exit_code == 0
    result = run("predict", model, houses, "--out", tmp_path / "p.csv")
    assert result.exit_code == 4
    assert "holds a 'table density'" in result.output
    model, _ = fitted(houses, "price")
    for quantiles in ("0,1", "a,b"):
        result = run(
            "predict", model, houses, "--quantiles", quantiles, "--out", tmp_path / "p.csv"
        )
        assert result.exit_code == 2
        assert not (tmp_path / "p.csv").exists()


def test_report_is_of_the_rows_that_were_held_out(houses, tmp_path):
    frame = table(60)
    frame.to_csv(houses, index=False)
    model, _ = fitted(houses, "price")
    frame.to_parquet(tmp_path / "same.parquet", index=False)
    frame[:40].to_csv(tmp_path / "other.csv", index=False)
    documents = {}
    for path in (houses, tmp_path / "same.parquet", tmp_path / "other.csv"):
        out = tmp_path / f"{path.stem}.html"
        result = run("report", model, path, "--out", out)
        assert result.exit_code == 0, result.output
        assert out.read_text().startswith("<!DOCTYPE html>")
        documents[path.stem] = json.loads(out.with_suffix(".json").read_text())
    document = documents["houses"]
    assert (document["rows"]["held_out"], document["rows"]["training"]) == (6, 54)
    assert documents["same"] == document  # rows are known again in any kind of file
    assert documents["other"]["rows"]["training"] is None
    assert "not fitted to this table" in documents["other"]["notes"][0]
    # The rows held out are those that the fit had not seen.
    estimator = ConditionalFlowDensity.load(model)
    kept, held_out = split_rows(60, 0.1, 0)
    scores = estimator.score_samples(frame)
    likelihood = document["likelihood"]["flowkit"]
    assert likelihood["mean"] == pytest.approx(scores[held_out].mean())
    assert likelihood["training_rows"]["mean"] == pytest.approx(scores[kept].mean())
    assert {entry["row"] for entry in document["worst"]} == set(held_out.tolist())


def test_report_of_a_category_of_all_rows_and_of_an_unknown_fit(houses, tmp_path):
    model = tmp_path / "m.safetensors"
    options = ("--target", "region", "--effort", "fast", "--holdout", 0)
    assert run("fit", houses, *options, "--out", model).exit_code == 0
    result = run("report", model, houses, "--out", tmp_path / "r.html")
    assert result.exit_code == 0, result.output
    assert "so scores and calibration are too good" in " ".join(result.output.split())
    assert "<h2>Reliability</h2>" in (tmp_path / "r.html").read_text()
    estimator = ConditionalFlowDensity(target="region", effort="fast", random_state=0)
    estimator.fit(table(40)).save(model)
    result = run("report", model, houses, "--out", tmp_path / "s.html")
    assert result.exit_code == 0, result.output
    assert "no record of the rows of its fit" in " ".join(result.output.split())
    table().drop(columns="region").to_csv(tmp_path / "t.csv", index=False)
    result = run("report", model, tmp_path / "t.csv", "--out", tmp_path / "t.html")
    assert result.exit_code == 3
    assert "column 'region': expected the target in the table" in " ".join(result.output.split())
    assert not (tmp_path / "t.html").exists()


def test_report_with_weights_and_missing_targets_knows_its_rows(houses, tmp_path):
    frame = table()
    frame["w"] = np.arange(70) % 3 / 2 + 0.5
    frame.loc[[1, 50], "price"] = np.nan
    frame.to_csv(houses, index=False)
    model = tmp_path / "m.safetensors"
    options = ("--target", "price", "--weights", "w", "--effort", "fast", "--holdout", 0.3)
    assert run("fit", houses, *options, "--out", model).exit_code == 0
    assert run("report", model, houses, "--out", tmp_path / "r.html").exit_code == 0
    document = json.loads((tmp_path / "r.json").read_text())
    _, held_out = split_rows(70, 0.3, 0)
    missing = len({1, 50} & set(held_out.tolist()))
    assert document["rows"]["held_out"] == 21 - missing
    assert document["rows"]["training"] == 49 - (2 - missing)
