"""The report: what it says is right, and it can be read."""

import html.parser
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from mixed_tables import mixed_table

from flowkit import FlowDensity
from flowkit.errors import ArgumentError, DataError
from flowkit.metrics import Band
from flowkit.report import make_report
from flowkit.report.analysis import Rows, _outside_by_chance
from flowkit.report.coordinates import Coordinates
from flowkit.report.unlikely_rows import gains_by_column

ODD = 17


def related(n: int, seed: int) -> pd.DataFrame:
    """Three columns that tell nearly the same, a category that says where the fourth is."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    kind = rng.choice(["low", "high"], n)
    return pd.DataFrame(
        {
            "x": x,
            "y": x + rng.normal(0, 0.1, n),
            "z": x + rng.normal(0, 0.1, n),
            "kind": kind,
            "level": np.where(kind == "high", 5.0, -5.0) + rng.normal(size=n),
        }
    )


@pytest.fixture(scope="module")
def found():
    """Return a density, a report of it, and the rows; one of the rows is odd in y alone."""
    training, held_out = related(600, 0), related(200, 1)
    held_out.loc[ODD, ["x", "y", "z"]] = 1.5, -1.5, 1.5
    density = FlowDensity(effort="fast", random_state=0).fit(training)
    return density, make_report(density, held_out, training, title="<odd> & rows"), held_out


@pytest.fixture(scope="module")
def mixed():
    density = FlowDensity(effort="fast", random_state=0).fit(mixed_table(300))
    return density, make_report(density, mixed_table(150, 1), mixed_table(300))


def test_likelihood_is_the_mean_score_beside_simple_laws(found):
    density, report, held_out = found
    likelihood = report.document["likelihood"]
    scores = density.score_samples(held_out)
    assert likelihood["flowkit"]["mean"] == pytest.approx(scores.mean())
    assert likelihood["flowkit"]["standard_error"] == pytest.approx(scores.std(ddof=1) / 200**0.5)
    for name in ("Gaussian", "Gaussian mixture", "independent columns"):
        above = likelihood[name]["flowkit_above"]["mean"]
        assert above == pytest.approx(scores.mean() - likelihood[name]["mean"])
    # What the dependence is worth is known: two columns of noise 0.1 instead of 1, and the level.
    gain = likelihood["independent columns"]["flowkit_above"]
    assert gain["mean"] > 3 * np.log(1 / 0.2)
    assert likelihood["Gaussian"]["mean"] < likelihood["flowkit"]["mean"]


def test_baselines_score_in_the_units_of_the_table():
    """A Gaussian's own law, through a schema of bounded and positive columns and back."""
    from flowkit.report.reference_models import baselines
    from flowkit.schema import Schema

    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(100, 7, 5_000), "y": rng.lognormal(2, 0.5, 5_000)})
    schema = Schema.infer(table, {"y": "positive"})
    rows = schema.encode(table)
    entropy = 0.5 * np.log(2 * np.pi * np.e)
    truth = -(entropy + np.log(7)) - (entropy + np.log(0.5) + 2)
    for name, score in baselines(schema, rows).items():
        assert score(rows).mean() == pytest.approx(truth, abs=0.06), name


def test_the_odd_row_is_found_and_the_odd_column_named(found):
    _, report, _ = found
    first = report.document["unlikely"][0]
    assert (first["row"], first["column"], first["fitted_to"]) == (ODD, "y", False)
    assert float(first["value"]) == -1.5
    assert float(first["likelier_value"]) == pytest.approx(1.5, abs=0.5)
    assert first["gain"] > 10


def test_gains_of_an_unseen_category_and_of_a_wrong_one(found):
    density, _, held_out = found
    rows = held_out.iloc[[0, 1]].copy()
    rows["kind"], rows["level"] = ["low", "purple"], [5.0, -5.0]
    encoded = density.encode(rows)
    samples = density.encode(density.sample(500, random_state=0))
    gains, _ = gains_by_column(density, encoded, density.score_encoded(encoded), samples)
    names = density.schema_.names
    # Of a pair that contradicts itself either may be wrong; no other column can be.
    assert names[gains[0].argmax()] in ("kind", "level")
    assert names[gains[1].argmax()] == "kind"


