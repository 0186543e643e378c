"""Tables and files as they come, from fit to score and sample: one test for each kind of trouble.

What is refused is refused by name of column and row; what is not gives finite scores.
"""

import datetime
import subprocess
import sys
import zoneinfo

import numpy as np
import pandas as pd
import pytest

from flowkit import FlowDensity
from flowkit._container import VERSION
from flowkit.errors import ArgumentError, DataError, ModelFileError
from flowkit.files import read_file

RNG = np.random.default_rng(0)


def fitted(table, **options):
    return FlowDensity(effort="fast", random_state=0, **options).fit(table)


def assert_works(table):
    """Fit, and see finite scores and samples that the density itself finds possible."""
    density = fitted(table)
    assert np.isfinite(density.score_samples(table)).all()
    samples = density.sample(200, random_state=0)
    assert np.isfinite(density.score_samples(samples)).all()
    return density, samples


@pytest.fixture(scope="module")
def frame():
    return pd.DataFrame({"height": RNG.normal(170, 9, 90), "town": RNG.choice(["Ulm", "Bonn"], 90)})


@pytest.fixture(scope="module")
def density(frame):
    return fitted(frame)


@pytest.mark.parametrize("table", [pd.DataFrame(), pd.DataFrame({"a": []}), np.zeros((0, 3))])
def test_empty_table(table):
    with pytest.raises((DataError, ValueError), match=r"at least one row|0 sample"):
        fitted(table)


@pytest.mark.parametrize("rows", [1, 2])
def test_one_row_and_two(rows):
    table = pd.DataFrame({"x": [1.5, 2.0], "n": [3, 3], "s": ["a", "b"]}).iloc[:rows]
    _, samples = assert_works(table)
    assert set(samples["s"]) <= {"a", "b"}


def test_column_of_only_missing_values():
    with pytest.raises(DataError, match="table: .*only missing"):
        fitted(pd.DataFrame({"a": [None, None], "b": [np.nan, np.nan]}))
    _, samples = assert_works(pd.DataFrame({"a": RNG.normal(size=50), "b": np.full(50, np.nan)}))
    assert samples["b"].isna().all()


def test_columns_of_the_same_name():
    with pytest.raises(DataError, match="column 'a': .*twice"):
        fitted(pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], columns=["a", "a"]))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity(frame, density, value):
    bad = frame.assign(height=frame["height"].where(frame.index != 7, value))
    with pytest.raises(DataError, match="column 'height', row 7"):
        fitted(bad)
    with pytest.raises(DataError, match="column 'height', row 7"):
        density.score_samples(bad)
    array = np.ones((5, 2))
    array[3, 1] = value
    with pytest.raises((DataError, ValueError), match=r"column 'x1', row 3|infinity"):
        fitted(array)


def test_string_among_numbers(frame, density):
    bad = frame.astype({"height": object})
    bad.loc[11, "height"] = "tall"
    with pytest.raises(DataError, match="column 'height', row 11.*'tall'"):
        density.score_samples(bad)
    # One typing error must not make a column of numbers one of a hundred categories.
    for table in (bad, bad.astype({"height": str})):
        with pytest.raises(DataError, match="column 'height', row 11: .*as in 89 rows.*'tall'"):
            fitted(table)
        assert fitted(table, schema={"height": "categorical"}).schema_.columns[0].categories


def test_unseen_category(frame, density):
    new = frame.iloc[:2].assign(town=["Ulm", "Köln"])
    scores = density.score_samples(new)
    assert np.isfinite(scores).all()
    assert scores[1] < scores[0] - 2
    with pytest.raises(DataError, match="column 'town', row 1.*'Köln'"):
        fitted(frame, on_unknown="raise").score_samples(new)
    assert set(density.sample(500, random_state=0)["town"]) == {"Ulm", "Bonn"}


def test_column_that_is_not_there(frame, density):
    with pytest.raises((DataError, ValueError), match="height"):
        density.score_samples(frame[["town"]])


def test_columns_in_another_order(frame, density):
    turned = frame[["town", "height"]]
    assert np.array_equal(density.score_samples(turned), density.score_samples(frame))


