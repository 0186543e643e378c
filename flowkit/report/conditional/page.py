"""HTML page of a report on a conditional density: one self-contained file, without scripts."""

from html import escape
from typing import Any

from flowkit.report.conditional import figures
from flowkit.report.conditional.analysis import ConditionalAnalysis
from flowkit.report.conditional.numeric import NumericRows
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

# Features whose groups are listed.
_LISTED = 6
_LEVEL = 0.05
_MORE = "Fit with --effort best, or with more rows."


def conditional_page(analysis: ConditionalAnalysis, title: str) -> str:
    """Return the HTML text of a report on a conditional density."""
    d = analysis.document
    sections = [_summary(d), _scores(d)]
    if "intervals" in d:
        sections += [_intervals(analysis), _pit(analysis)]
    if "reliability" in d:
        sections.append(_reliability(d))
    sections += [_features(d), _worst(d), _members(d), run_card(d["run"], d["schema"]["columns"])]
    return document(title, sections)


def _summary(d: dict[str, Any]) -> str:
    target, rows = d["target"], d["rows"]
    members = ", ".join(
        f"{m['kind']} {m['weight']:.0%}" for m in sorted(d["members"], key=lambda m: -m["weight"])
    )
    fitted = "" if rows["fitted"] is None else f", fitted to {rows['fitted']:,} rows"
    several = len({m["target"] for m in d["members"]}) < len(d["members"])
    kind = f"It is a weighted mean of these members: {members}{fitted}." if several else ""
    unit = " CRPS and widths are in days." if target["unit"] else ""
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in d["notes"])
    features = len(d["schema"]["columns"]) - 1
    text = (
        f"For each row, the model gives the distribution of {target['name']} ({target['kind']}) "
        f"given {features} {'feature' if features == 1 else 'features'}. {kind} All scores are "
        f"those of {rows['held_out']:,} held-out rows. The score of a row is the logarithm of a "
        f"{d['likelihood']['measure']}, in nats.{unit}"
    )
    return (
        f"<p>{escape(text)} Random numbers have seed {d['seed']}.</p>{notes}"
        f'<ul class="facts">{"".join(_facts(d))}</ul>'
    )


def _facts(d: dict[str, Any]) -> list[str]:
    facts = []
    if "pit" in d:
        facts.append(
            fact(
                d["pit"]["within"],
                "The probability integral transforms are "
                + ("" if d["pit"]["within"] else "not ")
                + "within the 95 % band of the uniform distribution.",
                f"See their histogram. {_MORE} If a hard bound or rounding is not modelled, set "
                "the kind of the target with --column.",
            )
        )
        ninety = next(e for e in d["intervals"] if e["level"] == 0.9)
        low, high = ninety["band"]
        side = "wide" if ninety["coverage"] > high else "narrow"
        facts.append(
            fact(
                low <= ninety["coverage"] <= high,
                f"The 90 % intervals contain {ninety['coverage']:.1%} of the rows "
                f"(by chance {low:.1%} to {high:.1%}).",
                f"The intervals are too {side}. {_MORE}",
            )
        )
    for key, name in (("crps", "CRPS"), ("log_loss", "log-loss")):
        if key in d:
            below = d[key]["below_it"]
            facts.append(
                fact(
                    below["mean"] > 0,
                    f"The mean {name} is {_mean(d[key])}. Without features, it is "
                    f"{_mean(d[key]['without_features'])}.",
                    "The features have too little information, or the rows are too few.",
                )
            )
    if d["features"]:
        bad = [e["feature"] for e in d["features"] if e["p_value"] < _LEVEL / len(d["features"])]
        more = f" The worst: {', '.join(bad[:6])}." if bad else ""
        facts.append(
            fact(
                not bad,
                f"{len(bad)} of {len(d['features'])} features have groups of rows whose "
                f"distributions are wrong, with a p-value below {_LEVEL} divided by the number of "
                f"features.{more}",
                f"See the groups of these features below. {_MORE}",
            )
        )
    return facts


def _scores(d: dict[str, Any]) -> str:
    likelihood = d["likelihood"]
    rows = [["log-density, nats", mean_text(likelihood["flowkit"]), ""]]
    if "training_rows" in likelihood["flowkit"]:
        trained = mean_text(likelihood["flowkit"]["training_rows"])
        rows.append(["log-density of the rows of the fit, nats", trained, ""])
    if "per_cell" in likelihood:
        cell = likelihood["per_cell"]
        name = f"log-probability of a step of {cell['step']:g}, nats"
        rows.append([name, mean_text(cell), ""])
    for key, name in (("crps", "CRPS"), ("log_loss", "log-loss, nats")):
        if key in d:
            rows.append([name, _mean(d[key]), _mean(d[key]["without_features"])])
    if "share_right" in d:
        rows.append(["share predicted right", mean_text(d["share_right"]), ""])
    if "mean_cosine" in d:
        rows.append(["mean cosine of the errors", f"{d['mean_cosine']:.3f}", ""])
    return (
        "<h2>Scores</h2><p>Means of held-out rows, ± standard error. A forecast without features "
        "is the distribution of the target in the rows of the fit, or, if these are not at hand, "
        "in the evaluated rows.</p>"
    ) + table(["score", "flowkit", "without features"], rows)


