"""Autoencoders of mixed tables."""

import numpy as np
import pandas as pd
import pytest
import torch

from flowkit import FlowDensity
from flowkit.errors import ArgumentError, DataError
from flowkit.estimators import log_likelihood
from flowkit.gan import DequantizedTable
from flowkit.schema import Schema
from flowkit.training import fit
from flowkit.vae import VAE, TableLikelihood, networks, posterior


def mixed(n=400, seed=0):
    rng = np.random.default_rng(seed)
    kind = rng.integers(3, size=n)
    amount = np.where(rng.random(n) < 0.3, 0.0, rng.lognormal(kind, 0.4))
    return pd.DataFrame(
        {
            "kind": np.array(["a", "b", "c"])[kind],
            "count": rng.poisson(2 + 3 * kind),
            "amount": amount,
            "height": np.where(rng.random(n) < 0.2, np.nan, rng.normal(kind, 0.5)),
        }
    )


def likelihood(table, **overrides):
    return TableLikelihood(Schema.infer(table, overrides), table)


def make(law, latents=2):
    nets = networks("mlp-small", (law.seen,), latents, decoded=law.decoded)
    q = posterior("normal", latents, context_features=nets.context_features)
    return VAE(nets.encoder, nets.decoder, q, likelihood=law)


def test_rows_come_back_as_the_table_they_were():
    table = mixed()
    law = likelihood(table, count={"kind": "integer", "lower": 0})
    x = law.encode(table)
    assert x.shape == (400, law.width)
    assert law.features(x).shape == (400, law.seen)
    assert law.features(x).isfinite().all()
    back = law.decode(x)
    assert list(back["kind"]) == list(table["kind"])
    assert list(back["count"]) == list(table["count"])
    assert np.allclose(back["amount"], table["amount"], rtol=1e-4)
    assert np.array_equal(back["height"].isna(), table["height"].isna())


def test_masses_and_densities_sum_to_one():
    table = mixed()
    law = likelihood(table, count={"kind": "integer", "lower": 0})
    torch.manual_seed(0)
    params = 0.5 * torch.randn(1, law.decoded)
    # the category, over its states and the unseen one
    rows = law.encode(table)[:1].expand(4, -1).clone()
    names = [d.name for d in law.schema.discrete]
    rows[:, names.index("kind")] = torch.arange(4.0)
    terms = law.log_prob(rows, params[:, None].expand(1, 4, -1))
    assert terms[:, names.index("kind")].exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    # the count, from its bound on
    at = names.index("count")
    rows = law.encode(table.iloc[[0] * 3000].assign(count=np.arange(3000)))
    terms = law.log_prob(rows, params[:, None].expand(1, 3000, -1))
    assert terms[:, at].exp().sum().item() == pytest.approx(1.0, abs=1e-4)
    # a number that is present, in the table's own units
    present = law.encode(table[table["height"].notna()])[:1].expand(100_001, -1).clone()
    k, d = len(law.schema.discrete), len(law.schema.continuous)
    j = law.schema.continuous.index("height")
    present[:, k + j] = torch.linspace(-40, 40, 100_001)
    terms = law.log_prob(present, params[:, None].expand(1, 100_001, -1))
    mass = terms[:, k + j].double().exp().sum().item() * 80 / 100_000
    assert mass == pytest.approx(1.0, abs=1e-3)
    assert d == 2


def test_what_is_absent_has_no_factor_but_its_flags():
    table = mixed()
    law = likelihood(table)
    x = law.encode(table)
    torch.manual_seed(0)
    params = torch.randn(1, 400, law.decoded)
    terms = law.log_prob(x, params)
    k = len(law.schema.discrete)
    for name in ("amount", "height"):
        j = law.schema.continuous.index(name)
        absent = table[name].isna() if name == "height" else table[name] == 0
        assert (terms[:, k + j] == 0).numpy()[absent].all()
        assert (terms[:, k + j] != 0).numpy()[~absent].all()
    moved = x.clone()
    moved[:, k : k + 2] += 5.0 * (x[:, k + 2 : k + 4] == 0)  # of what is absent nothing is read
    assert torch.equal(law.features(moved), law.features(x))