def test_gains_are_differences_of_scores(mixed):
    """Of a row with one value replaced; at another flag, differences of the discrete block."""
    density = mixed[0]
    schema, frame = density.schema_, mixed_table(40, 7)
    drawn = density.sample(300, random_state=0)
    rows, samples = density.encode(frame), density.encode(drawn)
    scores = density.score_encoded(rows)
    gains, best = gains_by_column(density, rows, scores, samples)
    same_flag = other_flag = 0
    for c, name in enumerate(schema.names):
        changed = frame.assign(**{name: drawn[name].iloc[best[:, c]].to_numpy()})
        changed = changed.astype(frame.dtypes.to_dict())
        new = density.encode(changed)
        expected = density.score_encoded(new) - scores
        if name in ("income", "size"):  # columns with a flag
            flag = [d.name for d in schema.discrete].index(name)
            other = new.codes[:, flag] != rows.codes[:, flag]
            before = density.score_encoded(rows, block="discrete")
            by_flags = density.score_encoded(new, block="discrete") - before
            expected = np.where(other, by_flags, expected)
            other_flag += other.sum()
            same_flag += (~other).sum()
        assert gains[:, c] == pytest.approx(np.maximum(expected, 0), abs=1e-6), name
    assert min(same_flag, other_flag) > 3


def test_gains_count_the_map_of_a_bounded_column():
    x = np.random.default_rng(0).beta(2, 5, (90, 1))
    bounded = {"x0": {"kind": "bounded", "lower": 0.0, "upper": 1.0}}
    density = FlowDensity(random_state=0, schema=bounded).fit(x)
    drawn = density.sample(100, random_state=0)
    rows = density.encode(x)
    gains, best = gains_by_column(density, rows, density.score_samples(x), density.encode(drawn))
    expected = density.score_samples(drawn[best[:, 0]]) - density.score_samples(x)
    assert gains[:, 0] == pytest.approx(np.maximum(expected, 0), abs=1e-9)


def test_a_good_fit_is_called_good_and_a_bad_one_bad(found):
    density, report, _ = found
    document = report.document
    assert document["two_sample"]["auc"] < document["two_sample"]["null"][1] + 0.1
    for region in document["calibration"]["regions"]["coverage"]:
        assert region["share"] == pytest.approx(region["mass"], abs=0.12)
    other = related(200, 2)
    other["level"] *= 1.7
    document = make_report(density, other).document
    assert not document["calibration"]["columns"]["level"]["within"]
    assert document["two_sample"]["auc"] > document["two_sample"]["null"][1]
    importance = document["two_sample"]["importance"]
    assert next(iter(importance)) == "level"
    assert document["memorisation"] is None  # nothing to have been learned by heart is known


def test_memorisation_counts_copies(found):
    density, _, held_out = found
    samples = density.sample(20_000, random_state=0)
    parrot = pd.concat([samples.iloc[:30], related(60, 5)], ignore_index=True)
    assert make_report(density, held_out, parrot).document["memorisation"]["copies"] == 30
    assert make_report(density, held_out, related(60, 5)).document["memorisation"]["copies"] == 0


def test_coordinates_are_one_to_one():
    table = mixed_table(200)
    density = FlowDensity(effort="fast", random_state=0).fit(table.iloc[:90])
    rows = density.encode(table)
    points = np.nan_to_num(Coordinates(density.schema_, rows)(rows), nan=-1e9)
    assert len(np.unique(points, axis=0)) == len(table.drop_duplicates())
    group = table["group"].astype(str).to_numpy()
    apart = np.linalg.norm(points[:, None] - points, axis=-1)[group[:, None] != group]
    assert apart.min() >= 1  # states are no nearer to each other than a spread


def test_document_is_strict_json_and_every_number_is_there(mixed, tmp_path):
    density, report = mixed
    twin = report.save(tmp_path / "r.html")
    assert twin == tmp_path / "r.json"

    def refuse(word):
        raise AssertionError(word)

    document = json.loads(twin.read_text(), parse_constant=refuse)
    assert document == report.document
    assert set(document) == {
        "report",
        "rows",
        "notes",
        "likelihood",
        "calibration",
        "two_sample",
        "memorisation",
        "columns",
        "rank_correlations",
        "unlikely",
        "training_curves",
        "members",
        "schema",
        "run",
        "seed",
    }
    assert document["columns"]["size"]["held_out"]["missing"] == pytest.approx(0.1, abs=0.08)
    shares = document["columns"]["group"]["samples"]["shares"]
    assert sum(shares.values()) == pytest.approx(1.0)
    assert len(document["unlikely"]) == 20
    assert document["members"] == density.members_


def test_the_same_seed_makes_the_same_report(mixed):
    density, report = mixed
    again = make_report(density, mixed_table(150, 1), mixed_table(300))
    assert again.document == report.document


