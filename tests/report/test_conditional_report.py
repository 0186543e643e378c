"""The report of a conditional density: its numbers are right, and faults of a model are seen."""

import html.parser
import json
import re

import numpy as np
import pandas as pd
import pytest

from flowkit import ConditionalFlowDensity
from flowkit.errors import ArgumentError, DataError
from flowkit.metrics import uniformity
from flowkit.report import make_conditional_report
from flowkit.report.conditional.categorical import CategoricalRows
from flowkit.report.conditional.features import by_feature
from flowkit.report.conditional.numeric import NumericRows, crps_of_sample
from flowkit.schema import Schema

ODD = 7


def houses(n: int, seed: int) -> pd.DataFrame:
    """A price by area and region; its step is 0.5, and some areas are missing."""
    rng = np.random.default_rng(seed)
    area = rng.uniform(1, 5, n)
    region = rng.choice(["north", "south", "west"], n)
    price = 10 * area + 5 * (region == "south") + rng.normal(size=n) * 2
    area[rng.random(n) < 0.1] = np.nan
    return pd.DataFrame({"area": area, "region": region, "price": (2 * price).round() / 2})


@pytest.fixture(scope="module")
def found():
    """Return a model, a report of it and the rows; one row is odd, of an unseen region."""
    held_out = houses(150, 1)
    held_out.loc[ODD, "price"] += 60
    held_out.loc[ODD, "region"] = "east"
    model = ConditionalFlowDensity(target="price", effort="fast", random_state=0)
    model.fit(houses(55, 0))
    numbers = np.arange(150) + 1_000
    title = "<odd> & rows"
    report = make_conditional_report(model, held_out, houses(55, 0), title=title, numbers=numbers)
    return model, report, held_out


@pytest.fixture(scope="module")
def classes():
    model = ConditionalFlowDensity(target="region", effort="fast", random_state=0)
    model.fit(houses(55, 0))
    return model, make_conditional_report(model, houses(150, 1), houses(55, 0))


def test_scores_are_those_of_the_model(found):
    model, report, held_out = found
    d = report.document
    ours = d["likelihood"]["flowkit"]
    scores = model.score_samples(held_out)
    assert ours["mean"] == pytest.approx(scores.mean())
    assert ours["standard_error"] == pytest.approx(scores.std(ddof=1) / 150**0.5)
    trained = model.score_samples(houses(55, 0)).mean()
    assert ours["training_rows"]["mean"] == pytest.approx(trained)
    cells = model.log_mass(held_out, width=0.5)
    assert d["likelihood"]["per_cell"]["step"] == 0.5
    assert d["likelihood"]["per_cell"]["mean"] == pytest.approx(cells.mean())
    assert d["crps"]["mean"] == pytest.approx(model.crps(held_out).mean())
    without = crps_of_sample(held_out["price"].to_numpy(), houses(55, 0)["price"].to_numpy())
    assert d["crps"]["without_features"]["mean"] == pytest.approx(without.mean())
    below = d["crps"]["below_it"]["mean"]
    assert below == pytest.approx(without.mean() - d["crps"]["mean"])
    assert below > 3


def test_intervals_have_the_widths_of_the_model_and_their_share_of_rows(found):
    model, report, held_out = found
    pit = model.pit(held_out)
    for entry in report.document["intervals"]:
        low, high = model.interval(held_out, entry["level"]).T
        assert entry["mean_width"] == pytest.approx((high - low).mean())
        assert entry["median_width"] == pytest.approx(np.median(high - low))
        share = (np.abs(pit - 0.5) <= entry["level"] / 2).mean()
        assert entry["coverage"] == pytest.approx(share, abs=0.03)  # jumps at random
        assert entry["band"][0] < entry["level"] < entry["band"][1]
    assert [e["level"] for e in report.document["intervals"]] == [0.5, 0.8, 0.9, 0.95]
    shares = [e["share_below"] for e in report.document["quantiles"]]
    assert shares == sorted(shares)
    quantiles = report.document["target_quantiles"]
    assert quantiles["observed"][49] == pytest.approx(np.median(held_out["price"]))
    assert quantiles["predicted"][49] == pytest.approx(np.median(held_out["price"]), rel=0.1)


def test_the_crps_of_a_sample_is_its_definition():
    rng = np.random.default_rng(0)
    y, x = rng.normal(size=20), rng.normal(size=31)
    x[:3] = y[0]
    to_y = np.abs(x - y[:, None]).mean(1)
    expected = to_y - np.abs(x - x[:, None]).mean() / 2
    assert np.allclose(crps_of_sample(y, x), expected)


