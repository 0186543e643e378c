"""Analysis of a density: all numbers of a report, as one JSON document."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from flowkit.errors import DataError
from flowkit.metrics import (
    Band,
    Mean,
    Uniformity,
    closeness,
    mean,
    mean_difference,
    ranks,
    two_sample,
)
from flowkit.metrics.two_sample import FEWEST_ROWS
from flowkit.report.coordinates import Coordinates
from flowkit.report.reference_models import baselines
from flowkit.report.unlikely_rows import gains_by_column
from flowkit.schema import Encoded
from flowkit.schema.frames import cell, length, plain, read, take
from flowkit.tabular import FlowDensity

# Maximum number of rows that are evaluated; a note states that others are left out.
MOST_ROWS = 20_000
SAMPLES = 20_000
_CLASSIFIED = 5_000
_UNLIKELY = 20
# Number of random splits of real rows, and maximum number of rows to split.
_SPLITS, _MOST_SPLIT = 99, 5_000
_LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Rows:
    """Evaluated rows: as a table, encoded, with log-densities and row numbers."""

    table: Any
    encoded: Encoded
    log_density: np.ndarray
    number: np.ndarray

    def column(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of a column and the mask of missing values."""
        series = read(self.table, name)
        return series.values, series.missing


@dataclass(frozen=True)
class Analysis:
    """The rows of a report, and the results."""

    held_out: Rows
    training: Rows | None
    samples: Rows
    regions: Uniformity
    columns: dict[str, Uniformity]
    distances: Any
    document: dict[str, Any]


def analyse(
    density: FlowDensity,
    held_out: Any,
    training: Any = None,
    *,
    seed: int = 0,
    numbers: np.ndarray | None = None,
    training_numbers: np.ndarray | None = None,
    notes: tuple[str, ...] = (),
) -> Analysis:
    """Compare a density with rows; the arguments are those of `make_report`."""
    schema = density.schema_
    held_out = plain(held_out)
    training = None if training is None else plain(training)
    if length(held_out) < 2:
        raise DataError("held_out", "at least two rows", length(held_out))
    all_notes = list(notes)
    new = _rows(density, held_out, numbers, seed, "held-out", all_notes)
    old = None
    if training is not None:
        old = _rows(density, training, training_numbers, seed, "training", all_notes)
    drawn = density.sample(SAMPLES, random_state=seed)
    encoded = density.encode(drawn)
    samples = Rows(drawn, encoded, density.score_encoded(encoded), np.arange(SAMPLES))

    # The error of a fitted distribution function is at least that of the rows of the fit.
    band = Band(len(new.number), min(SAMPLES, density.run_["rows"]), seed=seed)
    columns = {}
    for name in schema.modelled:
        ours, theirs = _keys(new, samples, name)
        if len(np.unique(np.concatenate([ours, theirs]))) == 1:
            continue  # a constant has no ranks
        columns[name] = band.of(ranks(ours, theirs, seed))
    place = ranks(new.log_density, samples.log_density, seed)
    regions = band.of(place)
    points = Coordinates(schema, (old or new).encoded)
    distances = None
    if old is not None:
        few = (samples.encoded.take(np.arange(len(new.number))), new.encoded, old.encoded)
        distances = closeness(*(np.nan_to_num(points(rows)) for rows in few))
    document: dict[str, Any] = {
        "report": 1,
        "rows": {
            "held_out": length(held_out),
            "training": None if training is None else length(training),
            "looked_at": len(new.number),
            "samples": SAMPLES,
        },
        "notes": all_notes,
        "likelihood": _likelihood(density, new, old, seed),
        "calibration": {
            "columns": {name: curve_entry(curve) for name, curve in columns.items()},
            "outside_by_chance": _outside_by_chance(new, old, list(columns), band, seed),
            "regions": curve_entry(regions) | {"coverage": _coverage(place)},
        },
        "two_sample": _classify(points, new.encoded, samples.encoded, seed),
        "memorisation": None
        if distances is None
        else {
            "closer": distances.closer,
            "null": [distances.null_low, distances.null_high],
            "copies": distances.copies,
            "held_out_copies": distances.held_out_copies,
            "samples": len(distances.samples),
            "median_distance": {
                "samples": float(np.median(distances.samples)),
                "held_out": float(np.median(distances.held_out)),
            },
        },
        "columns": {name: _summary(new, samples, name) for name in schema.modelled},
        "rank_correlations": _correlations(density, new, samples),
        "unlikely": _unlikely(density, new, old, samples),
        "training_curves": density.curves_,
        "members": density.members_,
        "schema": schema.to_dict(),
        "run": density.run_,
        "seed": seed,
    }
    return Analysis(new, old, samples, regions, columns, distances, strict(document))


