"""Methods by name: the function that fits one, its package, and the sets that are too large."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from regression import peers
from regression.data import Split
from regression.ensemble import ensemble
from regression.kernel import kernel
from regression.posterior import posterior
from regression.predictive import Prediction, Predictive

OURS = "flowkit"


class Target(Predictive):
    """The distributions of a fitted `flowkit.ConditionalFlowDensity` for rows of features."""

    def __init__(self, model: Any, x: np.ndarray) -> None:
        self.model, self.x = model, x
        self.target = model.distribution(x)

    def log_prob(self, y: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.model.score_samples(self.x, y)
        return result

    def cdf(self, points: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.target.cdf(points)
        return result

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.model.predict_quantiles(self.x, levels)
        return result

    def crps(self, y: np.ndarray) -> np.ndarray:
        # Of integers the sum over all of them; otherwise as of every other method.
        return self.target.crps(y) if self.target.is_whole else super().crps(y)

    def log_mass(self, y: np.ndarray, width: float) -> np.ndarray:
        result: np.ndarray = self.model.log_mass(self.x, y, width=width)
        return result


def flowkit(data: Split, seed: int, quick: bool) -> Prediction:
    """The conditional density of this library, with default arguments."""
    from flowkit import ConditionalFlowDensity

    effort = {"effort": "fast", "max_seconds": 1.0} if quick else {}
    model = ConditionalFlowDensity(random_state=seed, **effort)
    model.fit(data.x, data.y)
    return lambda: Target(model, data.x_test)


@dataclass(frozen=True)
class Method:
    """A method of the benchmark.

    Args:
        fit: fits to a split; returns a function for the distributions of its test rows.
        package: the distribution that is needed; None if it is always there.
        most_rows: sets of more rows are left out.
    """

    fit: Callable[[Split, int, bool], Prediction]
    package: str | None = None
    most_rows: int | None = None

    def missing(self) -> bool:
        """Return whether the package is not installed."""
        try:
            return self.package is not None and not version(self.package)
        except PackageNotFoundError:
            return True


def versions(method: str) -> dict[str, str]:
    """Return the versions of a method's package, and of those that all share."""
    names = ("flowkit-density", "torch", "numpy", "scikit-learn", METHODS[method].package)
    return {name: version(name) for name in names if name is not None}


METHODS = {
    OURS: Method(flowkit),
    "ensemble": Method(ensemble),
    "ngboost": Method(peers.ngboost, "ngboost"),
    "treeffuser": Method(peers.treeffuser, "treeffuser"),
    "forest": Method(peers.forest, "quantile-forest"),
    "lightgbm": Method(peers.lightgbm, "lightgbm"),
    "kernel": Method(kernel, most_rows=1_100),
    "sbi": Method(posterior, "sbi"),
}