def rows_of(pit: np.ndarray) -> NumericRows:
    n = len(pit)
    return NumericRows(np.zeros(n), pit, np.ones(n), np.zeros((n, 9)), np.zeros(n), False)


def test_features_whose_groups_are_wrong_come_first():
    rng = np.random.default_rng(0)
    n = 600
    table = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "kind": rng.choice(["a", "b", "c"], n),
            "wide": rng.normal(size=n),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, n), "D"),
        }
    )
    table.loc[:40, "x"] = np.nan
    schema = Schema.infer(table)
    pit = rng.random(n)
    clean = {e["feature"]: e for e in by_feature(schema, table, rows_of(pit))}
    assert min(e["p_value"] for e in clean.values()) > 0.01
    assert [g["group"] for g in clean["x"]["groups"]][-1] == "missing"
    assert clean["x"]["groups"][-1]["rows"] == 41
    assert sum(g["rows"] for g in clean["day"]["groups"]) == n
    assert clean["day"]["groups"][0]["group"].startswith("2024-01-01 to 2024-0")
    biased = (table["kind"] == "b").to_numpy()
    pit[biased] **= 0.5  # too many large ones
    spread = (table["wide"] > np.quantile(table["wide"], 0.8)).to_numpy()
    pit[spread] = 0.5 + (pit[spread] - 0.5) * 0.3  # distributions too wide
    ranked = by_feature(schema, table, rows_of(pit))
    assert {e["feature"] for e in ranked[:2]} == {"kind", "wide"}
    entries = {e["feature"]: e for e in ranked}
    group = next(g for g in entries["kind"]["groups"] if g["group"] == "b")
    assert group["z"]["location"] > 4
    assert group["mean_pit"] == pytest.approx(pit[biased].mean())
    assert group["rows"] == biased.sum()
    assert entries["wide"]["groups"][-1]["z"]["spread"] < -6
    assert entries["wide"]["p_values"]["spread"] < 1e-6 < entries["wide"]["p_values"]["location"]


def test_p_values_of_features_are_even_by_chance():
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"x": rng.normal(size=200), "k": rng.choice(["a", "b"], 200)})
    schema, found = Schema.infer(table), {"location": [], "spread": []}
    for _ in range(150):
        for entry in by_feature(schema, table, rows_of(rng.random(200))):
            for check, p in entry["p_values"].items():
                found[check].append(p)
    for p in found.values():
        assert abs(np.mean(p) - 0.5) < 4 * (1 / 12 / 300) ** 0.5
        assert uniformity(np.array(p), None).p_value > 0.001


def test_the_odd_row_is_the_worst_and_its_reason_is_in_words(found):
    _, report, held_out = found
    worst = report.document["worst"]
    assert len(worst) == 20
    first = worst[0]
    assert first["row"] == ODD + 1_000
    assert first["value"] == f"{held_out['price'][ODD]:.6g}"
    assert first["reason"].startswith("above the 95 % interval, by ")
    assert first["reason"].endswith("; the fit has not seen its region 'east'")
    assert [e["log_density"] for e in worst] == sorted(e["log_density"] for e in worst)


def test_reasons_of_single_rows():
    from flowkit.report.conditional.worst_rows import _of_category, _of_number

    quantiles = np.tile(np.linspace(-4, 4, 9), (20, 1))
    quantiles[3] *= 10
    y = np.zeros(20)
    y[:3] = 4.5, -30, 4.01
    pit = np.array([0.99, 0.0, 0.98, *np.full(17, 0.5)])
    rows = NumericRows(y, pit, y, quantiles, y, False)
    assert _of_number(rows, 0, -9.0, rows.width(0.95))[1] == "above the 95 % interval, by little"
    assert (
        _of_number(rows, 1, -9.0, rows.width(0.95))[1]
        == "below the 95 % interval, by 3.2 times its width"
    )
    assert (
        _of_number(rows, 3, -9.0, rows.width(0.95))[1]
        == "inside the 95 % interval, which is among the widest tenth"
    )
    assert (
        _of_number(rows, 4, -9.0, rows.width(0.95))[1]
        == "inside the 95 % interval, at a value of low density"
    )
    assert (
        _of_number(rows, 4, -np.inf, rows.width(0.95))[1]
        == "beyond a bound, where the density is 0"
    )
    assert _of_number(rows, 4, 0.0, rows.width(0.95))[0] == "0 (-4 to 4)"
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]])
    categories = CategoricalRows(("yes", "no"), np.array([1, 0, 2]), p)
    assert _of_category(categories, 0) == (
        "yes (0.900)",
        "yes was predicted; its own probability was 0.1",
    )
    assert _of_category(categories, 1)[1] == "predicted, but with a probability of 0.600 only"
    assert _of_category(categories, 2)[1] == "the fit has not seen this category"