def test_integers_that_floats_cannot_hold():
    with pytest.raises(DataError, match=r"column 'id', row 1: .*2\*\*53"):
        fitted(pd.DataFrame({"id": [1, 2**53 + 1, 5]}))


def test_dates_with_time_zones():
    zone = zoneinfo.ZoneInfo("America/New_York")
    start = datetime.datetime(2024, 11, 2, 12, tzinfo=zone)  # a clock is put back that night
    times = [start + datetime.timedelta(hours=float(h)) for h in RNG.uniform(0, 48, 80)]
    table = pd.DataFrame({"when": pd.to_datetime(pd.Series(times), utc=True).dt.tz_convert(zone)})
    density, samples = assert_works(table)
    assert samples["when"].dtype == table["when"].dtype
    # The same instants in another zone are the same rows.
    scores = density.score_samples(table)
    table["when"] = table["when"].dt.tz_convert("UTC")
    assert np.allclose(density.score_samples(table), scores)


@pytest.mark.parametrize("n", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_many_thousand_categories(n):
    table = pd.DataFrame({"id": [f"user-{i}" for i in range(n)], "x": RNG.normal(size=n)})
    table = pd.concat([table.iloc[:60]] * 2 + [table.iloc[60:]], ignore_index=True)
    options = {"effort": "fast", "random_state": 0, "max_seconds": 10}
    density = FlowDensity(**options, schema={"id": "categorical"}).fit(table)
    assert np.isfinite(density.score_samples(table.iloc[:1000])).all()
    assert density.sample(50, random_state=0)["id"].isin(table["id"]).all()


@pytest.mark.parametrize("outlier", [1e9, -4.0])
def test_one_value_again_and_again_and_one_outlier(outlier):
    assert_works(np.append(np.full(60, 3.25), outlier)[:, None])
    mixed = np.stack([np.append(np.full(150, 3.25), outlier), RNG.normal(size=151)], axis=1)
    assert_works(mixed)


def test_values_near_the_end_of_floats(frame, density):
    bad = frame.assign(height=frame["height"].where(frame.index != 5, 1e300))
    with pytest.raises(DataError, match="column 'height', row 5: .*1e150"):
        fitted(bad)
    with pytest.raises(DataError, match="column 'height', row 5"):
        density.score_samples(bad)
    assert_works(frame.assign(height=frame["height"].where(frame.index != 5, 1e140)))


@pytest.mark.parametrize("weights", [-np.ones(90), np.zeros(90)])
def test_weights_that_are_negative_or_all_zero(frame, weights):
    with pytest.raises(ArgumentError, match="sample_weight"):
        FlowDensity().fit(frame, sample_weight=weights)


@pytest.mark.parametrize("damage", ["cut short", "one bit"])
def test_truncated_and_edited_model_file(density, tmp_path, damage):
    path = tmp_path / "model.safetensors"
    density.save(path)
    content = bytearray(path.read_bytes())
    if damage == "cut short":
        del content[-1:]
    else:
        content[-9] ^= 4
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"model\.safetensors"):
        FlowDensity.load(path)


def test_model_file_of_a_newer_format(density, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr("flowkit._container.VERSION", VERSION + 1)
        density.save(path)
        assert FlowDensity.load(path)  # to the library of tomorrow it is fine
    with pytest.raises(ModelFileError, match=rf"version {VERSION + 1}|format {VERSION + 1}|newer"):
        FlowDensity.load(path)


def test_output_that_cannot_be_written(density, tmp_path):
    with pytest.raises(ModelFileError, match="nowhere"):
        density.save(tmp_path / "nowhere" / "model.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(ModelFileError, match="folder"):
        density.save(tmp_path / "folder.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.safetensors"]


def test_disk_that_fills_up_while_saving(density, tmp_path):
    """What stood there before still stands there; a limit on the size of files is the disk."""
    path = tmp_path / "model.safetensors"
    density.save(path)
    before = path.read_bytes()
    code = (
        "import resource, signal, sys\n"
        "from flowkit import FlowDensity\n"
        "density = FlowDensity.load(sys.argv[1])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))\n"
        "density.save(sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert "ModelFileError" in done.stderr
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
    assert read_file(path)[1]["kind"] == "table density"
