"""Model files that an earlier version wrote: loaded, and scored as that version scored them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flowkit import FlowDensity

FOLDER = Path(__file__).parent / "model_files"


def rows_and_scores(name: str) -> tuple[pd.DataFrame, np.ndarray]:
    found = json.loads((FOLDER / "scores.json").read_text())[name]
    rows = pd.DataFrame({c: pd.Series(list(v.values())) for c, v in found["rows"].items()})
    if "time" in rows:
        rows["time"] = pd.to_datetime(rows["time"])
    return rows, np.array([float(score) for score in found["scores"]])


@pytest.mark.parametrize("name", ["few_rows", "networks"])
def test_scores_are_those_of_the_version_that_wrote_the_file(name):
    """The last row has a count of -1, which bounds inferred at that time rule out."""
    density = FlowDensity.load(FOLDER / f"{name}.safetensors")
    rows, scores = rows_and_scores(name)
    assert scores[-1] == -np.inf
    assert np.isfinite(scores[:-1]).all()
    assert np.allclose(density.score_samples(rows), scores, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["few_rows", "networks"])
def test_a_file_written_again_scores_the_same(name, tmp_path):
    density = FlowDensity.load(FOLDER / f"{name}.safetensors")
    density.save(tmp_path / "again.safetensors")
    again = FlowDensity.load(tmp_path / "again.safetensors")
    rows, scores = rows_and_scores(name)
    assert np.allclose(again.score_samples(rows), scores, rtol=0, atol=1e-9)
    assert again.schema_ == density.schema_


def test_samples_of_an_older_file_keep_its_columns():
    density = FlowDensity.load(FOLDER / "few_rows.safetensors")
    drawn = density.sample(500, random_state=0)
    rows, _ = rows_and_scores("few_rows")
    assert list(drawn.columns) == list(rows.columns)
    assert drawn["count"].min() >= 0
    assert set(drawn["letter"]) == {"a", "b", "c"}