def test_categories_have_log_loss_and_reliability(classes):
    model, report = classes
    d, held_out = report.document, houses(150, 1)
    assert d["log_loss"]["mean"] == pytest.approx(-model.score_samples(held_out).mean())
    assert d["share_right"]["mean"] == pytest.approx(model.score(held_out))
    trained = houses(55, 0)["region"].value_counts()
    shares = (trained + 0.25) / (trained.sum() + 1)  # and a quarter of a row for an unseen one
    without = -np.log(shares[held_out["region"]]).mean()
    assert d["log_loss"]["without_features"]["mean"] == pytest.approx(without)
    p, truth = model.probabilities(held_out), held_out["region"].to_numpy()
    for k, name in enumerate(model.targets_.columns[0].categories):
        assert d["categories"][name]["probability"] == pytest.approx(p[:, k].mean())
        assert d["categories"][name]["share"] == pytest.approx((truth == name).mean())
    assert sum(e["rows"] for e in d["reliability"]) == 150
    means = [e["probability"] for e in d["reliability"]]
    assert means == sorted(means)
    assert {e["feature"] for e in d["features"]} == {"area", "price"}
    assert not {"pit", "crps", "intervals"} & set(d)
    page = report.to_html()
    assert "<h2>Reliability</h2>" in page
    assert "predicted (probability)" in page


def test_probabilities_that_are_too_sure_are_outside_their_bands():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1, 500)
    code = (rng.random(500) > p).astype(int)
    right, sure = (np.stack([q, 1 - q], 1) for q in (p, 1 - (1 - p) / 4))

    def outside(probabilities):
        rows = CategoricalRows(("a", "b"), code, probabilities)
        entries = rows.document(np.zeros(500), code)["reliability"]
        return sum(not e["band"][0] <= e["share"] <= e["band"][1] for e in entries)

    assert outside(right) <= 2
    assert outside(sure) >= 6


def test_the_page_is_whole_and_the_document_strict_json(found, classes, tmp_path):
    for report in (found[1], classes[1]):
        twin = report.save(tmp_path / "r.html")

        def refuse(word):
            raise AssertionError(word)

        assert json.loads(twin.read_text(), parse_constant=refuse) == report.document
        page = (tmp_path / "r.html").read_text()
        assert "<script" not in page
        assert not re.search(r"https?://|url\(", page)
        sources = re.findall(r'(?:src|href)="([^"]*)"', page)
        assert sources
        assert all(source.startswith("data:image/png;base64,") for source in sources)
        assert page.count("What to do:") == page.count('<li class="bad">')
        unclosed = []

        class Parser(html.parser.HTMLParser):
            def handle_starttag(self, tag, attrs, unclosed=unclosed):
                if tag not in ("meta", "img", "br"):
                    unclosed.append(tag)

            def handle_endtag(self, tag, unclosed=unclosed):
                assert unclosed.pop() == tag

        Parser().feed(page)
        assert not unclosed
    page = found[1].to_html()
    assert "&lt;odd&gt; &amp; rows" in page
    assert "gives the distribution of price (real) given 2 features" in page
    assert "fitted to 55 rows" in page
    assert "log-probability of a step of 0.5, nats" in page


def test_the_same_seed_makes_the_same_report(found):
    model, report, held_out = found
    numbers = np.arange(150) + 1_000
    again = make_conditional_report(model, held_out, houses(55, 0), numbers=numbers)
    assert again.document == report.document


def test_a_model_of_its_own_draws_is_called_good_and_another_bad(found):
    model, rows = found[0], houses(500, 5)
    rows["price"] = model.sample(rows, 1, random_state=0)[:, 0]
    good = make_conditional_report(model, rows)
    d = good.document
    assert d["pit"]["within"]
    assert all(e["band"][0] <= e["coverage"] <= e["band"][1] for e in d["intervals"])
    assert min(e["p_value"] for e in d["features"]) > 0.01
    assert "What to do:" not in good.to_html()
    rows.loc[rows["region"] == "west", "price"] += 8
    bad = make_conditional_report(model, rows)
    assert not bad.document["pit"]["within"]
    assert bad.document["features"][0]["feature"] == "region"
    assert bad.document["features"][0]["p_value"] < 1e-6
    assert bad.to_html().count("What to do:") >= 2


def test_categories_of_its_own_draws_are_reliable(classes):
    model, rows = classes[0], houses(500, 5)
    rows["region"] = model.sample(rows, 1, random_state=0)[:, 0]
    d = make_conditional_report(model, rows).document
    inside = [e["band"][0] <= e["share"] <= e["band"][1] for e in d["reliability"]]
    assert sum(inside) >= 8
    assert min(e["p_value"] for e in d["features"]) > 0.01
    assert abs(d["features"][0]["groups"][0]["z"]["confidence"]) < 4


