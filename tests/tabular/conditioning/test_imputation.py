"""Missing cells, filled with draws and means given the other cells of their row."""

import time

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import stats
from table_models import covariance_of, curved, flow, mixed_density, mixture, of_reals, student

from flowkit import FlowDensity


@pytest.fixture(scope="module")
def mixed():
    return mixed_density()


def with_holes(frame: pd.DataFrame, share: float = 0.2) -> pd.DataFrame:
    holes = np.random.default_rng(2).random(frame.shape) < share
    numbers = {n: float for n in frame.columns if frame[n].dtype.kind in "iu"}
    return frame.astype(numbers).mask(holes)


def test_every_hole_is_filled_and_no_other_cell_changes(mixed):
    density, frame = mixed
    holed = with_holes(frame)
    holed.index = holed.index + 7
    for method in ("draw", "mean"):
        filled = density.impute(holed, method=method, random_state=0)
        assert not filled.isna().any().any()
        assert (filled.index == holed.index).all()
        for name in frame:
            there = holed[name].notna()
            assert (filled[name][there] == holed[name][there]).all()
        assert set(filled["kind"]) == {"u", "v", "w"}
        assert (filled["count"] == filled["count"].round()).all()
    assert holed.isna().any().any()  # the table itself is not changed


def test_draws_have_the_distribution_of_the_cells(mixed):
    density, _ = mixed
    truth = density.sample(6_000, random_state=3)
    truth = truth[truth["y"].notna()].reset_index(drop=True)
    for name in ("x", "y", "z", "count", "kind"):
        holed = truth.astype({"count": float}).copy()
        holed.loc[:, name] = np.nan if name != "kind" else None
        filled = density.impute(holed, random_state=1)
        if name == "kind":
            gap = filled[name].value_counts(normalize=True) - truth[name].value_counts(
                normalize=True
            )
            assert gap.abs().max() < 0.04
            continue
        # The joint distribution with another column is kept.
        for other in ("x", "y"):
            if other != name:
                pairs = [
                    np.corrcoef(t[name].rank(), t[other].rank())[0, 1] for t in (filled, truth)
                ]
                assert pairs[0] == pytest.approx(pairs[1], abs=0.05)
        assert stats.ks_2samp(filled[name], truth[name]).statistic < 0.04


def test_means_are_conditional_means():
    covariance = covariance_of(3)
    density = of_reals(mixture(np.zeros(3), covariance[None], [1.0]))
    rows = density.sample(400, random_state=0)
    holed = rows.copy()
    holed["b"] = np.nan
    gain = covariance[1, [0, 2]] @ np.linalg.inv(covariance[np.ix_([0, 2], [0, 2])])
    expected = rows[["a", "c"]].to_numpy() @ gain
    spread = (covariance[1, 1] - gain @ covariance[[0, 2], 1]) ** 0.5
    found = density.impute(holed, method="mean", random_state=0)["b"]
    assert np.sqrt(np.mean((found - expected) ** 2)) < 1.3 * spread / 8  # of 64 draws


def test_several_draws_differ(mixed):
    density, frame = mixed
    tables = density.impute(with_holes(frame.head(50)), 3, random_state=0)
    assert len(tables) == 3
    assert not tables[0].equals(tables[1])


def test_a_column_whose_holes_the_fit_never_saw():
    density = of_reals(flow(3), student(3), shares=[0.9, 0.1])
    rows = density.sample(200, random_state=0)
    rows.loc[::2, "b"] = np.nan
    rows.loc[::3, "c"] = np.nan
    assert not density.impute(rows, random_state=0).isna().any().any()


def test_arrays_and_other_libraries_come_back_as_they_were():
    import polars as pl

    rows = np.random.default_rng(0).normal(size=(60, 3))
    density = FlowDensity(random_state=0).fit(rows)
    rows[3, 1] = np.nan
    filled = density.impute(rows, random_state=0)
    assert isinstance(filled, np.ndarray)
    assert filled.dtype == rows.dtype
    frame = pl.DataFrame({"a": rows[:, 0], "b": rows[:, 2], "word": ["p", "q"] * 30})
    density = FlowDensity(random_state=0).fit(frame)
    word = pl.when(pl.int_range(60) < 5).then(None).otherwise(pl.col("word"))
    holed = frame.with_columns(word.alias("word"))
    filled = density.impute(holed, random_state=0)
    assert isinstance(filled, pl.DataFrame)
    assert filled.schema == frame.schema
    assert filled["word"].null_count() == 0


@pytest.mark.slow
def test_ten_thousand_rows_take_seconds():
    member = mixture(np.zeros(6), covariance_of(6)[None], [1.0])
    density = of_reals((member, curved(6)), student(6), shares=[0.99, 0.01])
    rows = density.sample(10_000, random_state=0)
    holed = rows.mask(np.random.default_rng(1).random(rows.shape) < 0.3)
    start = time.process_time()
    assert not density.impute(holed, random_state=0).isna().any().any()
    assert time.process_time() - start < 10


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_column_without_any_value_gets_the_type_of_the_fit(library):
    rng = np.random.default_rng(0)
    columns = {"a": rng.normal(size=80), "b": rng.choice(["x", "y"], 80), "c": np.arange(80) % 50}
    table_of = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}[library]
    density = FlowDensity(effort="fast", max_seconds=0.5, random_state=0).fit(table_of(columns))
    for name in columns:
        holes = table_of({**{n: v[:5] for n, v in columns.items()}, name: [None] * 5})
        filled = density.impute(holes, random_state=0)
        values = list(filled[name]) if library != "pyarrow" else filled[name].to_pylist()
        kind = {"a": float, "b": str, "c": int}[name]
        assert all(isinstance(value, kind | np.integer) for value in values)
        assert np.isfinite(density.score_samples(filled)).all()


def test_a_column_without_any_value_keeps_the_order_of_its_categories():
    rng = np.random.default_rng(0)
    sizes = pd.CategoricalDtype(["small", "large"], ordered=True)
    frame = pd.DataFrame({"a": rng.normal(size=80), "size": rng.choice(["small", "large"], 80)})
    frame = frame.astype({"size": sizes})
    density = FlowDensity(effort="fast", max_seconds=0.5, random_state=0).fit(frame)
    filled = density.impute(frame[:5].assign(size=None), random_state=0)
    assert filled["size"].dtype == sizes
