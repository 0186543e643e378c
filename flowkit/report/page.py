"""HTML page of a report: one self-contained file, without scripts."""

from html import escape
from typing import Any

from flowkit.report import figures
from flowkit.report.analysis import Analysis
from flowkit.report.markup import (
    document,
    fact,
    mean_text,
    number_text,
    picture,
    run_card,
    short,
    table,
)
from flowkit.tabular.continuous.density import by_name


def page(analysis: Analysis, title: str) -> str:
    """Return the HTML text of a report."""
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
    return document(title, parts)


def _summary(analysis: Analysis) -> str:
    d = analysis.document
    rows = d["rows"]
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in d["notes"])
    curves = d["calibration"]["columns"]
    outside = [name for name, curve in curves.items() if not curve["within"]]
    by_chance = d["calibration"]["outside_by_chance"]
    facts = [
        fact(
            len(outside) <= by_chance,
            f"{len(curves) - len(outside)} of {len(curves)} columns have ranks within their 95 % "
            f"band. For a correct model, at most {by_chance} are outside with probability 95 %."
            + (f" Outside: {', '.join(outside[:6])}." if outside else ""),
            "See the figures of these columns below. If a hard bound or rounding is not modelled, "
            "set the kind of the column with --column. Otherwise fit with --effort best.",
        ),
        fact(
            d["calibration"]["regions"]["within"],
            _density_of_rows(d["calibration"]["regions"]),
            "Compare the log-density of a new row with those of held-out rows, not of samples. "
            "If held-out rows have lower densities, the table has too few rows for its columns: "
            "add rows, or drop columns.",
        ),
    ]
    test = d["two_sample"]
    if test:
        facts.append(
            fact(
                test["auc"] <= test["null"][1],
                f"A classifier separates samples from held-out rows with an AUC of "
                f"{test['auc']:.3f} (by chance {test['null'][0]:.3f} to {test['null'][1]:.3f}).",
                "The columns that the classifier uses are listed below, the most important first. "
                "See their figures, and fit with --effort best.",
            )
        )
    distances = d["memorisation"]
    if distances:
        low, high = distances["null"]
        facts.append(
            fact(
                distances["closer"] <= high,
                "A sample is closer to the training rows than a held-out row with probability "
                f"{distances['closer']:.3f} (by chance {low:.3f} to {high:.3f}).",
                "If training rows are private, do not publish samples. Fit without --store-rows, "
                "or with more rows.",
            )
        )
    training = "" if rows["training"] is None else f"; {rows['training']:,} rows fitted"
    return (
        f"<p>{rows['held_out']:,} held-out rows{training}; {rows['samples']:,} samples; "
        f"seed {d['seed']}. Log-densities are in nats, in the units of the table.</p>"
        f'{notes}<ul class="facts">{"".join(facts)}</ul>'
    )


def _density_of_rows(regions: dict[str, Any]) -> str:
    """Return a sentence that compares log-densities of held-out rows and samples."""
    if regions["within"]:
        return "Log-densities of held-out rows are distributed as those of samples."
    share = next(e["share"] for e in regions["coverage"] if e["mass"] == 0.95)
    relation = "are lower than" if share < 0.95 else "differ from"
    return (
        f"Log-densities of held-out rows {relation} those of samples. The region with 95 % of the "
        f"samples contains {share:.1%} of the rows."
    )


def _likelihood(d: dict[str, Any]) -> str:
    rows = []
    for name, entry in d["likelihood"].items():
        above = entry.get("flowkit_above")
        rows.append([name, mean_text(entry), mean_text(above) if above else ""])
    text = (
        "<h2>Log-likelihood</h2><p>Mean log-density of held-out rows, ± standard error, in nats: "
        "natural logarithms, in the units of the columns. Compare densities of the same columns "
        "only. The last column is the paired difference between flowkit and the baseline.</p>"
    )
    trained = d["likelihood"]["flowkit"].get("training_rows")
    if trained:
        gap = trained["mean"], d["likelihood"]["flowkit"]["mean"]
        if None not in gap:
            side = "above" if gap[0] > gap[1] else "below"
            text += (
                f"<p>On training rows, the mean of flowkit is {mean_text(trained)}, "
                f"{abs(gap[0] - gap[1]):.3f} nats {side} that on held-out rows.</p>"
            )
    return text + table(["density", "nats per row", "flowkit above"], rows)


def _unlikely(d: dict[str, Any]) -> str:
    rows = [
        [
            f"{e['row']:,}" + (" (training)" if e["fitted_to"] else ""),
            e["column"],
            short(e["value"]),
            short(e["likelier_value"]),
            number_text(e["gain"], "inf"),
            number_text(e["log_density"], "-inf"),
            f"{e['percentile']:.1f}",
        ]
        for e in d["unlikely"]
    ]
    head = ["row", "column", "value", "alternative", "gain, nats", "log-density", "percentile"]
    return (
        "<h2>Rows of lowest density</h2><p>Rows are counted from 0; those of the fit are marked "
        "(training). For each row, the table has "
        "the column whose change alone would increase the log-density most, with the alternative "
        "value and the gain. Percentiles are among training rows. Point masses and missing values "
        "have probabilities, other values have densities; both are ranked in one list.</p>"
    ) + table(head, rows)