@pytest.mark.parametrize("kind", ["date", "count", "angle", "levels", "holes"])
def test_targets_of_every_kind(kind):
    table = houses(90, 3).drop(columns="region")
    rng, schema = np.random.default_rng(3), None
    x = table["price"].to_numpy()
    if kind == "date":
        table["price"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(x.round(), "D")
    elif kind == "count":
        table["price"] = rng.poisson(x / 10)
    elif kind == "angle":
        table["price"], schema = x % 360, {"price": {"kind": "circular", "period": 360.0}}
    elif kind == "levels":
        table["price"] = np.where(x > 30, 2.5, 0.5)
    else:
        table["price"] = np.where(rng.random(90) < 0.2, np.nan, np.where(x < 20, 0.0, x))
    model = ConditionalFlowDensity(target="price", effort="fast", schema=schema, random_state=0)
    model.fit(table[:55])
    numbers = np.arange(55, 90)
    report = make_conditional_report(model, table[55:], table[:55], numbers=numbers)
    d, page = report.document, report.to_html()
    there = table[55:].dropna(subset="price")
    assert d["rows"]["held_out"] == len(there)
    assert d["likelihood"]["flowkit"]["mean"] == pytest.approx(model.score_samples(there).mean())
    for e in d["worst"][:3]:
        row = table.iloc[[e["row"]]]
        assert e["log_density"] == pytest.approx(model.score_samples(row)[0])
    if kind == "angle":
        assert d["mean_cosine"] == pytest.approx(model.score(there))
        assert not {"pit", "crps"} & set(d)
        return
    days = 86_400 if kind == "date" else 1
    assert d["crps"]["mean"] == pytest.approx(model.crps(there).mean() / days)
    if kind in ("date", "levels"):
        assert d["crps"]["below_it"]["mean"] > 0
    low, high = model.interval(there, 0.9).T
    width = (high - low) / (np.timedelta64(1, "D") if kind == "date" else 1)
    assert d["intervals"][2]["mean_width"] == pytest.approx(width.mean())
    assert d["target"]["unit"] == ("days" if kind == "date" else None)
    if kind == "date":
        assert "CRPS and widths are in days." in page
        moment = r"202\d-\d\d-\d\d( \d\d:\d\d:\d\d)?"
        assert re.fullmatch(rf"{moment} \({moment} to {moment}\)", d["worst"][0]["predicted"])
        assert d["worst"][0]["predicted"] in page
        assert abs(d["target_quantiles"]["predicted"][50] - 19_723 - 30) < 20
    if kind == "holes":
        assert "rows have no target and are left out" in " ".join(d["notes"])


def test_many_rows_are_evaluated_in_part(found, monkeypatch):
    monkeypatch.setattr("flowkit.report.conditional.rows.MOST_ROWS", 50)
    monkeypatch.setattr("flowkit.report.conditional.rows.MOST_PREDICTED", 40)
    monkeypatch.setattr("flowkit.report.conditional.rows._AT_ONCE", 30)
    model, _, held_out = found
    d = make_conditional_report(model, held_out).document
    assert d["rows"]["held_out"] == 50
    assert d["notes"] == [
        "50 of 150 held-out rows, drawn at random, are evaluated.",
        "Intervals, CRPS and calibration are those of 40 rows, drawn at random.",
    ]
    assert sum(g["rows"] for g in d["features"][0]["groups"]) <= 40
    scores = model.score_samples(held_out)
    for entry in d["worst"]:
        assert entry["log_density"] == pytest.approx(scores[entry["row"]])


def test_what_is_in_the_way_is_said(found):
    model, _, held_out = found
    with pytest.raises(DataError, match="column 'price': expected the target in the table"):
        make_conditional_report(model, held_out.drop(columns="price"))
    with pytest.raises(DataError, match="at least two rows with the target 'price', got 1"):
        make_conditional_report(model, held_out[:1])
    with pytest.raises(DataError, match="area"):
        make_conditional_report(model, held_out.drop(columns="area"))
    x = np.random.default_rng(0).normal(size=(40, 3))
    several = ConditionalFlowDensity(target=["x1", "x2"], effort="fast", random_state=0).fit(x)
    with pytest.raises(ArgumentError, match="one target; fit a model for each target, got 2"):
        make_conditional_report(several, x)
    apart = ConditionalFlowDensity(effort="fast", random_state=0).fit(x[:, :2], x[:, 2])
    with pytest.raises(ArgumentError, match="features and target in one table"):
        make_conditional_report(apart, x)
