"""Scores of filled cells against closed forms, and a run of the benchmark on a tiny table."""

import imputation
import numpy as np
import pytest
from scipy import stats


def test_scores_of_normal_draws_are_the_closed_forms():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=400)
    found = imputation.scores(truth, np.zeros(400), rng.normal(size=(2_000, 400)))
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(truth**2)))
    crps = truth * (2 * stats.norm.cdf(truth) - 1) + 2 * stats.norm.pdf(truth) - np.pi**-0.5
    assert found["crps"] == pytest.approx(crps.mean(), abs=0.01)
    assert found["log_prob"] == pytest.approx(stats.norm.logpdf(truth).mean(), abs=0.03)


def test_draws_far_from_the_truth_score_worse():
    rng = np.random.default_rng(0)
    truth, draws = rng.normal(size=100), rng.normal(size=(50, 100))
    right, wrong = (imputation.scores(truth, np.zeros(100), draws + by) for by in (0.0, 2.0))
    assert right["crps"] < wrong["crps"]
    assert right["log_prob"] > wrong["log_prob"]


def test_a_tiny_table_is_measured_and_reported(tmp_path):
    imputation.main(
        ["--quick", "--methods", "iterative", "--work", str(tmp_path), "--output", str(tmp_path)]
    )
    text = (tmp_path / "imputation.md").read_text()
    assert "| diabetes | 150 x 11 | iterative |" in text
