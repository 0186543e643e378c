"""Model files of before have conditionals: their proposal is fitted to draws."""

from pathlib import Path

import numpy as np
import pytest

from flowkit import FlowDensity

FILES = Path(__file__).parents[1] / "model_files"


@pytest.mark.parametrize("name", ["few_rows", "networks"])
def test_an_older_file_is_conditioned(name):
    density = FlowDensity.load(FILES / f"{name}.safetensors")
    rows = density.sample(3, random_state=1)
    first, *others = density.schema_.names
    value = rows[first].iloc[0]
    conditional = density.given({first: value})
    same = rows.assign(**{first: value}).astype(rows.dtypes.to_dict())
    total = conditional.score_samples(same[others]) + conditional.log_evidence
    assert total == pytest.approx(density.score_samples(same), abs=1e-6)
    assert len(conditional.sample(20, random_state=0)) == 20
    assert np.isfinite(density.explain(rows)).all()
