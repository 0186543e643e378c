"""The benchmark of conditional densities, on tiny data."""

import json

import conditional
import numpy as np
import pytest
from regression import methods
from regression.data import SETS, Split
from regression.plot import differences
from regression.predictive import Draws, Mixture, Quantiles
from regression.published import PUBLISHED, SOURCES
from regression.published import SETS as PUBLISHED_SETS
from regression.report import report, summary
from regression.scores import scores
from scipy import integrate, stats

from flowkit.tabular.conditional.normal_mixture import NormalMixture

LEVELS = np.arange(1, 100) / 100


def normal(mean, scale):
    mean, scale = (np.asarray(part, dtype=float)[:, None] for part in (mean, scale))
    return Mixture(NormalMixture(np.ones_like(mean), mean, scale))


def quantiles_of_normals(n, step=1e-9):
    return Quantiles(LEVELS, np.tile(stats.norm.ppf(LEVELS), (n, 1)), step, 0.01)


def crps_of_normal(y):
    return y * (2 * stats.norm.cdf(y) - 1) + 2 * stats.norm.pdf(y) - np.pi**-0.5


def test_a_quick_run_is_reported_and_resumed(tmp_path, capsys):
    arguments = ["--quick", "--methods", "ensemble", "--splits", "2"]
    arguments += ["--work", str(tmp_path / "work"), "--output", str(tmp_path)]
    conditional.main(arguments)
    assert "diabetes-1-ensemble: " in capsys.readouterr().err
    (entry,) = json.loads((tmp_path / "conditional.json").read_text())["entries"]
    assert (entry["splits"], entry["step"]) == ([0, 1], 1.0)
    assert all(-7 < score < -4 for score in entry["log_prob"])
    assert "| ensemble | 2 |" in (tmp_path / "conditional.md").read_text()
    conditional.main(arguments)
    assert "ensemble" not in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_flowkit_is_measured_on_integers():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 2))
    y = np.round(5.0 + x[:, 0] + 0.5 * rng.normal(size=150))
    data = Split(x[:120], y[:120], x[120:], y[120:], 1.0)
    one = methods.METHODS["flowkit"].fit(data, 0, True)()
    found = scores(one, data.y_test, data.step)
    assert -2 < found["log_cell"] < 0
    # A small share is that of integers below all.
    assert found["log_cell"] == pytest.approx(found["log_prob"], abs=0.01)
    assert 0.7 < found["coverage"] <= 1
    # The distribution function is constant from an integer to the next.
    steps = one.cdf(np.tile(np.arange(-20.0, 30.0), (30, 1)))
    np.testing.assert_allclose(one.cdf(np.tile(np.arange(-20.0, 30.0) + 0.9, (30, 1))), steps)
    exact = ((steps - (np.arange(-20.0, 30.0) >= data.y_test[:, None])) ** 2).sum(1)
    np.testing.assert_allclose(one.crps(data.y_test), exact, atol=1e-4)


def test_a_missing_package_and_a_large_set_are_left_out(tmp_path, capsys, monkeypatch):
    absent = methods.Method(None, "no-such-distribution")
    small = methods.Method(None, most_rows=10)
    monkeypatch.setattr(conditional, "METHODS", {"flowkit": absent, "ensemble": small})
    conditional.main(["--quick", "--work", str(tmp_path), "--output", str(tmp_path / "results")])
    printed = capsys.readouterr().err
    assert "flowkit: skipped, no-such-distribution is not installed" in printed
    assert "ensemble skipped, more than 10 rows" in printed


def test_scores_of_a_normal_are_the_closed_forms():
    y = np.array([-1.3, 0.2, 4.0])
    found = scores(normal(np.zeros(3), np.ones(3)), y, 1e-6)
    assert found["log_prob"] == pytest.approx(stats.norm.logpdf(y).mean())
    assert found["log_cell"] == pytest.approx(found["log_prob"], abs=1e-6)
    assert found["lowest"] == pytest.approx(stats.norm.logpdf(4.0))
    assert found["crps"] == pytest.approx(crps_of_normal(y).mean(), rel=1e-3)
    assert found["coverage"] == pytest.approx(2 / 3)
    assert found["width"] == pytest.approx(2 * stats.norm.ppf(0.95))


@pytest.mark.parametrize("step", [2.0, 0.5, 1e-3])
def test_coverage_of_the_right_distribution_is_the_level_on_any_grid(step):
    centres = np.random.default_rng(0).normal(size=20_000)
    right = normal(centres, np.ones(20_000))
    y = np.random.default_rng(1).normal(centres)
    y = np.round(y / step) * step
    found = scores(right, y, step)
    assert found["coverage"] == pytest.approx(0.9, abs=0.005)
    if step == 2.0:  # whole values are not
        assert abs(found["inclusion"] - 0.9) > 0.01
    narrow = scores(normal(centres, np.full(20_000, 0.5)), y, step)
    assert narrow["coverage"] < 0.8


