"""Probabilities of a categorical target: log-loss, accuracy and reliability."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from flowkit.metrics import mean, mean_difference
from flowkit.report.analysis import mean_entry
from flowkit.report.conditional.rows import in_parts
from flowkit.schema.codec import categories
from flowkit.schema.frames import read
from flowkit.tabular.conditional import ConditionalFlowDensity

# Groups of equally many rows, by the probability of the category that is predicted.
_GROUPS = 10
_MOST_CATEGORIES = 20
_SIGMAS = 1.96


@dataclass(frozen=True)
class CategoricalRows:
    """Rows of a categorical target, beside their probabilities.

    Attributes:
        names: the categories, as text.
        code: the category of each row, ``(n,)``; the number of categories for an unseen one.
        probabilities: ``(n, categories)``.
    """

    names: tuple[str, ...]
    code: np.ndarray
    probabilities: np.ndarray

    @classmethod
    def of(cls, model: ConditionalFlowDensity, table: Any) -> "CategoricalRows":
        """Evaluate the rows of a table, all of which have a target."""
        column = model.targets_.columns[0]
        names = tuple(str(c) for c in column.categories)
        return cls(names, codes_of(model, table), in_parts(model.probabilities, table))

    @property
    def predicted(self) -> np.ndarray:
        """The most probable category of each row, ``(n,)``."""
        best: np.ndarray = self.probabilities.argmax(1)
        return best

    @property
    def confidence(self) -> np.ndarray:
        """The probability of the category that is predicted, ``(n,)``."""
        most: np.ndarray = self.probabilities.max(1)
        return most

    @property
    def right(self) -> np.ndarray:
        """Which rows have the category that is predicted, ``(n,)``."""
        right: np.ndarray = self.predicted == self.code
        return right

    def document(self, log_density: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
        """Return scores and reliability for the document.

        Args:
            log_density: of the rows, ``(n,)``.
            reference: codes that a forecast without features is made of, ``(m,)``.
        """
        size = len(self.names)
        counts = np.bincount(reference.clip(max=size), minlength=size + 1) + 1 / (size + 1)
        without = -np.log(counts / counts.sum())[self.code.clip(max=size)]
        loss = -log_density
        order = np.argsort(self.confidence, kind="stable")
        parts = np.array_split(order, min(_GROUPS, max(len(order) // 10, 1)))
        return {
            "log_loss": mean_entry(mean(loss))
            | {
                "without_features": mean_entry(mean(without)),
                "below_it": mean_entry(mean_difference(without, loss)),
            },
            "share_right": mean_entry(mean(self.right.astype(float))),
            "reliability": [
                _beside(self.confidence[part], self.right[part]) for part in parts if len(part)
            ],
            "categories": {
                name: _beside(self.probabilities[:, k], self.code == k)
                for k, name in enumerate(self.names[:_MOST_CATEGORIES])
            },
        }

    def checks(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return errors of mean 0 and their variances, if the probabilities are right."""
        p = self.confidence
        return {"confidence": (self.right - p, p * (1 - p))}

    def of_group(self, rows: np.ndarray) -> dict[str, float]:
        """Return what a report states of a group of rows, by mask."""
        return {
            "confidence": float(self.confidence[rows].mean()),
            "share_right": float(self.right[rows].mean()),
        }


def codes_of(model: ConditionalFlowDensity, table: Any) -> np.ndarray:
    """Return the code of the target of each row, ``(n,)``; all have one."""
    column = model.targets_.columns[0]
    codes = categories(column, read(table, column.name), "score", 0)
    return codes.clip(max=len(column.categories))


def _beside(probability: np.ndarray, happened: np.ndarray) -> dict[str, Any]:
    """Return a mean probability, the share that happened, and its band if the mean is right."""
    expected, n = float(probability.mean()), len(probability)
    error = float(np.sqrt((probability * (1 - probability)).sum())) / n
    band = [max(expected - _SIGMAS * error, 0.0), min(expected + _SIGMAS * error, 1.0)]
    return {"rows": n, "probability": expected, "share": float(happened.mean()), "band": band}
