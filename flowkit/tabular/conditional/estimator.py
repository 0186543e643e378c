"""ConditionalFlowDensity: the density of targets given features, as a scikit-learn regressor."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from flowkit._checks import check_choice, check_count
from flowkit._device import device_named
from flowkit.errors import ArgumentError
from flowkit.schema import Encoded, Schema
from flowkit.schema.frames import length, names, opened
from flowkit.tabular import validation
from flowkit.tabular.conditional import model_file, tables
from flowkit.tabular.conditional.model import ConditionalModel
from flowkit.tabular.conditional.regression import FEWEST_ROWS
from flowkit.tabular.conditional.target import NumericTarget
from flowkit.tabular.saved import ModelFile, SavedEstimator
from flowkit.tabular.settings import EFFORTS, FitSettings

# Draws that means of the second target and later ones are taken of.
_DRAWS = 200
_ROWS_AT_ONCE = 1_000
_DRAWS_AT_ONCE = 20_000
_AVERAGES = ("mean", "median", "mode")


class ConditionalFlowDensity(RegressorMixin, SavedEstimator):  # type: ignore[misc]
    """The density of one or several targets given features.

    The conditional is a mixture of normals over a residual network, gradient-boosted and extremely
    randomised trees and linear regression, each fitted once without each fold of the rows. The
    members are weighted by their log-densities on the held-out rows. There is nothing to tune.

    Targets and features may have any kind of column that `flowkit.FlowDensity` takes: numbers,
    integers, categories, angles, dates, with missing values. Several targets are a product of
    conditionals, each given the features and the targets before it.

    Log-densities are natural logarithms in the target's own units. `measure_` names the kind: a
    density, a density that is constant over the steps of a grid, or a probability.

    Args:
        target: name of the target column, or names, if features and targets are in one table.
            By default targets are passed as ``y``.
        effort: amount of work of the fit: "fast", "default" or "best".
        schema: kinds of columns, to override what is inferred: a mapping from names to kinds,
            options or `flowkit.schema.Column`. A target that is passed as an array is named "y",
            several are named "y0", "y1", ...
        on_unknown: treatment of unseen categories: "score" accepts them, "raise" raises an error.
        max_seconds: approximate time limit for each network. The result then depends on the clock.
        random_state: random seed. The same seed and table give the same model.
        device: where the networks are trained, such as "cpu" or "cuda".

    Attributes:
        features_: the `flowkit.schema.Schema` of the features.
        targets_: the `flowkit.schema.Schema` of the targets.
        measure_: for each target, what its density is with respect to, in words.
        members_: target, kind, weight and held-out score of each kind of member.
        run_: record of the fit: rows, seed, versions, seconds.
        n_features_in_: number of features.
        feature_names_in_: their names, if they have any.

    References: Bishop, *Mixture density networks*, 1994; Wielopolski and Zięba, *TreeFlow: going
    beyond tree-based parametric probabilistic regression*, 2023; Yao, Vehtari, Simpson and Gelman,
    *Using stacking to average Bayesian predictive distributions*, 2018.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(50, 2))
        >>> y = x[:, 0] + 0.1 * rng.normal(size=50)
        >>> model = ConditionalFlowDensity(random_state=0).fit(x, y)
        >>> model.score_samples(x, y).shape
        (50,)
        >>> model.predict_quantiles(x[:3], (0.05, 0.5, 0.95)).shape
        (3, 3)
    """

    model_: ConditionalModel
    _model_file: ClassVar[ModelFile] = model_file
    _saved_options: ClassVar[tuple[str, ...]] = ("effort", "on_unknown", "max_seconds")

    def __init__(
        self,
        *,
        target: str | Sequence[str] | None = None,
        effort: str = "default",
        schema: Mapping[str, Any] | None = None,
        on_unknown: str = "score",
        max_seconds: float | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: str = "cpu",
    ) -> None:
        self.target = target
        self.effort = effort
        self.schema = schema
        self.on_unknown = on_unknown
        self.max_seconds = max_seconds
        self.random_state = random_state
        self.device = device

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        progress: Callable[..., object] | None = None,
        stop: Callable[[], bool] | None = None,
        run_note: Mapping[str, Any] | None = None,
    ) -> Self:
        """Fit the density of the targets given the features.

        Args:
            X: the features, ``(rows, columns)``; with ``target``, the table of both.
            y: the targets, ``(rows,)`` or ``(rows, targets)``, or a table of them.
            sample_weight: ``(rows,)``, non-negative. A row of weight two counts as two equal rows.
            progress: called during the fit with (stage, done, total, message).
            stop: called between steps. If it returns True, training ends early.
            run_note: entries to add to `run_`, ready for JSON.

        Returns:
            The estimator.

        Raises:
            ArgumentError: an option has a value that is not allowed, or a target is not there.
            DataError: the table is unusable, or a target is constant; the column is named.
        """
        start = time.perf_counter()
        check_choice("effort", self.effort, EFFORTS)
        check_choice("on_unknown", self.on_unknown, ("score", "raise"))
        seed = validation.seed_of(self.random_state)
        device = device_named(self.device)
        features, targets, library = self._opened(X, y)
        overrides = dict(self.schema or {})
        known = {*names(features), *names(targets)}
        for name in overrides:
            if name not in known:
                raise ArgumentError("schema", "names of columns", repr(name))
        of_targets = tables.target_names(self.target) or tuple(names(targets))
        in_one = features is targets
        whole = Schema.infer(
            features,
            {k: v for k, v in overrides.items() if k in names(features)},
        )
        x_schema = tables.without(whole, of_targets) if in_one else whole
        if in_one:
            y_schema = replace(tables.only(whole, of_targets), library=library)
        else:
            own = {k: v for k, v in overrides.items() if k in names(targets)}
            y_schema = replace(Schema.infer(targets, own), library=library)
        tables.check_informative(y_schema)
        weights = validation.checked_weights(sample_weight, features)
        x = x_schema.encode(features)
        y_encoded = y_schema.encode(targets)
        w = np.ones(length(features)) if weights is None else weights
        if w.sum() < FEWEST_ROWS <= length(features):
            warnings.warn(
                f"The weights add up to {w.sum():g} rows, so the fit is that of so few. Multiply "
                "them so that their mean is 1 if each row counts as one.",
                stacklevel=2,
            )
        if (w == 0).any():
            x, y_encoded, w = x.take(w > 0), y_encoded.take(w > 0), w[w > 0]
        settings = FitSettings(
            self.effort, seed, False, self.max_seconds, progress, stop, str(device)
        )
        self.model_ = ConditionalModel.fit(x, y_encoded, x_schema, y_schema, w, settings)
        self.model_.run = {
            "rows": length(features),
            "features": len(x_schema.names),
            "targets": list(y_schema.names),
            **settings.record(start),
            **(run_note or {}),
        }
        return self

    def score_samples(self, X: Any, y: Any = None) -> np.ndarray:
        """Return the log-density of the targets given the features, ``(rows,)`` float64.

        Natural logarithms, in the target's own units; see `measure_`.

        Args:
            X: the features; with ``target``, the table of both.
            y: the targets, unless they are in the table.
        """
        check_is_fitted(self)
        x, targets = self._encoded(X, y)
        return self.model_.log_prob(x, targets)

    def sample(
        self,
        X: Any,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = None,
    ) -> Any:
        """Draw targets for rows of features.

        Returns:
            ``(rows, n_samples)`` for one target; for several a table of ``rows * n_samples`` rows,
            the draws of each row of features one after the other.
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples)
        x = self._features(X)
        rng = np.random.default_rng(validation.seed_of(random_state))
        # In blocks of few draws, so that memory does not grow with them.
        rows, size = len(x.codes), max(_DRAWS_AT_ONCE // n_samples, 1)
        parts = [
            self._drawn(x.take(np.arange(start, min(start + size, rows))), n_samples, rng)
            for start in range(0, max(rows, 1), size)
        ]
        codes, values = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        drawn = self.targets_.decode(codes, values)
        if len(self.targets_.names) > 1:
            return drawn
        column = tables.first_column(drawn, self.targets_.names[0])
        return column.reshape(len(x.codes), n_samples)

    def predict(self, X: Any, *, average: str = "mean") -> np.ndarray:
        """Return the mean of the target, or another average, ``(rows,)``.

        For a category, whatever the average, this is the most probable one. The mean of an angle
        is its mean direction. For several targets the result is ``(rows, targets)``: the means of
        all but the first are those of 200 draws, missing values aside; dates are in seconds.

        Args:
            X: the features.
            average: "mean", "median", or "mode" (the value of largest density).
        """
        check_is_fitted(self)
        check_choice("average", average, _AVERAGES)
        x = self._features(X)
        if len(self.targets_.names) > 1:
            return self._means_of_several(x, average)
        first = self.model_.first(x)
        column = self.targets_.columns[0]
        if isinstance(first, np.ndarray):
            best: np.ndarray = np.array(column.categories)[first.argmax(1)]
            return best
        if average == "mean":
            return tables.in_units(column, first.mean())
        if average == "mode":
            return tables.in_units(column, first.mode())
        half = np.full((len(first), 1), 0.5)
        return tables.in_units(column, self._ordered(first).quantiles(half)[:, 0])

    def predict_quantiles(self, X: Any, q: Sequence[float] | float) -> np.ndarray:
        """Return quantiles of the target, ``(rows, len(q))``; ``(rows,)`` for a single number.

        Args:
            X: the features.
            q: probabilities, each within (0, 1).

        Raises:
            ArgumentError: a probability outside (0, 1), or a target without an order.
        """
        probabilities = np.atleast_1d(np.asarray(q, dtype=np.float64))
        if (
            probabilities.ndim != 1
            or not len(probabilities)
            or not ((probabilities > 0) & (probabilities < 1)).all()
        ):
            raise ArgumentError("q", "probabilities above 0 and below 1", repr(q))
        first = self.distribution(X)
        table = np.broadcast_to(probabilities, (len(first), len(probabilities)))
        result = tables.in_units(self.targets_.columns[0], first.quantiles(table))
        return result[:, 0] if np.ndim(q) == 0 else result

    def interval(self, X: Any, level: float = 0.9, *, kind: str = "central") -> np.ndarray:
        """Return an interval that holds the target with probability ``level``, ``(rows, 2)``.

        Args:
            X: the features.
            level: probability, within (0, 1).
            kind: "central", with equal probabilities on both sides, or "shortest": for a
                distribution of one mode the highest-density interval.
        """
        check_choice("kind", kind, ("central", "shortest"))
        if not 0 < level < 1:
            raise ArgumentError("level", "a probability above 0 and below 1", level)
        if kind == "central":
            return self.predict_quantiles(X, (0.5 - level / 2, 0.5 + level / 2))
        first = self.distribution(X)
        return tables.in_units(self.targets_.columns[0], first.shortest(level))

    def cdf(self, X: Any, y: Any = None) -> np.ndarray:
        """Return the probability of a target of at most ``y``, ``(rows,)``."""
        first, values = self._one_with_values(X, y)
        return first.cdf(values[:, None])[:, 0]

    def pit(self, X: Any, y: Any = None, *, random_state: int = 0) -> np.ndarray:
        """Return the probability integral transform of targets, ``(rows,)``.

        It is uniform on (0, 1) where the density is right. Where the distribution function jumps,
        a number is drawn evenly within the jump.

        Args:
            X: the features.
            y: the targets, unless they are in the table.
            random_state: seed of these numbers.

        Reference: Czado, Gneiting and Held, *Predictive model assessment for count data*, 2009.
        """
        first, values = self._one_with_values(X, y)
        lower, upper = first.jump(values)
        rng = np.random.default_rng(random_state)
        result: np.ndarray = lower + rng.random(len(values)) * (upper - lower)
        return result

    def crps(self, X: Any, y: Any = None) -> np.ndarray:
        """Return the continuous ranked probability score, ``(rows,)``, in the target's units.

        Smaller is better. For a forecast without spread it is the absolute error.

        Reference: Gneiting and Raftery, *Strictly proper scoring rules*, 2007, equation 20.
        """
        first, values = self._one_with_values(X, y)
        return first.crps(values)

    def log_mass(self, X: Any, y: Any = None, *, width: float) -> np.ndarray:
        """Return the log-probability of targets within ``width / 2`` of ``y``, ``(rows,)``.

        Divided by the width, this probability is the mean density of a cell. It compares models of
        a rounded target fairly: no model gains by spikes within the rounding.
        """
        if not width > 0:
            raise ArgumentError("width", "a positive number", width)
        first, values = self._one_with_values(X, y)
        return first.log_mass(values, width)

    def distribution(self, X: Any) -> NumericTarget:
        """Return the distributions of the target given features, one for each row.

        Its methods are those of this estimator, computed from the members once: ``cdf``,
        ``quantiles``, ``mean``, ``variance``, ``crps`` and others, in the target's own units. They
        are distributions of a target that is not missing. Dates are seconds since 1970.

        Args:
            X: the features.

        Raises:
            ArgumentError: several targets, or one without an order.
        """
        check_is_fitted(self)
        self._check_one()
        return self._ordered(self.model_.first(self._features(X)))

    def probabilities(self, X: Any) -> np.ndarray:
        """Return the probabilities of the categories of the target, ``(rows, categories)``.

        Their order is that of ``targets_.columns[0].categories``.

        Raises:
            ArgumentError: the target is no category.
        """
        check_is_fitted(self)
        self._check_one()
        first = self.model_.first(self._features(X))
        if not isinstance(first, np.ndarray):
            kind = self.targets_.columns[0].kind
            raise ArgumentError("target", "a categorical one", f"a {kind} one")
        return first

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return R² of the mean; for a category the share predicted right, for an angle the mean
        cosine of the errors.

        The mean log-density is ``score_samples(X, y).mean()``.
        """
        check_is_fitted(self)
        targets, x = self._targets(X, y), self._features(X)
        column = self.targets_.columns[0]
        if len(self.targets_.names) > 1:
            truth = np.column_stack([tables.first_column(targets, n) for n in self.targets_.names])
            predicted = self.predict(X)
            return float(r2_score(truth.astype(float), predicted, sample_weight=sample_weight))
        first = self.model_.first(x)
        if isinstance(first, np.ndarray):
            best = np.array(column.categories)[first.argmax(1)].astype(str)
            right = tables.first_column(targets, column.name).astype(str) == best
            return float(np.average(right, weights=sample_weight))
        truth, predicted = tables.numbers(self.targets_, targets), first.mean()
        if column.period is not None:  # 1 for the right directions, about 0 for random ones
            turns = 2 * np.pi * (truth - predicted) / column.period
            return float(np.average(np.cos(turns), weights=sample_weight))
        return float(r2_score(truth, predicted, sample_weight=sample_weight))

    @property
    def features_(self) -> Schema:
        """The kind of each feature."""
        return self.model_.features

    @property
    def targets_(self) -> Schema:
        """The kind of each target."""
        return self.model_.targets

    @property
    def measure_(self) -> dict[str, str]:
        """For each target, what its density is with respect to, in words."""
        return {column.name: tables.measure(column) for column in self.targets_.columns}

    @property
    def members_(self) -> list[dict[str, Any]]:
        """Target, kind, weight and held-out score of each kind of member."""
        return [
            {"target": factor.part.column.name, "kind": kind, "weight": weight, "held_out": score}
            for factor in self.model_.factors
            for kind, weight, score in factor.members()
        ]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.target is None
        tags.target_tags.multi_output = True
        return tags

    def _options(self) -> dict[str, Any]:
        target = self.target if isinstance(self.target, str | None) else list(self.target)
        return {**super()._options(), "target": target}

    def _opened(self, X: Any, y: Any) -> tuple[Any, Any, str]:
        """Return tables of features and targets, and the library of the targets.

        The two tables are the same one if the targets are in it.
        """
        chosen = tables.target_names(self.target)
        if not chosen:
            features = tables.checked_features(self, X, reset=True)
            targets, is_array = tables.target_table(y, self, length(features))
            both = set(names(features)) & set(names(targets))
            has_names = not is_array or getattr(y, "name", None) is not None
            if both and has_names and hasattr(self, "feature_names_in_"):
                raise ArgumentError(
                    "y", f"the target {min(both)!r} is also a feature; leave it out of X"
                )
            return features, targets, "numpy" if is_array else opened(y)[1]
        if y is not None:
            raise ArgumentError("y", "y was passed, and target=... names a column of X; pass one")
        table, library = opened(X)
        named = tables.named(table)
        tables.check_targets(named, chosen)
        rest = [name for name in names(named) if name not in chosen]
        self.n_features_in_ = len(rest)
        self.feature_names_in_ = np.asarray(rest, dtype=object)
        return named, named, library

    def _features(self, X: Any) -> Encoded:
        """Return encoded features."""
        if self.target is None:
            table = tables.checked_features(self, X, reset=False)
        else:
            table = tables.named(opened(X)[0])
        return self.features_.encode(table, on_unknown=self.on_unknown)

    def _targets(self, X: Any, y: Any) -> Any:
        """Return a table with the targets."""
        if self.target is not None:
            if y is not None:
                raise ArgumentError("y", "y was passed, and the targets are columns of X; pass one")
            table = tables.named(opened(X)[0])
            tables.check_targets(table, tables.target_names(self.target))
            return table
        rows = length(X) if hasattr(X, "shape") else len(X)
        return tables.target_table(y, self, rows, self.targets_.names)[0]

    def _encoded(self, X: Any, y: Any) -> tuple[Encoded, Encoded]:
        x = self._features(X)
        return x, self.targets_.encode(self._targets(X, y), on_unknown=self.on_unknown)

    def _check_one(self) -> None:
        if len(self.targets_.names) > 1:
            expected = "one (fit a model for each target, or use sample)"
            raise ArgumentError("target", expected, f"{len(self.targets_.names)} targets")

    def _drawn(
        self, x: Encoded, draws: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return codes and values of draws for rows of features, a row's draws together."""
        counts = [min(_DRAWS_AT_ONCE, draws - start) for start in range(0, draws, _DRAWS_AT_ONCE)]
        parts = [self.model_.sample(x, rng, count) for count in counts]
        # More than one part is of one row.
        return np.concatenate([c for c, _ in parts]), np.concatenate([v for _, v in parts])

    def _ordered(self, first: NumericTarget | np.ndarray) -> NumericTarget:
        kind = self.targets_.columns[0].kind
        if isinstance(first, np.ndarray) or kind == "circular":
            raise ArgumentError("target", "one with an order, such as a number", f"a {kind} one")
        return first

    def _one_with_values(self, X: Any, y: Any) -> tuple[NumericTarget, np.ndarray]:
        first = self.distribution(X)
        return first, tables.numbers(self.targets_, self._targets(X, y))

    def _means_of_several(self, x: Encoded, average: str) -> np.ndarray:
        if average != "mean":
            raise ArgumentError("average", "'mean' for several targets", repr(average))
        for column in self.targets_.columns:
            if column.kind in ("categorical", "circular"):
                expected = "numbers to average (use sample for several targets of other kinds)"
                raise ArgumentError(f"target {column.name!r}", expected, column.kind)
        rng, parts = np.random.default_rng(0), []
        for start in range(0, len(x.codes), _ROWS_AT_ONCE):
            rows = np.arange(start, min(start + _ROWS_AT_ONCE, len(x.codes)))
            codes, values = self.model_.sample(x.take(rows), rng, _DRAWS)
            drawn = tables.columns_of_numbers(self.targets_, codes, values)
            parts.append(np.nanmean(drawn.reshape(len(rows), _DRAWS, -1), axis=1))
        means = np.concatenate([np.zeros((0, len(self.targets_.names))), *parts])
        first = self.model_.first(x)
        if isinstance(first, NumericTarget):
            means[:, 0] = first.mean()
        return means