def test_a_cell_has_no_more_than_the_density_of_its_width():
    spike = normal([0.0], [1e-6])
    found = scores(spike, np.zeros(1), 0.5)
    assert found["log_prob"] > 12
    assert found["log_cell"] == pytest.approx(np.log(2.0))


def test_draws_have_the_score_of_their_distribution_function():
    rng = np.random.default_rng(0)
    draws, y = rng.normal(size=(2, 40)), np.array([0.3, 5.0])
    exact = np.abs(draws - y[:, None]).mean(1)
    exact -= 0.5 * np.abs(draws[:, :, None] - draws[:, None]).mean((1, 2))
    np.testing.assert_allclose(Draws(draws, 0.01).crps(y), exact)


def test_quantiles_are_a_distribution_with_tails():
    one = quantiles_of_normals(1)
    points = np.linspace(-30, 30, 60_001)[None]
    density = np.exp([one.log_prob(np.array([p]))[0] for p in points[0, ::10]])
    assert integrate.trapezoid(density, points[0, ::10]) == pytest.approx(1.0, abs=0.002)
    np.testing.assert_allclose(one.cdf(one.quantiles(LEVELS)), LEVELS[None], atol=1e-9)
    y = np.array([-4.0, -0.7, 0.1, 5.0])
    few = quantiles_of_normals(4)
    # The slope of the distribution function is the density, in the tails too.
    np.testing.assert_allclose(few.log_mass(y, 1e-5) - np.log(1e-5), few.log_prob(y), rtol=1e-4)
    np.testing.assert_allclose(few.crps(y), crps_of_normal(y), rtol=0.02)


def test_tied_quantiles_have_at_most_the_density_of_a_cell():
    values = np.where(LEVELS <= 0.6, 5.0, 6.0)[None].repeat(2, 0)
    found = Quantiles(LEVELS, values, 1.0, 0.01)
    y = np.array([5.0, 6.0])
    np.testing.assert_allclose(np.exp(found.log_mass(y, 1.0)), [0.6, 0.4], atol=0.015)
    assert (found.log_prob(y) < 1e-6).all()


@pytest.mark.parametrize("method", ["ensemble", "kernel"])
def test_networks_and_kernels_find_mean_and_spread(method):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    y = 50 * x[:, 0] + 5 + 10 * rng.normal(size=400)
    data = Split(x[:300], y[:300], x[300:], y[300:], 1.0)
    found = scores(methods.METHODS[method].fit(data, 0, False)(), data.y_test, 1.0)
    best = stats.norm.logpdf(data.y_test, 50 * x[300:, 0] + 5, 10).mean()
    assert best - 0.2 < found["log_prob"] < best + 0.05


def test_published_figures_have_a_set_and_a_source():
    assert set(PUBLISHED_SETS) == set(SETS)
    for _, protocol, source, figures in PUBLISHED:
        assert len(figures) == len(PUBLISHED_SETS)
        assert source in SOURCES
        assert protocol in "ABC"


def test_leads_are_of_common_splits():
    def row(method, split, score):
        sizes = {"rows": 90, "test rows": 10, "columns": 3, "step": 0.01, "seed": 0}
        kept = {"log_prob": score, "log_cell": score, "crps": 1.0, "coverage": 0.9, "width": 2.0}
        clocks = ["fit seconds", "predict seconds"]
        clocks += ["fit processor seconds", "predict processor seconds"]
        machine = {"cpu": "c", "cores": 1, "threads": 1, "python": "3"}
        row = {"set": "yacht", "method": method, "split": split, "lowest": -9.0, "date": "d"}
        row |= {"versions": {"torch": "2"}, "machine": machine}
        return row | sizes | kept | dict.fromkeys(clocks, 1.5)

    ours = [row("flowkit", split, 2.0) for split in (0, 1, 2)]
    theirs = [row("ensemble", split, score) for split, score in ((1, 1.0), (2, 1.5), (3, -9.0))]
    results = summary([*theirs, *ours])
    assert differences(results["entries"]) == [("yacht", "ensemble", 0.75, 0.25)]
    page = report(results, "picture.png")
    assert "| flowkit | 3 | **2.000 ± 0.000** |" in page
    assert "| PBP (2015) | A | -1.63 | s1 |" in page
