"""Discrete columns: sums over open codes, against enumerations and draws."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from table_models import mixed_density

from flowkit.schema.schema import Discrete
from flowkit.tabular.conditioning import codes as weighting
from flowkit.tabular.conditioning.states import all_states, log_masses
from flowkit.tabular.conditioning.weights import chosen, log_sums
from flowkit.tabular.discrete import DiscreteBlock


@pytest.fixture(scope="module")
def mixed():
    return mixed_density()


@pytest.fixture(scope="module")
def drawn(mixed):
    return mixed[0].sample(200_000, random_state=0)


@pytest.mark.parametrize(
    "column",
    [
        Discrete("n", "integer", soft_lower=0),
        Discrete("n", "integer", lower=0, upper=9),
        Discrete("n", "integer", step=5),
    ],
    ids=["count", "bounded", "step of 5"],
)
def test_masses_of_states_are_sums_of_probabilities(column):
    rng = np.random.default_rng(0)
    number = rng.poisson(4, 400).clip(0, 9) * column.step
    block = DiscreteBlock.fit(number[:, None], [column])
    states = all_states(block, 0)
    masses = log_masses(block, 0, states, torch.zeros(1, 0).double()).exp().numpy()[0]
    assert masses.sum() == pytest.approx(1, abs=1e-6)
    for low, high, mass in zip(states.low, states.high, masses, strict=True):
        if -300 < low <= high < 300:
            whole = np.arange(low, high + 1)[:, None]
            assert mass == pytest.approx(np.exp(block.log_prob(whole)).sum(), rel=1e-6, abs=1e-12)
    assert (states.code[states.drawn] % column.step == 0).all()
    assert states.holds(np.array([0, 7, 250])).all() == (column.upper is None)


def test_a_marginal_of_a_discrete_column_sums_to_one(mixed):
    density, _ = mixed
    marginal = density.marginal(["kind"])
    scores = marginal.score_samples(pd.DataFrame({"kind": ["u", "v", "w", "never seen"]}))
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-9)
    count = density.marginal(["count"])
    found = count.estimate(pd.DataFrame({"count": np.arange(-40, 200)}))
    assert (found.standard_error == 0).all()
    assert np.exp(found.log_density).sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("conditions", "chosen_rows"),
    [
        ({"kind": "v"}, lambda t: t.kind == "v"),
        ({"kind": {"v", "w"}}, lambda t: t.kind != "u"),
        ({"count": 4}, lambda t: t["count"] == 4),
        ({"count": (5, None)}, lambda t: t["count"] >= 5),
        ({"count": {1, 6}, "kind": "u"}, lambda t: t["count"].isin([1, 6]) & (t.kind == "u")),
        ({"y": None}, lambda t: t.y.isna()),
        ({"y": float("nan"), "kind": "u"}, lambda t: t.y.isna() & (t.kind == "u")),
        ({"z": 0.0}, lambda t: t.z == 0),
        ({"z": (0.0, 1.0)}, lambda t: t.z <= 1.0),
        ({"z": (0.2, 1.0)}, lambda t: t.z.between(0.2, 1.0)),
        ({"x": (1.0, 2.0), "count": (None, 3)}, lambda t: t.x.between(1, 2) & (t["count"] <= 3)),
    ],
    ids=[
        *("category", "categories", "count", "range of counts", "set of both", "missing"),
        *(
            "missing and category",
            "point mass",
            "range with point mass",
            "range without",
            "both kinds",
        ),
    ],
)
def test_conditions_have_the_share_and_the_draws_of_all_draws(
    mixed, drawn, conditions, chosen_rows
):
    density, _ = mixed
    conditional = density.given(conditions)
    kept = drawn[chosen_rows(drawn)]
    error = 5 * (1 / np.sqrt(len(kept)) + conditional.standard_error) + 0.003
    assert conditional.log_evidence == pytest.approx(np.log(len(kept) / len(drawn)), abs=error)
    sample = conditional.sample(4_000, random_state=1)
    every = sample.assign(**{n: v for n, v in conditions.items() if n not in sample})
    assert chosen_rows(every).all()
    for name in ("x", "y", "z", "count"):
        if name in sample and kept[name].notna().any():
            both = sample[name].dropna(), kept[name].dropna()
            assert stats.ks_2samp(*both).pvalue > 1e-4, name
            gap = abs(sample[name].isna().mean() - kept[name].isna().mean())
            assert gap < 0.04, name
    if "kind" in sample:
        shares = [t["kind"].value_counts(normalize=True) for t in (sample, kept)]
        assert shares[0].sub(shares[1], fill_value=0).abs().max() < 0.04


def test_scores_and_evidence_make_the_joint(mixed):
    density, frame = mixed
    rows = frame[(frame["count"] == 4) & (frame.kind == "v")].head(5)
    conditional = density.given({"kind": "v", "count": 4})
    total = conditional.score_samples(rows[["x", "y", "z"]]) + conditional.log_evidence
    assert total == pytest.approx(density.score_samples(rows), abs=1e-9)
    within = density.given({"kind": {"v"}, "y": (None, 1.0)})
    scores = within.score_samples(frame.head(50))
    inside = (frame.kind == "v") & (frame.y <= 1.0)
    assert (np.isfinite(scores) == inside.head(50)).all()


def test_drawn_codes_agree_with_enumerated_ones(mixed, monkeypatch):
    density, _ = mixed
    block = density.model_.discrete
    states = [all_states(block, j) for j in range(len(block.columns))]
    fixed = np.zeros((1, len(states)), dtype=bool)
    last = [d.name for d in block.columns].index("z")
    fixed[0, last] = True
    code = np.zeros((1, len(states)), dtype=np.int64)

    def log_total(most, draws):
        generator = torch.Generator().manual_seed(0)
        found = weighting.weighted_codes(
            block, code, fixed, states, generator, most=most, draws=draws
        )
        return log_sums(found.log_weight, found.row, 1)[0], found.enumerated[0]

    exact, enumerated = log_total(1e9, 1)
    assert enumerated
    drawn, enumerated = log_total(0, 20_000)
    assert not enumerated
    assert drawn == pytest.approx(exact, abs=0.01)


def test_choices_follow_the_weights():
    row = np.repeat([0, 1], [3, 2])
    log_weight = np.log([0.2, 0.5, 0.3, 0.9, 0.1]) + np.repeat([5.0, -700.0], [3, 2])
    at = chosen(log_weight, row, 2, 1_000, torch.Generator().manual_seed(0)).reshape(2, 1_000)
    shares = [np.bincount(a, minlength=5) / 1_000 for a in at]
    assert shares[0] == pytest.approx([0.2, 0.5, 0.3, 0, 0], abs=2e-3)
    assert shares[1] == pytest.approx([0, 0, 0, 0.9, 0.1], abs=2e-3)


def test_explain_sums_over_discrete_columns(mixed):
    density, frame = mixed
    rows = frame.head(6)
    found = density.explain(rows)
    assert found.shape == (6, 5)
    # By all categories, the unseen one among them.
    joint = density.score_samples(rows)
    every = [density.score_samples(rows.assign(kind=k)) for k in ("u", "v", "w", "never seen")]
    expected = joint - np.logaddexp.reduce(every)
    assert found[:, 0] == pytest.approx(expected, abs=1e-9)
    numbers = [density.score_samples(rows.assign(count=n)) for n in range(-30, 150)]
    expected = joint - np.logaddexp.reduce(numbers)
    assert found[:, 1] == pytest.approx(expected, abs=1e-4)