def _calibration(analysis: Analysis) -> str:
    coverage = analysis.document["calibration"]["regions"]["coverage"]
    rows = [
        [f"{e['mass']:.0%}", f"{e['share']:.1%}", f"± {e['standard_error']:.1%}"] for e in coverage
    ]
    return (
        "<h2>Calibration of the joint density</h2><p>If the density is correct, the "
        "highest-density region with a mass of 90 % contains 90 % of held-out rows. The curve "
        "shows all masses: the distribution of ranks of log-densities among those of samples, "
        "minus the uniform distribution. The grey band is simultaneous at level 95 %. On the "
        "left, a curve below 0 means too few rows in the tails, and above 0 too many.</p>"
        '<div class="cards"><div>'
        + table(["mass", "share of rows", "standard error"], rows)
        + f"</div>{picture(figures.regions(analysis), 'ranks of log-density')}</div>"
    )


def _columns(analysis: Analysis) -> str:
    names = figures.columns_to_draw(analysis)
    cards = []
    for name in names:
        curve = analysis.columns[name]
        caption = f"p = {curve.p_value:.3f}" + ("" if curve.within else ", outside the band")
        cards.append(picture(figures.column(analysis, name), f"column {name}", caption))
    left_out = len(analysis.columns) - len(names)
    more = f" {left_out} columns with larger p-values are omitted." if left_out else ""
    return (
        '<h2>Columns</h2><p>Above: shares of <span class="key-data">held-out rows</span> and '
        '<span class="key-samples">samples</span>. Below: the distribution of ranks of rows among '
        "samples (probability integral transform, ties at random), minus the uniform distribution, "
        f"with the simultaneous 95 % band.{more}</p>"
        f'<div class="cards">{"".join(cards)}</div>'
    )


def _pairs(analysis: Analysis) -> str:
    pairs = figures.pairs_to_draw(analysis)
    if not pairs:
        return ""
    cards = []
    correlations = analysis.document["rank_correlations"]
    for first, second in pairs:
        i, j = (correlations["columns"].index(name) for name in (first, second))
        data, samples = (correlations[part][i][j] for part in ("held_out", "samples"))
        caption = f"rank correlation: rows {data:+.2f}, samples {samples:+.2f}"
        png = figures.pair(analysis, first, second)
        cards.append(picture(png, f"{first} against {second}", caption))
    return (
        "<h2>Pairs of columns</h2><p>The pairs with the strongest rank correlation, and with the "
        'largest difference between <span class="key-data">held-out rows</span> and '
        f'<span class="key-samples">samples</span>.</p><div class="cards">{"".join(cards)}</div>'
    )


def _two_sample(d: dict[str, Any]) -> str:
    test = d["two_sample"]
    if not test:
        return "<h2>Classifier two-sample test</h2><p>There are too few rows for this test.</p>"
    rows = [[name, f"{fall:+.3f}"] for name, fall in list(test["importance"].items())[:8]]
    return (
        "<h2>Classifier two-sample test</h2><p>Boosted trees classify "
        f"{test['rows_each']:,} held-out rows against as many samples. One half is used for "
        f"training, the other for the AUC: {test['auc']:.3f}. For equal distributions, the AUC is "
        f"between {test['null'][0]:.3f} and {test['null'][1]:.3f} with probability 95 %. "
        "Permutation importance of columns:</p>"
    ) + table(["column", "fall of AUC"], rows)


def _memorisation(analysis: Analysis) -> str:
    distances = analysis.document["memorisation"]
    if not distances:
        return (
            "<h2>Memorisation</h2><p>Training rows are not available, so memorisation is not "
            "tested.</p>"
        )
    low, high = distances["null"]
    return (
        "<h2>Memorisation</h2><p>If a model memorises training rows, samples are closer to "
        f"training rows than held-out rows are. Of {distances['samples']:,} samples, "
        f"{distances['copies']} are exact copies of a training row; of as many held-out rows, "
        f"{distances['held_out_copies']}. A sample is closer than a held-out row with probability "
        f"{distances['closer']:.3f} (by chance {low:.3f} to {high:.3f}).</p>"
    ) + picture(figures.distances(analysis), "distances to the closest training row")


def _training(d: dict[str, Any]) -> str:
    if not d["training_curves"]:
        return "<h2>Training</h2><p>No flow was trained for the continuous columns.</p>"
    return (
        "<h2>Training</h2><p>Mean log-density of each flow on its validation fold. These scores "
        "determine early stopping and the best weights.</p>"
    ) + picture(figures.curves(d["training_curves"]), "validation scores during training")


def _run_card(d: dict[str, Any]) -> str:
    members = [
        [m["name"], m["kind"], f"{m['weight']:.4f}", number_text(m["held_out"], "")]
        for m in by_name(d["members"])
    ]
    return (
        "<h2>Model</h2><p>The density is a weighted mean of the densities of members. Weights are "
        "fitted to held-out scores of the continuous columns alone.</p>"
        + table(["member", "kind", "weight", "held-out nats"], members)
        + run_card(d["run"], d["schema"]["columns"])
    )