def test_page_is_whole_and_needs_nothing_else(found):
    _, report, _ = found
    page = report.to_html()
    assert "&lt;odd&gt; &amp; rows" in page
    assert "<odd>" not in page
    assert "<script" not in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) >= 8
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"https?://|url\(", page)

    unclosed = []

    class Parser(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "img"):
                unclosed.append(tag)

        def handle_endtag(self, tag):
            assert unclosed.pop() == tag

    Parser().feed(page)
    assert not unclosed


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
# The page itself carries no script; the copy that the browser is shown says how it was laid out.
MEASURE = """<script>
addEventListener("load", () => {
  const wide = [...document.querySelectorAll("body *")].filter(
    e => !e.closest(".wide") && e.getBoundingClientRect().right > innerWidth + 1);
  const broken = [...document.images].filter(i => !i.naturalWidth);
  const hidden = [...document.querySelectorAll("h2, p, img, td")].filter(e => !e.clientHeight);
  document.title = JSON.stringify({page: document.documentElement.scrollWidth, window: innerWidth,
    wide: wide.length, broken: broken.length, hidden: hidden.length,
    images: document.images.length, font: getComputedStyle(document.querySelector("p")).fontSize});
});
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium installed")
@pytest.mark.parametrize("width", [1280, 390])
def test_page_in_a_browser(mixed, tmp_path, width):
    _, report = mixed
    file = tmp_path / "page.html"
    file.write_text(report.to_html().replace("</body>", MEASURE))
    # A window cannot be as narrow as a phone: a frame can.
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe src="page.html" width="{width}" height="900" style="border:0"></iframe>'
        "<script>addEventListener('load', () => setTimeout(() => {"
        "document.title = frames[0].document.title}, 500))</script>"
    )
    result = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--allow-file-access-from-files",
            "--window-size=1400,1000",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=5000",
            "--dump-dom",
            frame.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    title = re.search("<title>(.*?)</title>", result.stdout)
    assert title is not None, result.stderr
    layout = json.loads(title.group(1))
    assert layout["window"] in (width, width - 15)  # with a bar to scroll by
    assert layout["page"] <= layout["window"]
    assert layout["images"] >= 8
    assert (layout["wide"], layout["broken"], layout["hidden"]) == (0, 0, 0)
    assert float(layout["font"].removesuffix("px")) >= 14


def test_tables_of_every_size(found):
    density, _, held_out = found
    with pytest.raises(DataError, match="at least two rows"):
        make_report(density, held_out.iloc[:1])
    document = make_report(density, held_out.iloc[:2], related(600, 0)).document
    assert document["two_sample"] is None
    rows = FlowDensity(random_state=0).fit(np.ones((5, 1)))  # nothing varies at all
    assert make_report(rows, np.ones((3, 1)), np.ones((5, 1))).to_html()


def test_many_rows_are_evaluated_in_part(found, monkeypatch):
    from flowkit.report import analysis

    monkeypatch.setattr(analysis, "MOST_ROWS", 50)
    document = make_report(found[0], related(90, 4)).document
    assert document["rows"]["looked_at"] == 50
    assert "50 of 90 held-out rows, drawn at random, were evaluated." in document["notes"]


def test_what_is_in_the_way_is_said(found, tmp_path, monkeypatch):
    density, report, held_out = found
    with pytest.raises(DataError, match="level"):
        make_report(density, held_out.drop(columns="level"))
    with pytest.raises(DataError, match="nowhere"):
        report.save(tmp_path / "nowhere" / "r.html")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ArgumentError, match=re.escape("flowkit-density[report]")):
        report.save(tmp_path / "r.html")
    assert not list(tmp_path.iterdir())


def test_columns_that_go_together_may_leave_their_bands_together():
    """Four columns with four copies of each leave by fives; twenty others one by one."""
    x = np.random.default_rng(0).normal(size=(300, 20))
    found = []
    for values in (np.repeat(x[:, :4], 5, axis=1), x):
        table = pd.DataFrame(values).add_prefix("x")
        parts = (table.iloc[:100], table.iloc[100:].reset_index(drop=True))
        new, old = (Rows(part, None, np.zeros(0), np.arange(len(part))) for part in parts)
        found.append(_outside_by_chance(new, old, list(table.columns), Band(100, 200), 0))
    assert found[0] in (5, 10)
    assert 2 <= found[1] <= 4


def test_what_to_do_is_said_at_each_cross_and_nowhere_else(found):
    density, report, _ = found
    other = related(200, 2)
    other["level"] *= 1.7
    bad = make_report(density, other).to_html()
    assert bad.count("What to do:") == bad.count('<li class="bad">') >= 2
    assert report.to_html().count("What to do:") == report.to_html().count('<li class="bad">')
