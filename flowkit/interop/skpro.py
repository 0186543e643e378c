"""Regressor of skpro around `flowkit.ConditionalFlowDensity`, and its distributions.

Importing this module needs skpro: ``pip install 'flowkit-density[skpro]'``.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.base import clone

from flowkit.errors import ArgumentError
from flowkit.tabular.conditional import ConditionalFlowDensity
from flowkit.tabular.conditional.target import NumericTarget

try:
    from skpro.distributions.base import BaseDistribution
    from skpro.regression.base import BaseProbaRegressor
except ImportError as error:
    raise ImportError(
        "flowkit.interop.skpro needs skpro (pip install 'flowkit-density[skpro]')"
    ) from error

_EXACT = ["mean", "energy", "cdf", "ppf"]
_DENSITIES = {
    "continuous": ["pdf", "log_pdf"],
    "discrete": ["pmf", "log_pmf"],
    "mixed": ["pdf", "log_pdf", "pmf", "log_pmf"],
}


class ConditionalFlowRegressor(BaseProbaRegressor):  # type: ignore[misc]
    """`flowkit.ConditionalFlowDensity` as a probabilistic regressor of skpro.

    ``predict_proba`` returns a `ConditionalFlowDistribution` of one number per row. Intervals and
    quantiles are exact; ``predict`` returns the mean, always as float.

    Args:
        estimator: the estimator to fit a clone of, without ``target=...``. Default:
            ``ConditionalFlowDensity()``.

    Attributes:
        estimator_: the fitted clone, with scores in `score_samples`, `members_`, `save`.

    Raises:
        ArgumentError: at the fit, for several targets, a category, an angle or a date.

    Example:
        >>> from flowkit import ConditionalFlowDensity
        >>> from flowkit.interop.skpro import ConditionalFlowRegressor
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
        >>> X, y = X[:50], y[:50].to_frame()
        >>> regressor = ConditionalFlowRegressor(ConditionalFlowDensity(random_state=0)).fit(X, y)
        >>> regressor.predict_proba(X).log_pdf(y).shape
        (50, 1)
        >>> regressor.predict_interval(X, coverage=0.9).shape
        (50, 2)
    """

    _tags: ClassVar[dict[str, Any]] = {
        "capability:missing": True,
        "capability:multioutput": False,
        "X_inner_mtype": "pd_DataFrame_Table",
        "y_inner_mtype": "pd_DataFrame_Table",
    }

    def __init__(self, estimator: ConditionalFlowDensity | None = None) -> None:
        self.estimator = estimator
        super().__init__()

    def _fit(self, X: pd.DataFrame, y: pd.DataFrame) -> "ConditionalFlowRegressor":
        if y.shape[1] != 1:
            raise ArgumentError("y", "one target; fit a regressor for each", f"{y.shape[1]}")
        estimator = ConditionalFlowDensity() if self.estimator is None else clone(self.estimator)
        if estimator.target is not None:
            expected = "an estimator without target=...: skpro passes X and y apart"
            raise ArgumentError("estimator", expected, f"target={estimator.target!r}")
        self.estimator_ = estimator.fit(_named(X), y.iloc[:, 0].to_numpy())
        kind = self.estimator_.targets_.columns[0].kind
        if kind in ("categorical", "circular", "datetime"):
            raise ArgumentError("y", "numbers with an order", f"a {kind} target")
        return self

    def _predict_proba(self, X: pd.DataFrame) -> "ConditionalFlowDistribution":
        target = self.estimator_.distribution(_named(X))
        return ConditionalFlowDistribution(target, X.index, pd.Index(self._get_varnames()))

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:  # noqa: ARG003
        """Return parameters for the checks of skpro."""
        fast = ConditionalFlowDensity(effort="fast", random_state=0)
        return [{}, {"estimator": fast}]


class ConditionalFlowDistribution(BaseDistribution):  # type: ignore[misc]
    """Distributions of one number per row, as a distribution of skpro.

    Where the target is an integer, or has values of positive probability, ``pmf`` holds these
    probabilities, and ``pdf`` the density of the rest: the tag "distr:measuretype" is "discrete"
    or "mixed". ``sample`` draws by inversion from numpy's global generator, as skpro does.

    Args:
        target: the distributions, from `flowkit.ConditionalFlowDensity.distribution`.
        index: labels of the rows; None for a single distribution, a scalar.
        columns: label of the target; None for a scalar.

    Example:
        >>> import numpy as np
        >>> import pandas as pd
        >>> from flowkit import ConditionalFlowDensity
        >>> from flowkit.interop.skpro import ConditionalFlowDistribution
        >>> x = np.linspace(0, 1, 50)[:, None]
        >>> y = x[:, 0] + 0.1 * np.random.default_rng(0).normal(size=50)
        >>> target = ConditionalFlowDensity(random_state=0).fit(x, y).distribution(x[:2])
        >>> ConditionalFlowDistribution(target, pd.RangeIndex(2), pd.Index(["y"])).mean().shape
        (2, 1)
    """

    _tags: ClassVar[dict[str, Any]] = {
        "capabilities:exact": [*_EXACT, *_DENSITIES["mixed"]],
        "capabilities:approx": ["var", "pdfnorm"],
        "distr:measuretype": "mixed",
        "distr:paramtype": "nonparametric",
    }

    def __init__(self, target: NumericTarget, index: Any = None, columns: Any = None) -> None:
        self.target = target
        super().__init__(index=index, columns=columns)
        discrete = target.is_whole or bool((target.rest < 1e-12).all())
        measure = "discrete" if discrete else "mixed" if len(target.points) else "continuous"
        exact = [*_EXACT, *_DENSITIES[measure]]
        self.set_tags(**{"distr:measuretype": measure, "capabilities:exact": exact})

    def _iloc(self, rowidx: Any = None, colidx: Any = None) -> "ConditionalFlowDistribution":
        rows = np.arange(len(self.target))
        rows = rows if rowidx is None else np.atleast_1d(rows[rowidx])
        columns = self.columns if colidx is None else self.columns[np.atleast_1d(colidx)]
        return ConditionalFlowDistribution(self.target.take(rows), self.index[rows], columns)

    def _iat(self, rowidx: Any = None, colidx: Any = None) -> "ConditionalFlowDistribution":
        del colidx  # there is one column
        return ConditionalFlowDistribution(self.target.take(np.atleast_1d(rowidx)))

    def _mean(self) -> Any:
        return self._shaped(self.target.mean())

    def _var(self) -> Any:
        return self._shaped(self.target.variance())

    def _energy_self(self) -> Any:
        return self._shaped(self.target.spread())

    def _energy_x(self, x: Any) -> Any:
        return self._of(self.target.distance, x)

    def _log_pdf(self, x: Any) -> Any:
        return self._of(self.target.log_prob, x)

    def _pdf(self, x: Any) -> Any:
        return np.exp(self._log_pdf(x))

    def _pmf(self, x: Any) -> Any:
        if self.target.is_whole:
            return self._of(lambda y: np.exp(self._log_integer(y)), x)
        return self._of(self.target.point_mass, x)

    def _log_pmf(self, x: Any) -> Any:
        with np.errstate(divide="ignore"):
            return np.log(self._pmf(x))

    def _cdf(self, x: Any) -> Any:
        return self._of(lambda y: self.target.cdf(y[:, None])[:, 0], x)

    def _ppf(self, p: Any) -> Any:
        return self._of(lambda q: self.target.quantiles(q[:, None])[:, 0], p)

    def _sample(self, n_samples: int | None = None) -> Any:
        shape = len(self.target), 1 if n_samples is None else n_samples
        uniform = np.random.uniform(size=shape)  # noqa: NPY002  skpro's generator
        drawn = self.target.quantiles(uniform)
        if self.ndim == 0:
            return drawn[0, 0] if n_samples is None else pd.DataFrame(drawn.T)
        index = self.index
        if n_samples is not None:
            pairs = pd.DataFrame(index=index)
            index = pd.concat([pairs] * n_samples, keys=range(n_samples)).index
        return pd.DataFrame(drawn.T.reshape(-1, 1), index=index, columns=self.columns)

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:  # noqa: ARG003
        """Return parameters for the checks of skpro."""
        rng = np.random.default_rng(0)
        x = pd.DataFrame({"a": rng.normal(size=50)})
        y = 2 * x["a"].to_numpy() + rng.normal(size=50)
        target = ConditionalFlowDensity(random_state=0).fit(x, y).distribution(x[:3])
        frame = {"index": pd.Index(["u", "v", "w"]), "columns": pd.Index(["y"])}
        return [{"target": target, **frame}, {"target": target.take(np.array([0]))}]

    def _log_integer(self, y: np.ndarray) -> np.ndarray:
        """Return the log-probability of integers, those at point masses included."""
        log_mass = np.log(self.target.point_mass(y) + 1e-300)
        return np.asarray(np.logaddexp(self.target.log_prob(y), log_mass))

    def _of(self, function: Callable[[np.ndarray], np.ndarray], x: Any) -> Any:
        """Return a function of one value per row, in the shape of the distributions."""
        return self._shaped(function(np.asarray(x, dtype=np.float64).reshape(-1)))

    def _shaped(self, values: np.ndarray) -> Any:
        return values[0] if self.ndim == 0 else values[:, None]


def _named(X: pd.DataFrame) -> pd.DataFrame:
    """Return features with text as names of the columns."""
    return X.set_axis([str(name) for name in X.columns], axis=1)