def strict(value: Any) -> Any:
    """Return a document with None for each number that is not finite, as JSON requires."""
    if isinstance(value, dict):
        return {str(k): strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [strict(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return strict(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def cell_text(table: Any, name: str, i: int) -> str:
    """Return a value of a table as text."""
    value = cell(table, name, i)
    if value is None:
        return "missing"
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)


def _rows(
    density: FlowDensity,
    table: Any,
    numbers: np.ndarray | None,
    seed: int,
    kind: str,
    notes: list[str],
) -> Rows:
    n = length(table)
    numbers = np.arange(n) if numbers is None else numbers
    if n > MOST_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(n, MOST_ROWS, replace=False))
        table, numbers = take(table, chosen), numbers[chosen]
        notes.append(f"{MOST_ROWS:,} of {n:,} {kind} rows, drawn at random, were evaluated.")
    encoded = density.encode(table)
    return Rows(table, encoded, density.score_encoded(encoded), numbers)


def _keys(ours: Rows, theirs: Rows, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers in the order of the values, with missing values last."""
    (a, a_missing), (b, b_missing) = ours.column(name), theirs.column(name)
    if a.dtype == object or b.dtype == object:
        both = np.unique(np.concatenate([a, b]).astype(str), return_inverse=True)[1]
        a, b = both[: len(a)], both[len(a) :]
    return np.where(a_missing, np.inf, a), np.where(b_missing, np.inf, b)


def _outside_by_chance(new: Rows, old: Rows | None, names: list[str], band: Band, seed: int) -> int:
    """Return the 95 % quantile of the number of columns outside of their band by chance.

    Columns are dependent, so the number is not binomial. The number is simulated with real rows:
    held-out and training rows are pooled, and split at random repeatedly.
    """
    chance = 1 - band.level
    if old is None or len(new.number) + len(old.number) > _MOST_SPLIT or not names:
        return int(stats.binom.ppf(band.level, len(names), chance))
    rng, n = np.random.default_rng(seed), len(new.number)
    pooled = [np.concatenate(_keys(new, old, name)) for name in names]
    outside = []
    for split in range(_SPLITS):
        order = rng.permutation(len(pooled[0]))
        parts = [(keys[order[:n]], keys[order[n:]]) for keys in pooled]
        outside.append(sum(not band.contains(ranks(*pair, seed=split)) for pair in parts))
    return int(np.quantile(outside, band.level, method="higher"))


def _likelihood(
    density: FlowDensity, new: Rows, old: Rows | None, seed: int
) -> dict[str, dict[str, Any]]:
    ours = new.log_density
    means: dict[str, dict[str, Any]] = {"flowkit": mean_entry(mean(ours))}
    if old is None:
        return means
    means["flowkit"]["training_rows"] = mean_entry(mean(old.log_density))
    for name, score in baselines(density.schema_, old.encoded, seed).items():
        theirs = score(new.encoded)
        means[name] = mean_entry(mean(theirs)) | {
            "flowkit_above": mean_entry(mean_difference(ours, theirs))
        }
    return means


def mean_entry(value: Mean) -> dict[str, Any]:
    """Return a mean for the document."""
    return {"mean": value.value, "standard_error": value.standard_error}


def curve_entry(curve: Uniformity) -> dict[str, Any]:
    """Return a distribution of ranks for the document."""
    return {
        "within": curve.within,
        "p_value": curve.p_value,
        "level": curve.level,
        "at": curve.at,
        "difference": curve.difference,
        "lower": curve.lower,
        "upper": curve.upper,
    }


def _coverage(place: np.ndarray) -> list[dict[str, float]]:
    """Return the share of rows within the model's highest-density regions of several masses."""
    return [
        {
            "mass": level,
            "share": float((place >= 1 - level).mean()),
            "standard_error": math.sqrt(level * (1 - level) / len(place)),
        }
        for level in _LEVELS
    ]


def _classify(
    points: Coordinates, new: Encoded, samples: Encoded, seed: int
) -> dict[str, Any] | None:
    n = min(len(new.codes), _CLASSIFIED)
    if n < FEWEST_ROWS:
        return None
    chosen = np.random.default_rng(seed).permutation(len(new.codes))[:n]
    test = two_sample(points(new.take(chosen)), points(samples.take(np.arange(n))), seed=seed)
    by_column: dict[str, float] = {}
    for name, fall in zip(points.columns, test.importance, strict=True):
        by_column[name] = by_column.get(name, 0.0) + float(fall)
    return {
        "auc": test.auc,
        "null": [test.null_low, test.null_high],
        "rows_each": n,
        "importance": dict(sorted(by_column.items(), key=lambda item: -item[1])),
    }


def _summary(new: Rows, samples: Rows, name: str) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for source, rows in (("held_out", new), ("samples", samples)):
        values, missing = rows.column(name)
        present = values[~missing]
        entry: dict[str, Any] = {"missing": float(missing.mean())}
        if present.dtype in (object, bool):
            names, counts = np.unique(present.astype(str), return_counts=True)
            order = np.argsort(-counts, kind="stable")[:_UNLIKELY]
            entry["shares"] = {names[i]: counts[i] / len(values) for i in order}
        elif len(present):
            q = (0.01, 0.25, 0.5, 0.75, 0.99)
            quantiles = np.quantile(present.astype(np.float64), q)
            entry["quantiles"] = dict(zip(map(str, q), quantiles, strict=True))
        summary[source] = entry
    return summary


def _correlations(density: FlowDensity, new: Rows, samples: Rows) -> dict[str, Any]:
    """Return rank correlations of numeric columns, in held-out rows and samples."""
    numbers = [c for c in density.schema_.columns if c.is_modelled and c.kind != "categorical"]
    names = [c.name for c in numbers]
    correlations: dict[str, Any] = {"columns": names}
    for source, rows in (("held_out", new), ("samples", samples)):
        table = []
        for name in names:
            values, missing = rows.column(name)
            number = values.astype(np.float64)
            middle = np.median(number[~missing]) if not missing.all() else 0.0
            table.append(_average_ranks(np.where(missing, middle, number)))
        correlations[source] = _corrcoef(np.array(table)) if names else []
    return correlations


def _average_ranks(x: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    average: np.ndarray = rankdata(x)
    return average


def _corrcoef(x: np.ndarray) -> np.ndarray:
    """Return correlations, 0 for a constant column."""
    x = x - x.mean(axis=1, keepdims=True)
    length_of = np.sqrt((x * x).sum(axis=1))
    x = x / np.where(length_of > 0, length_of, 1.0)[:, None]
    correlations: np.ndarray = x @ x.T
    return correlations


def _unlikely(
    density: FlowDensity, new: Rows, old: Rows | None, samples: Rows
) -> list[dict[str, Any]]:
    """Return the rows of lowest density, each with the column of the largest gain."""
    entries: list[dict[str, Any]] = []
    for rows, fitted_to in ((new, False), (old, True)):
        if rows is None:
            continue
        least = np.argsort(rows.log_density, kind="stable")[:_UNLIKELY]
        unlikely = rows.encoded.take(least)
        gains, best = gains_by_column(density, unlikely, rows.log_density[least], samples.encoded)
        for i, row in enumerate(least):
            c = int(gains[i].argmax())
            name = density.schema_.modelled[c]
            entries.append(
                {
                    "row": int(rows.number[row]),
                    "log_density": float(rows.log_density[row]),
                    "percentile": float(density.percentile(rows.log_density[row])),
                    "fitted_to": fitted_to,
                    "column": name,
                    "value": cell_text(rows.table, name, int(row)),
                    "likelier_value": cell_text(samples.table, name, int(best[i, c])),
                    "gain": float(gains[i, c]),
                    "gains": dict(zip(density.schema_.modelled, gains[i], strict=True)),
                }
            )
    return sorted(entries, key=lambda entry: entry["log_density"])[:_UNLIKELY]
