"""Predictive distributions of a numeric target: calibration, sharpness and scores."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from flowkit.metrics import mean, mean_difference
from flowkit.report.analysis import mean_entry
from flowkit.report.conditional.rows import in_parts
from flowkit.schema.frames import length
from flowkit.schema.ticks import DAY
from flowkit.tabular.conditional import ConditionalFlowDensity
from flowkit.tabular.conditional.tables import numbers

LEVELS = (0.5, 0.8, 0.9, 0.95)
QUANTILES = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
BAND = 0.95
# Draws of all rows together, and of a row.
_DRAWS, _MOST_DRAWS = 4_000, 20
_PERCENT = np.arange(1, 100) / 100


@dataclass(frozen=True)
class NumericRows:
    """Rows of a target with an order, beside their predictive distributions.

    Attributes:
        y: the target in its own units, days for dates, ``(n,)``.
        pit: probability integral transforms, ``(n,)``.
        crps: continuous ranked probability scores, ``(n,)``.
        quantiles: predictive quantiles of the probabilities `QUANTILES`, ``(n, 9)``.
        draws: draws of the target, as many of each row, those that are missing left out.
        dates: whether the target is a date.
    """

    y: np.ndarray
    pit: np.ndarray
    crps: np.ndarray
    quantiles: np.ndarray
    draws: np.ndarray
    dates: bool

    @classmethod
    def of(cls, model: ConditionalFlowDensity, table: Any, seed: int) -> "NumericRows":
        """Evaluate the rows of a table, all of which have a target."""
        column = model.targets_.columns[0]
        unit = DAY if column.kind == "datetime" else 1.0
        draws = min(-(-_DRAWS // length(table)), _MOST_DRAWS)
        # A generator, so that each part of the rows gets numbers of its own.
        rng = np.random.RandomState(seed)
        drawn = _numbers(
            in_parts(lambda t: model.sample(t, draws, random_state=rng).ravel(), table)
        )
        return cls(
            target_numbers(model, table),
            in_parts(lambda t: model.pit(t, random_state=rng.randint(2**31 - 1)), table),
            in_parts(model.crps, table) / unit,
            _numbers(in_parts(lambda t: model.predict_quantiles(t, QUANTILES), table)),
            drawn[~np.isnan(drawn)],
            column.kind == "datetime",
        )

    def shown(self, value: float) -> str:
        """Return a value of the target for people."""
        if self.dates:
            text = str(np.datetime64(round(value * DAY), "s"))
            return text.replace("T", " ").removesuffix(" 00:00:00")
        return f"{value:.5g}"

    def at(self, q: float) -> np.ndarray:
        """Return the quantiles of one of the probabilities `QUANTILES`, ``(n,)``."""
        return self.quantiles[:, QUANTILES.index(q)]

    def ends(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Return both ends of the central intervals of a probability, ``(n,)`` each."""
        tail = round((1 - level) / 2, 3)
        return self.at(tail), self.at(round(1 - tail, 3))

    def width(self, level: float) -> np.ndarray:
        """Return the widths of the central intervals of a probability, ``(n,)``."""
        low, high = self.ends(level)
        width: np.ndarray = high - low
        return width

    def inside(self, level: float) -> np.ndarray:
        """Return which targets are in their central interval; at jumps, ends count in part."""
        inside: np.ndarray = np.abs(self.pit - 0.5) <= level / 2
        return inside

    def document(self, reference: np.ndarray) -> dict[str, Any]:
        """Return scores and intervals for the document.

        Args:
            reference: targets that a forecast without features is made of, ``(m,)``.
        """
        without = crps_of_sample(self.y, reference)
        observed, predicted = (np.quantile(x, _PERCENT) for x in (self.y, self.draws))
        return {
            "crps": mean_entry(mean(self.crps))
            | {
                "without_features": mean_entry(mean(without)),
                "below_it": mean_entry(mean_difference(without, self.crps)),
            },
            "intervals": [
                {
                    "level": level,
                    "coverage": self.inside(level).mean(),
                    "band": binomial_band(len(self.y), level),
                    "mean_width": self.width(level).mean(),
                    "median_width": np.median(self.width(level)),
                }
                for level in LEVELS
            ],
            "quantiles": [
                {
                    "probability": q,
                    "share_below": (self.pit <= q).mean(),
                    "band": binomial_band(len(self.y), q),
                }
                for q in QUANTILES
            ],
            "target_quantiles": {
                "probability": _PERCENT,
                "observed": observed,
                "predicted": predicted,
            },
        }

    def checks(self) -> dict[str, tuple[np.ndarray, float]]:
        """Return errors of mean 0 and their variance, if the density is right.

        They are of the location and of the spread of the distributions.
        """
        centred = self.pit - 0.5
        return {
            "location": (centred, 1 / 12),
            "spread": (np.abs(centred) - 0.25, 1 / 48),
        }

    def of_group(self, rows: np.ndarray) -> dict[str, float]:
        """Return what a report states of a group of rows, by mask."""
        return {
            "mean_pit": float(self.pit[rows].mean()),
            "coverage": float(self.inside(0.9)[rows].mean()),
            "crps": float(self.crps[rows].mean()),
        }


def target_numbers(model: ConditionalFlowDensity, table: Any) -> np.ndarray:
    """Return the target of rows in its own units, days for dates, ``(n,)``."""
    unit = DAY if model.targets_.columns[0].kind == "datetime" else 1.0
    result: np.ndarray = numbers(model.targets_, table) / unit
    return result


def binomial_band(n: int, probability: float) -> list[float]:
    """Return the ends of the central 95 % of the share of n rows, of some probability each."""
    low, high = stats.binom.interval(BAND, n, probability)
    return [low / n, high / n]


def crps_of_sample(y: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Return the CRPS of a sample as the forecast of each value.

    It is ``E|X - y| - E|X - X'| / 2``, with X and X' drawn from the sample.

    Args:
        y: ``(n,)``.
        sample: ``(m,)``.
    """
    x, m = np.sort(sample), len(sample)
    below = np.concatenate([[0.0], np.cumsum(x)])
    k = np.searchsorted(x, y)
    to_y = (y * (2 * k - m) + below[-1] - 2 * below[k]) / m
    apart = 2 * ((2 * np.arange(1, m + 1) - m - 1) * x).sum() / m**2
    result: np.ndarray = to_y - apart / 2
    return result


def _numbers(values: np.ndarray) -> np.ndarray:
    """Return predictions as numbers, days for dates, NaN for missing ones."""
    if values.dtype.kind == "M":
        days = values.astype("datetime64[us]").astype(np.int64) / (DAY * 1e6)
        return np.where(np.isnat(values), np.nan, days)
    return np.where(values == None, np.nan, values).astype(np.float64)  # noqa: E711  elementwise