def test_a_mixed_table_is_fitted_in_its_own_units():
    torch.manual_seed(0)
    table, other = mixed(1000), mixed(500, seed=1)
    density = FlowDensity(
        random_state=0, effort="fast", schema={"amount": {"kind": "bounded", "lower": 0.0}}
    ).fit(table)
    law = TableLikelihood(density.schema_, table)
    vae = make(law)
    x, held_out = law.encode(table), law.encode(other)
    before = log_likelihood(vae, held_out, samples=50).value.mean()
    fit(vae, x, steps=800, batch_size=128, learning_rate=3e-3)
    after = log_likelihood(vae, held_out, samples=200).value.mean()
    assert after > before + 1
    reference = density.score_samples(other).mean()
    assert after.item() == pytest.approx(reference, abs=1.0)  # the same measure, and near
    drawn = law.decode(vae.sample(2000, torch.Generator().manual_seed(0)))
    assert list(drawn.columns) == list(table.columns)
    assert set(drawn["kind"]) <= {"a", "b", "c"}
    assert drawn["height"].isna().mean() == pytest.approx(0.2, abs=0.08)
    assert (drawn["amount"] == 0).mean() == pytest.approx(0.3, abs=0.08)
    assert (drawn["amount"] >= 0).all()
    means = drawn.groupby("kind")["count"].mean()
    assert means["c"] > means["a"] + 2  # and columns go together


def test_reconstructions_are_tables_too():
    table = mixed()
    law = likelihood(table)
    vae = make(law)
    x = law.encode(table)
    assert law.decode(vae.reconstruct(x)).shape == table.shape
    again = vae.sample(5, torch.Generator().manual_seed(1))
    assert torch.equal(again, vae.sample(5, torch.Generator().manual_seed(1)))


def test_bad_rows_and_networks_are_named():
    table = mixed()
    law = likelihood(table)
    vae = make(law)
    with pytest.raises(DataError, match=r"^data: expected rows \(n, \d+\), as encode returns"):
        fit(vae, law.features(law.encode(table)), steps=1)
    bounded = likelihood(table, amount={"kind": "bounded", "upper": 1e3})
    outside = table.assign(amount=2e3)
    with pytest.raises(DataError, match="^data, row 0, entry"):
        fit(make(bounded), bounded.encode(outside), steps=1)
    with pytest.raises(DataError, match="^column 'count'"):
        law.encode(table.assign(count="many"))
    with pytest.raises(ArgumentError, match="^decoded: expected None for 'conv-64'"):
        networks("conv-64", (1, 16, 16), 2, decoded=7)


def large(shift):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"t": 1.7 * shift + 10 * rng.normal(size=200), "k": shift + rng.integers(0, 50, 200)}
    )


def test_a_table_of_large_numbers_keeps_its_digits():
    table, near = large(10**9), large(1_000)
    law, law_near = (TableLikelihood(Schema.infer(t), t) for t in (table, near))
    rows = law.encode(table)
    assert (law.decode(rows) - table).abs().to_numpy().max() < 1e-5
    params = torch.zeros(1, 200, law.decoded)
    torch.testing.assert_close(
        law.log_prob(rows, params), law_near.log_prob(law_near.encode(near), params)
    )


def test_means_of_integers_stay_within_their_bounds():
    table = pd.DataFrame({"children": [0, 0, 1, 2, 3] * 20, "age": np.linspace(1.0, 60.0, 100)})
    law = TableLikelihood(Schema.infer(table), table)
    means = law.decode(law.mean(5 * torch.randn(1, 500, law.decoded)))
    assert means["children"].min() == 0


def test_missing_and_wide_integers_keep_their_digits_and_masses():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "k": (10**9 + rng.integers(0, 50, 200)).astype(float),
            "wide": rng.integers(-(10**8), 10**8, 200),
        }
    )
    table.loc[::7, "k"] = np.nan
    schema = Schema.infer(table, {"k": {"kind": "integer"}, "wide": {"kind": "integer"}})
    law = TableLikelihood(schema, table)
    rows = law.encode(table)
    pd.testing.assert_frame_equal(law.decode(rows)[["k"]], table[["k"]], check_dtype=False)
    assert law.log_prob(rows, torch.zeros(1, 200, law.decoded)).isfinite().all()
    other = TableLikelihood(schema, table.assign(k=table["k"] - 50)).double()
    other.load_state_dict(law.state_dict())
    pd.testing.assert_frame_equal(other.decode(rows)[["k"]], table[["k"]], check_dtype=False)


def test_a_schema_of_a_frame_refuses_an_array():
    table = pd.DataFrame({"a": [1.5, 2.0, 3.5], "b": [1.0, 0.5, 0.1]})
    for make in (TableLikelihood, DequantizedTable):
        with pytest.raises(DataError, match="'a'"):
            make(Schema.infer(table), table.to_numpy())
