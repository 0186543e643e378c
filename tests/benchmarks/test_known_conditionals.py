"""The benchmarks of known conditionals and of posterior estimation, on tiny data."""

import json

import known_conditionals
import numpy as np
import posterior_estimation
import pytest
from known_conditionals import CASES
from scipy import integrate


@pytest.mark.parametrize("name", CASES)
def test_the_stated_density_is_that_of_the_draws(name):
    case, rng = CASES[name], np.random.default_rng(0)
    x = np.tile(rng.normal(size=(1, 3)), (4_000, 1))
    drawn = case.draw(x, rng)
    grid = np.linspace(-12, 40, len(x))
    states = known_conditionals._STATES if "state" in case.targets else [None]
    masses, below = [], []
    for state in states:
        targets = {"y": grid} | ({} if state is None else {"state": np.full(len(x), state)})
        with np.errstate(divide="ignore"):
            density = np.exp(case.log_prob(x, targets))
        masses.append(integrate.trapezoid(density, grid))
        own = drawn["y"] if state is None else drawn["y"][drawn["state"] == state]
        middle = np.median(own)
        below.append(integrate.trapezoid(density[grid <= middle], grid[grid <= middle]))
        if state is not None:
            assert masses[-1] == pytest.approx(len(own) / len(x), abs=0.04)
    assert sum(masses) == pytest.approx(1.0, abs=1e-3)
    assert np.allclose(np.array(below) / masses, 0.5, atol=0.06)


def test_a_run_is_reported_and_resumed(tmp_path, capsys):
    arguments = ["--cases", "heteroscedastic", "--rows", "59", "--output", str(tmp_path)]
    arguments += ["--work", str(tmp_path / "work")]
    known_conditionals.main(arguments)
    assert "heteroscedastic: " in capsys.readouterr().err
    known_conditionals.main(arguments)
    assert not capsys.readouterr().err
    (result,) = json.loads((tmp_path / "known_conditionals.json").read_text())
    assert -2 < result["gap"] < 3 * result["standard error"]
    assert "| heteroscedastic | normal" in (tmp_path / "known_conditionals.md").read_text()


def test_posterior_estimation_is_reported_and_resumed(tmp_path, capsys, monkeypatch):
    def draws(task, theta, x):
        return lambda _, n: theta[:n]

    def observed(task, observation):
        return posterior_estimation.torch.zeros(2), posterior_estimation.torch.randn(2_000, 2)

    monkeypatch.setitem(posterior_estimation.METHODS, "flowkit", draws)
    monkeypatch.setattr(posterior_estimation, "observed", observed)
    monkeypatch.setattr(posterior_estimation, "accuracy", lambda *_: 0.75)
    arguments = ["--tasks", "two_moons", "--methods", "flowkit", "--output", str(tmp_path)]
    arguments += ["--work", str(tmp_path / "work"), "--simulations", "2000"]
    posterior_estimation.main(arguments)
    assert "two_moons-flowkit-2000: 0.750" in capsys.readouterr().err
    posterior_estimation.main(arguments)
    assert not capsys.readouterr().err
    report = (tmp_path / "posterior_estimation.md").read_text()
    assert "| two_moons | 2,000 | flowkit | 0.750 (0.750, 0.750, 0.750) |" in report
