"""The runner of the papers' rows, on tiny data."""

import json

import papers
import pytest
import torch
from recipes import densities
from recipes.data import Data
from recipes.kinds import KINDS
from recipes.models import MODELS, Scaled, model_of
from recipes.recipe import Recipe
from recipes.rows import ROWS

from flowkit.images import PixelMap


def tiny(pixels: bool) -> Data:
    generator = torch.Generator().manual_seed(0)
    labels = tuple(torch.eye(10)[torch.arange(n) % 10] for n in (80, 20))
    if not pixels:
        parts = (torch.randn(n, 3, generator=generator) for n in (80, 20, 50))
        return Data(*parts, labels=labels)
    levels = [torch.randint(0, 256, (n, 3), generator=generator).float() for n in (80, 20, 50)]
    grey = PixelMap(squeeze=0.05)
    noisy = (grey.encode(part, generator=generator).float() for part in levels[1:])
    return Data(levels[0], *noisy, labels=labels, pixels=grey)


def test_rows_are_declared_once_and_can_be_made():
    names = [papers._slug(recipe.row) for recipe in ROWS]
    assert len(set(names)) == len(names)
    for recipe in ROWS:
        assert recipe.kind in KINDS
        assert recipe.kind != "flow" or recipe.model in MODELS
        assert recipe.published is None or recipe.source


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("pixels", [False, True])
def test_a_row_goes_on_where_it_ended(tmp_path, monkeypatch, pixels, conditional):
    monkeypatch.setattr(densities, "load", lambda *_: tiny(pixels))
    recipe = Recipe(
        "A row", "x", "made", -1.0, {"hidden": (8,)}, {"batch_size": 40}, conditional=conditional
    )
    first = papers.run(recipe, 0.005, tmp_path)
    again = papers.run(recipe, 0.01, tmp_path)
    assert again["epochs"] > first["epochs"] > 0
    assert again["curve"][: len(first["curve"]) - 1] == first["curve"][:-1]
    assert again["row"]["seconds"] > first["row"]["seconds"]
    assert ("bits_per_dimension" in first["row"]) == pixels
    assert again["row"]["measured"] < 0


def test_batch_norm_is_calibrated_on_pixels_with_noise(tmp_path, monkeypatch):
    monkeypatch.setattr(densities, "load", lambda *_: tiny(True))
    options = {"hidden": (8,), "layers": 2, "batch_norm": True}
    recipe = Recipe("A row", "x", "maf", -1.0, options, {"batch_size": 40})
    found = papers.run(recipe, 0.005, tmp_path)
    # Levels themselves, up to 255, would send every later score out of bounds.
    assert -30 < found["row"]["measured"] < 0


@pytest.mark.parametrize("conditional", [False, True])
def test_the_gaussian_is_the_one_of_most_likelihood(tmp_path, monkeypatch, conditional):
    data = tiny(False)
    monkeypatch.setattr(densities, "load", lambda *_: data)
    row = papers.run(
        Recipe("G", "x", "gaussian", kind="gaussian", conditional=conditional), 0.0, tmp_path
    )["row"]
    if not conditional:
        law = torch.distributions.MultivariateNormal(
            data.train.double().mean(0), torch.cov(data.train.double().T, correction=0)
        )
        assert row["measured"] == pytest.approx(law.log_prob(data.test.double()).mean().item())
    assert row["published"] is None


def test_the_report_says_what_was_not_run(tmp_path):
    (tmp_path / "papers").mkdir()
    row = {"row": "x", "measured": -1366.0, "standard_error": 0.7, "seconds": 9.0, "note": ""}
    row |= {"machine": "m", "date": "d"}
    path = tmp_path / "papers" / f"{papers._slug(ROWS[0].row)}.json"
    path.write_text(json.dumps({"row": row}))
    text = papers.render(tmp_path)
    assert text.count("not run") == len(ROWS) - 1
    assert "-1366.00 ± 0.70 | +0.90" in text


@pytest.mark.parametrize("scale", ["columns", "one"])
def test_scaled_data_have_densities_in_their_own_units(scale):
    data = tiny(False)
    data = Data(
        *(
            5 + part * torch.tensor([0.01, 1.0, 50.0])
            for part in data.__dict__.values()
            if isinstance(part, torch.Tensor)
        )
    )
    flow = model_of(Recipe("S", "x", "maf", options={"hidden": (8,)}, scale=scale), data)
    assert isinstance(flow, Scaled)
    deviation = data.train.std(0)
    if scale == "one":
        deviation = deviation.square().mean().sqrt().expand(3)
    normal = torch.distributions.Normal(data.train.mean(0), deviation)  # a fresh flow is its base
    expected = normal.log_prob(data.test).sum(-1)
    assert torch.allclose(flow.log_prob(data.test), expected, atol=1e-4)
    draws = flow.sample((20_000,), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(draws.std(0), deviation, rtol=0.05)


def test_the_networks_of_nice_read_pixels_as_they_are():
    data = tiny(True)
    recipe = Recipe("N", "x", "nice", options={"layers": 2, "hidden": (8,)}, scale="columns")
    flow = model_of(recipe, data)
    _, deviation = data.moments()
    first = flow.flow.transform.transforms[0]
    seen = []
    first.conditioner.net.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    x = data.test
    flow.log_prob(x)
    passed = first.passed
    assert torch.allclose(seen[0], (x - flow.mean)[:, passed], atol=1e-4)
    assert deviation.shape == (3,)


def test_a_row_of_several_splits_is_their_mean(tmp_path, monkeypatch):
    splits = {k: tiny(False) for k in range(3)}
    for k, data in splits.items():
        data.test.add_(k)
    monkeypatch.setattr(densities, "load", lambda _, split=0: splits[split])
    recipe = Recipe(
        "R", "x", "maf", options={"hidden": (8,)}, training={"batch_size": 40}, splits=3
    )
    found = papers.run(recipe, 0.01, tmp_path)
    each = torch.tensor(found["splits"])
    assert len(each) == 3
    assert found["row"]["measured"] == pytest.approx(each.mean().item())
    assert found["row"]["standard_error"] == pytest.approx(each.std().item() / 3**0.5, rel=1e-5)
    assert len(list(tmp_path.glob("r-*.safetensors"))) == 3


def test_a_mean_that_hangs_on_a_few_rows_is_told(tmp_path, monkeypatch):
    data = tiny(False)
    data.test[3] = 1e4
    monkeypatch.setattr(densities, "load", lambda *_: data)
    row = papers.run(Recipe("G", "x", "gaussian", kind="gaussian"), 0.0, tmp_path)["row"]
    assert row["measured"] < -1e5
    assert -10 < row["without_the_10_worst"] < 0
    assert f"{row['without_the_10_worst']:.2f} without the 10 least likely" in row["note"]