def _intervals(analysis: ConditionalAnalysis) -> str:
    d = analysis.document
    rows = [
        [
            f"{e['level']:.0%}",
            f"{e['coverage']:.1%}",
            _band(e["band"]),
            f"{e['mean_width']:.4g}",
            f"{e['median_width']:.4g}",
        ]
        for e in d["intervals"]
    ]
    shares = [
        [f"{e['probability']:.1%}", f"{e['share_below']:.1%}", _band(e["band"])]
        for e in d["quantiles"]
    ]
    assert isinstance(analysis.rows, NumericRows)  # noqa: S101  for the type checker
    cards = [
        table(["quantile", "rows below", "by chance"], shares),
        picture(figures.quantiles(d["quantiles"]), "shares of rows below predicted quantiles"),
        picture(figures.predictions(analysis.rows, d["seed"]), "targets and predicted medians"),
        picture(
            figures.target_quantiles(d["target_quantiles"]),
            "quantiles of observed and predicted targets",
        ),
    ]
    return (
        "<h2>Intervals and quantiles</h2><p>If the distributions are right, the central interval "
        "of 90 % contains 90 % of the rows. By chance, the share is in the given range with "
        "probability 95 %. At values with a probability of their own, the ends of an interval "
        "count in part.</p>"
        + table(["interval", "rows inside", "by chance", "mean width", "median width"], rows)
        + f'<div class="cards">{"".join(f"<div>{card}</div>" for card in cards)}</div>'
    )


def _pit(analysis: ConditionalAnalysis) -> str:
    assert isinstance(analysis.rows, NumericRows)  # noqa: S101  for the type checker
    assert analysis.pit is not None  # noqa: S101
    return (
        "<h2>Probability integral transform</h2><p>The predicted probability of a smaller target, "
        "which is uniform if the distributions are right. A hill in the middle means that they "
        "are too wide, a valley that they are too narrow, a slope that they are biased. Below: "
        "the distribution function minus the uniform one, with its simultaneous 95 % band. "
        f"p = {analysis.pit.p_value:.3f}.</p>"
    ) + picture(figures.pit(analysis.rows, analysis.pit), "histogram of the PIT")


def _reliability(d: dict[str, Any]) -> str:
    rows = [
        [
            name,
            f"{e['probability']:.1%}",
            f"{e['share']:.1%}",
            _band(e["band"]),
        ]
        for name, e in d["categories"].items()
    ]
    return (
        "<h2>Reliability</h2><p>Rows in groups by the probability of the category that is "
        "predicted: the share predicted right equals the mean probability, but for chance (grey, "
        "95 %). The table has the mean probability of each category, and its share.</p>"
        '<div class="cards"><div>'
        + table(["category", "probability", "share", "by chance"], rows)
        + f"</div>{picture(figures.reliability(d['reliability']), 'reliability')}</div>"
    )


_HEADS = {
    "mean_pit": "mean PIT",
    "coverage": "in the 90 % interval",
    "crps": "CRPS",
    "confidence": "mean probability",
    "share_right": "predicted right",
}


def _features(d: dict[str, Any]) -> str:
    if not d["features"]:
        return ""
    rows = [
        [e["feature"], f"{e['p_value']:.3g}", *(f"{p:.3g}" for p in e["p_values"].values())]
        for e in d["features"]
    ]
    checks = list(d["features"][0]["p_values"])
    parts = [
        "<h2>Calibration by feature</h2><p>Rows in groups by each feature: numbers at their "
        "quantiles, categories by value, groups of at least 10 rows. A small p-value means that "
        "distributions are wrong in some group. The features with the smallest come first. z is "
        "the deviation of a group in standard errors; beyond 3, it is hardly chance.</p>",
        table(["feature", "p-value", *(f"p, {check}" for check in checks)], rows),
    ]
    for e in d["features"][:_LISTED]:
        keys = [key for key in e["groups"][0] if key in _HEADS]
        lines = [
            [
                short(g["group"]),
                f"{g['rows']:,}",
                *(f"{g[key]:.4g}" for key in keys),
                *(f"{z:+.1f}" for z in g["z"].values()),
            ]
            for g in e["groups"]
        ]
        head = [e["feature"], "rows", *(_HEADS[key] for key in keys), *(f"z, {c}" for c in checks)]
        parts.append(f"<p></p>{table(head, lines)}")
    return "".join(parts)


def _worst(d: dict[str, Any]) -> str:
    rows = [
        [
            f"{e['row']:,}",
            short(e["value"]),
            e["predicted"],
            number_text(e["log_density"], "-inf"),
            e["reason"],
        ]
        for e in d["worst"]
    ]
    predicted = {"categorical": "predicted (probability)", "circular": ""}
    head = predicted.get(d["target"]["kind"], "predicted median (95 % interval)")
    return (
        "<h2>Rows of lowest density</h2><p>Held-out rows whose target was least expected. Rows "
        "are counted from 0.</p>"
    ) + table(["row", d["target"]["name"], head, "log-density", "reason"], rows)


def _members(d: dict[str, Any]) -> str:
    rows = [[m["kind"], f"{m['weight']:.4f}", number_text(m["held_out"], "")] for m in d["members"]]
    return (
        "<h2>Model</h2><p>The distribution of a row is a weighted mean of those of the members. "
        "Weights maximise the log-density of rows that members were not fitted to, so held-out "
        "scores of members are slightly too high. A target with point masses or missing values "
        "has members for these, and members for the other values.</p>"
    ) + table(["member", "weight", "held-out nats"], rows)


def _mean(entry: dict[str, Any]) -> str:
    """Return a mean with its standard error, in the digits of its size."""
    error = entry["standard_error"]
    return f"{entry['mean']:.4g} ± " + ("unknown" if error is None else f"{error:.2g}")


def _band(ends: list[float]) -> str:
    return f"{ends[0]:.1%} to {ends[1]:.1%}"
