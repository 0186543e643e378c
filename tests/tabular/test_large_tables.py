"""Fits of large tables: what is computed from some rows is what all rows would give."""

from functools import partial

import numpy as np
import pytest
import torch

from flowkit import FlowDensity
from flowkit.schema.statistics import weighted_quantiles
from flowkit.tabular import model
from flowkit.tabular.continuous import fitting, scoring
from flowkit.tabular.continuous.fitting import fit_continuous
from flowkit.tabular.continuous.members import MixtureMember
from flowkit.tabular.continuous.preprocessing import (
    Marginals,
    Residuals,
    Standardiser,
    grids,
    marginals,
    standardiser,
)
from flowkit.tabular.settings import FitSettings


def test_quantiles_without_weights_are_those_of_equal_weights():
    rng = np.random.default_rng(0)
    q = np.concatenate([[0.0, 1.0], rng.random(50), np.arange(1, 20) / 20])
    for x in (rng.normal(size=997), np.round(rng.normal(size=400), 1), np.array([3.0])):
        alone = weighted_quantiles(x, np.ones(len(x)), q)
        np.testing.assert_array_equal(alone, weighted_quantiles(x, np.full(len(x), 2.0), q))


def line(x):
    return x


@pytest.mark.parametrize("phase", [0.0, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_cells_of_sorted_values_are_those_of_any_order(phase, weighted):
    rng = np.random.default_rng(0)
    x = np.sort(np.concatenate([np.round(rng.normal(size=3_000), 1), rng.normal(size=500)]))
    w = rng.integers(1, 4, len(x)).astype(float) if weighted else np.ones(len(x))
    cells = grids._cells(x, w, 0.1, phase, line, 1.0)
    key, cell = np.unique(np.floor(x / 0.1 + phase + 1e-9), return_inverse=True)
    np.testing.assert_array_equal(cells.low, (key - phase) * 0.1)
    np.testing.assert_array_equal(cells.rows, np.bincount(cell, w))


def test_a_grid_found_in_some_rows_is_that_of_all_rows(monkeypatch):
    rng = np.random.default_rng(0)
    masses = rng.gamma(1.0, size=400)
    x = rng.choice(400, 9_000, p=masses / masses.sum()) + rng.uniform(-0.5, 0.5, 9_000)
    ones = np.ones(len(x))
    of_all = grids.find_grid(x, ones, line, float(x.std()))
    monkeypatch.setattr(grids, "_SCREENING_ROWS", 2_000)
    sizes = []
    cells = grids._cells
    monkeypatch.setattr(grids, "_cells", lambda x, *rest: sizes.append(len(x)) or cells(x, *rest))
    screened = grids.find_grid(x, ones, line, float(x.std()))
    np.testing.assert_array_equal(screened.edges, of_all.edges)
    np.testing.assert_array_equal(screened.images, of_all.images)
    assert 0 < sizes.count(9_000) < sizes.count(2_000)
    assert grids.find_grid(rng.normal(size=9_000), ones, line, 1.0) is None
    assert sizes[-1] == 2_000  # of values without a grid, all rows are not looked at


def test_marginals_of_many_rows_are_near_those_of_all(monkeypatch):
    rng = np.random.default_rng(0)
    values = np.stack([rng.lognormal(size=8_000), rng.normal(5, 2, 8_000)], axis=1)
    values[1_500:, 1] = np.nan  # few are present
    rest = np.ones(8_000), np.zeros(2, dtype=bool)
    of_all = Marginals.fit(values, *rest)
    monkeypatch.setattr(marginals, "_ROWS", 2_000)
    of_some = Marginals.fit(values, *rest)
    x = torch.from_numpy(values[:500])
    (y, z), (other_y, other_z) = of_all.map(x)[0].T, of_some.map(x)[0].T
    middle = y.abs() < 2
    assert not torch.equal(y, other_y)
    assert torch.allclose(y[middle], other_y[middle], rtol=0, atol=0.1)
    assert torch.equal(z, other_z)


def test_rows_are_mapped_in_chunks(monkeypatch):
    rng = np.random.default_rng(0)
    y, context = rng.normal(size=(500, 3)), rng.normal(size=(500, 2))
    nowhere = np.zeros(3, dtype=bool)
    residuals = Residuals.fit(y, context, np.ones(500), nowhere, [2, 0, 1])
    mapped = Standardiser(Marginals.fit(y, np.ones(500), nowhere), residuals)
    whole = mapped.standardised(y, context)
    monkeypatch.setattr(standardiser, "_CHUNK", 64)
    np.testing.assert_allclose(mapped.standardised(y, context), whole, rtol=0, atol=1e-12)


def test_mixtures_of_many_rows_see_some_of_them(monkeypatch):
    monkeypatch.setattr(fitting, "_EM_ROWS", 150)
    monkeypatch.setattr(fitting, "train", lambda members, *_, **__: [[0.0] for _ in members])
    seen = []

    def noted(y, weights, *rest, **options):
        seen.append((y, weights))
        return fit(y, weights, *rest, **options)

    fit = MixtureMember.fit
    monkeypatch.setattr(MixtureMember, "fit", noted)
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=(400, 2)), rng.uniform(1, 2, 400)
    fit_continuous(values, weights=weights, settings=FitSettings(effort="fast"))
    y, w = seen[0]
    assert y.shape == (150, 2)
    training = np.flatnonzero(np.random.default_rng(0).permutation(400) % 10 != 0)
    chosen = training[np.random.default_rng(0).permutation(len(training))[:150]]
    np.testing.assert_array_equal(w, weights[chosen])
    first = Marginals.fit(values[training], weights[training], np.zeros(2, dtype=bool))
    expected = Standardiser(first).standardised(values[chosen], None)
    np.testing.assert_array_equal(y, expected)


def test_held_out_rows_are_scored_in_chunks(monkeypatch):
    values = np.random.default_rng(0).normal(size=(300, 2))
    fit = partial(fit_continuous, values, settings=FitSettings(effort="fast"))
    monkeypatch.setattr(fitting, "train", lambda members, *_, **__: [[0.0] for _ in members])
    whole = [member["held_out"] for member in fit().members]
    monkeypatch.setattr(scoring, "_CHUNK", 7)
    assert [member["held_out"] for member in fit().members] == pytest.approx(whole, abs=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_percentiles_of_many_rows_are_those_of_some(monkeypatch, weighted):
    x = np.random.default_rng(0).normal(size=(1_000, 1))
    weights = np.where(x[:, 0] > 0, 3.0, 1.0) if weighted else None
    monkeypatch.setattr(fitting, "train", lambda members, *_, **__: [[0.0] for _ in members])
    fit = partial(FlowDensity(effort="fast", random_state=0).fit, x, sample_weight=weights)
    of_all = fit()
    scores = of_all.score_samples(x)
    exact = of_all.percentile(scores)
    monkeypatch.setattr(model, "_SCORED_ROWS", 400)
    sizes = []
    score = model.TableModel.score_encoded

    def noted(self, encoded):
        sizes.append(len(encoded.values))
        return score(self, encoded)

    monkeypatch.setattr(model.TableModel, "score_encoded", noted)
    near = fit().percentile(scores)
    assert sizes == [400]
    assert near == pytest.approx(exact, abs=8)
    assert not np.array_equal(near, exact)
