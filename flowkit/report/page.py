"""A report as one HTML page that needs nothing else: no network, no script."""

import base64
from html import escape
from typing import Any

from flowkit.report import figures
from flowkit.report.analysis import Analysis

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 1rem; color: #1f2328; background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; border-bottom: 1px solid #d0d7de; }
p { margin: .4rem 0 .8rem; max-width: 46rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #eaeef2;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.cards { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); }
img { max-width: 100%; height: auto; display: block; }
figure { margin: 0; }
figcaption { font-size: .8rem; color: #59636e; }
.note { background: #fff8c5; border: 1px solid #d4a72c; border-radius: 6px; padding: .5rem .8rem; }
.facts { list-style: none; padding: 0; }
.facts li { margin: .3rem 0; }
.good::before { content: "\\2713  "; color: #1a7f37; }
.bad::before { content: "\\2717  "; color: #cf222e; }
.key-data { color: #1f6feb; font-weight: 600; }
.key-samples { color: #bc4c00; font-weight: 600; }
"""


def page(analysis: Analysis, title: str) -> str:
    """Return the page."""
    parts = [
        _summary(analysis),
        _likelihood(analysis.document),
        _unlikely(analysis.document),
        _calibration(analysis),
        _columns(analysis),
        _pairs(analysis),
        _two_sample(analysis.document),
        _memorisation(analysis),
        _training(analysis.document),
        _run_card(analysis.document),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def _summary(analysis: Analysis) -> str:
    d = analysis.document
    rows = d["rows"]
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in d["notes"])
    outside = [name for name, found in d["calibration"]["columns"].items() if not found["within"]]
    count = len(d["calibration"]["columns"])
    by_chance = d["calibration"]["outside_by_chance"]
    facts = [
        _fact(
            len(outside) <= by_chance,
            f"{count - len(outside)} of {count} columns have ranks within their 95 % band "
            f"(without any fault up to {by_chance} leave it in 95 % of cases)"
            + (f": outside {', '.join(outside[:6])}" if outside else ""),
            "Look at the pictures of these columns below. If a hard bound or a rounding is missed, "
            "give the column's kind with --column. Otherwise fit with --effort best.",
        ),
        _fact(
            d["calibration"]["regions"]["within"],
            _likely(d["calibration"]["regions"]),
            "Compare the log-density of a new row with those of held-out rows, not of samples. "
            "If held-out rows are less likely, the table has few rows for its columns: add rows, "
            "or drop columns.",
        ),
    ]
    found = d["two_sample"]
    if found:
        facts.append(
            _fact(
                found["auc"] <= found["null"][1],
                f"a classifier tells samples from held-out rows with an AUC of {found['auc']:.3f} "
                f"(by chance {found['null'][0]:.3f} to {found['null'][1]:.3f})",
                "The columns that the classifier uses are listed below, the first one first. Look "
                "at their pictures, and fit with --effort best.",
            )
        )
    found = d["memorisation"]
    if found:
        facts.append(
            _fact(
                found["closer"] <= found["null"][1],
                f"samples come closer to training rows than held-out rows do with probability "
                f"{found['closer']:.3f} (by chance {found['null'][0]:.3f} to "
                f"{found['null'][1]:.3f})",
                "Do not publish samples where training rows are private. Fit without "
                "--store-rows, or with more rows.",
            )
        )
    training = "" if rows["training"] is None else f", fitted to {rows['training']:,}"
    return (
        f"<p>{rows['held_out']:,} rows scored{training}; {rows['samples']:,} samples drawn; "
        f"seed {d['seed']}. All densities are natural logarithms, in the table's own units.</p>"
        f'{notes}<ul class="facts">{"".join(facts)}</ul>'
    )


def _likely(regions: dict[str, Any]) -> str:
    """Return how likely held-out rows are beside samples."""
    if regions["within"]:
        return "held-out rows are as likely as samples are"
    share = next(e["share"] for e in regions["coverage"] if e["mass"] == 0.95)
    side = "less likely than" if share < 0.95 else "not as likely as"
    return (
        f"held-out rows are {side} samples are: the region that holds 95 % of the samples holds "
        f"{share:.1%} of the rows"
    )


def _fact(good: bool, text: str, remedy: str) -> str:
    more = "" if good else f"<br><small>What to do: {escape(remedy)}</small>"
    return f'<li class="{"good" if good else "bad"}">{escape(text)}{more}</li>'


def _likelihood(d: dict[str, Any]) -> str:
    rows = []
    for name, found in d["likelihood"].items():
        above = found.get("flowkit_above")
        rows.append([name, _mean(found), _mean(above) if above else ""])
    text = (
        "<h2>Log-likelihood</h2><p>Mean over the scored rows, ± standard error. The last column "
        "is by how much flowkit is above, row by row, with the error of the paired difference.</p>"
    )
    trained = d["likelihood"]["flowkit"].get("training_rows")
    if trained:
        gap = trained["mean"], d["likelihood"]["flowkit"]["mean"]
        if None not in gap:
            side = "above" if gap[0] > gap[1] else "below"
            text += (
                f"<p>On the rows that it was fitted to, flowkit's mean is {_mean(trained)}, "
                f"{abs(gap[0] - gap[1]):.3f} nats {side} that.</p>"
            )
    return text + _table(["density", "nats per row", "flowkit above"], rows)


def _unlikely(d: dict[str, Any]) -> str:
    rows = [
        [
            f"{e['row']:,}" + (" (fitted to)" if e["fitted_to"] else ""),
            e["column"],
            _short(e["value"]),
            _short(e["likelier_value"]),
            _number(e["gain"], "inf"),
            _number(e["log_density"], "-inf"),
            f"{e['percentile']:.1f}",
        ]
        for e in d["unlikely"]
    ]
    head = ["row", "column", "value", "likelier", "gain, nats", "log-density", "percentile"]
    return (
        "<h2>Least likely rows</h2><p>Rows are counted from 0. The column named is the one of "
        "which another value, all else unchanged, would make the row most likely: the likelier "
        "value, and what it would gain. The percentile is among the rows fitted to. Where a column "
        "has point masses or missing values, rows at these have a probability, others a density: "
        "they are ranked in one list all the same.</p>"
    ) + _table(head, rows)


def _calibration(analysis: Analysis) -> str:
    coverage = analysis.document["calibration"]["regions"]["coverage"]
    rows = [
        [f"{e['mass']:.0%}", f"{e['share']:.1%}", f"± {e['standard_error']:.1%}"] for e in coverage
    ]
    return (
        "<h2>Calibration of the whole</h2><p>If the density is right, its region of highest "
        "density with a mass of 90 % holds 90 % of new rows. The curve shows all masses at once: "
        "the distribution of the rows' log-densities among those of samples, minus the uniform "
        "one, with a band that holds in 95 % of cases at all points together. Below zero on the "
        "left: fewer rows in the tails than there should be; above: more.</p>"
        '<div class="cards"><div>'
        + _table(["mass", "rows within", "by chance"], rows)
        + f"</div>{_picture(figures.regions(analysis), 'ranks of log-density')}</div>"
    )


def _columns(analysis: Analysis) -> str:
    names = figures.columns_shown(analysis)
    cards = []
    for name in names:
        found = analysis.columns[name]
        caption = f"p = {found.p_value:.3f}" + ("" if found.within else ", outside the band")
        cards.append(_picture(figures.column(analysis, name), f"column {name}", caption))
    left_out = len(analysis.columns) - len(names)
    more = f" {left_out} columns that fit better are left out." if left_out else ""
    return (
        '<h2>Columns</h2><p>Above: shares of <span class="key-data">held-out rows</span> and '
        '<span class="key-samples">samples</span>. Below: ranks of rows among samples (the '
        "probability integral transform; ties at random), their distribution minus the uniform "
        f"one, with its simultaneous 95 % band.{more}</p>"
        f'<div class="cards">{"".join(cards)}</div>'
    )


def _pairs(analysis: Analysis) -> str:
    found = figures.pairs_shown(analysis)
    if not found:
        return ""
    cards = []
    correlations = analysis.document["rank_correlations"]
    for first, second in found:
        i, j = (correlations["columns"].index(name) for name in (first, second))
        data, samples = (correlations[who][i][j] for who in ("held_out", "samples"))
        caption = f"rank correlation {data:+.2f}, of samples {samples:+.2f}"
        picture = figures.pair(analysis, first, second)
        cards.append(_picture(picture, f"{first} against {second}", caption))
    return (
        "<h2>Pairs of columns</h2><p>Those most correlated, and those whose rank correlation "
        'differs most between <span class="key-data">held-out rows</span> and '
        f'<span class="key-samples">samples</span>.</p><div class="cards">{"".join(cards)}</div>'
    )


def _two_sample(d: dict[str, Any]) -> str:
    found = d["two_sample"]
    if not found:
        return "<h2>Samples against rows</h2><p>Too few rows for a classifier.</p>"
    rows = [[name, f"{fall:+.3f}"] for name, fall in list(found["importance"].items())[:8]]
    return (
        "<h2>Samples against rows</h2><p>Boosted trees were trained to tell "
        f"{found['rows_each']:,} held-out rows from as many samples, and scored on others of them: "
        f"AUC {found['auc']:.3f}; without any difference it lies between {found['null'][0]:.3f} "
        f"and {found['null'][1]:.3f} in 95 % of cases. The columns that they went by, and how "
        "much the AUC falls when each is shuffled:</p>"
    ) + _table(["column", "fall of AUC"], rows)


def _memorisation(analysis: Analysis) -> str:
    found = analysis.document["memorisation"]
    if not found:
        return (
            "<h2>Memorisation</h2><p>The rows that the model was fitted to are not here, so "
            "nothing can be said.</p>"
        )
    return (
        "<h2>Memorisation</h2><p>A model that has learned rows by heart draws samples closer to "
        f"them than new rows are. Of {found['samples']:,} samples, {found['copies']} are exact "
        f"copies of a training row (of the held-out rows, {found['held_out_copies']}). A sample "
        f"is closer than a held-out row with probability {found['closer']:.3f}; by chance "
        f"{found['null'][0]:.3f} to {found['null'][1]:.3f}.</p>"
    ) + _picture(figures.distances(analysis), "distances to the closest training row")


def _training(d: dict[str, Any]) -> str:
    if not d["training_curves"]:
        return "<h2>Training</h2><p>No network was trained for the continuous columns.</p>"
    return (
        "<h2>Training</h2><p>Mean log-density of each flow on the fold that it was not fitted to, "
        "by which its training was stopped and its best weights were kept.</p>"
    ) + _picture(figures.curves(d["training_curves"]), "held-out scores in training")


def _run_card(d: dict[str, Any]) -> str:
    members = [
        [m["name"], m["kind"], f"{m['weight']:.4f}", _number(m["held_out"], "")]
        for m in d["members"]
    ]
    run = [[key, str(value)] for key, value in d["run"].items()]
    schema = [
        [c["name"], c["kind"], ", ".join(f"{k} {_short(v)}" for k, v in c.items() if k not in _OWN)]
        for c in d["schema"]["columns"]
    ]
    return (
        "<h2>The model</h2><p>Its density is the weighted mean of these members', weighed by rows "
        "that they were not fitted to.</p>"
        + _table(["member", "kind", "weight", "held-out nats"], members)
        + "<h2>Run card</h2>"
        + _table(["", ""], run)
        + "<h2>Schema</h2>"
        + _table(["column", "kind", "options"], schema)
    )


_OWN = ("name", "kind", "dtype")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _mean(found: dict[str, Any]) -> str:
    if found["mean"] is None:
        return "-inf"
    return f"{found['mean']:+.3f} ± {_number(found['standard_error'], 'unknown')}"


def _number(value: float | None, otherwise: str) -> str:
    return otherwise if value is None else f"{value:.3f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    def line(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(c)}</{tag}>" for c in cells) + "</tr>"

    top = line(head, "th") if any(head) else ""
    body = "".join(line(cells, "td") for cells in rows)
    return f'<div class="wide"><table>{top}{body}</table></div>'


def _picture(png: bytes, alt: str, caption: str = "") -> str:
    data = base64.b64encode(png).decode()
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img alt="{escape(alt)}" src="data:image/png;base64,{data}">{below}</figure>'
