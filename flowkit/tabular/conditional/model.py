"""Model of targets given features: one factor after the other, each given those before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from flowkit.errors import DataError
from flowkit.schema import Column, Encoded, Schema
from flowkit.schema.codec import from_line, from_numbers, to_line
from flowkit.tabular.conditional.classification import ConditionalClasses
from flowkit.tabular.conditional.features import FeatureMap, Inputs, inputs_of
from flowkit.tabular.conditional.line import Line
from flowkit.tabular.conditional.members import background
from flowkit.tabular.conditional.regression import ConditionalMixture, Features, Fitting
from flowkit.tabular.conditional.target import NumericTarget
from flowkit.tabular.continuous.preprocessing import Marginals
from flowkit.tabular.settings import FitSettings

# Folds of the rows: each member is fitted once without each.
_MOST_REDRAWS = 50
_FOLDS, _FEWER_FOLDS, _MANY_ROWS = 5, 3, 20_000


@dataclass(frozen=True)
class Factor:
    """One factor of the density of the targets.

    Args:
        column: the target's column.
        code: index among the discrete targets, or None.
        value: index among the continuous targets, or None.
        features: makes features of the inputs.
        line: the target's line, for numbers.
        mixture: its conditional.
        classes: conditional probabilities, for categories and flags.
    """

    column: Column
    code: int | None
    value: int | None
    features: FeatureMap
    line: Line | None = None
    mixture: ConditionalMixture | None = None
    classes: ConditionalClasses | None = None

    def of(self, inputs: Inputs) -> Features:
        """Return the features of rows."""
        return Features(*self.features(inputs))

    def members(self) -> list[tuple[str, float, float]]:
        """Return kind, weight and held-out score of each kind of member."""
        fitted = self.classes if self.mixture is None else self.mixture
        assert fitted is not None  # noqa: S101  for the type checker
        return [(k, s, fitted.held_out.get(k, float("nan"))) for k, s in fitted.shares.items()]

    def state(self) -> dict[str, Any]:
        """Return the factor for a model file."""
        parts = ("line", "mixture", "classes")
        return {
            "column": self.column.name,
            "code": self.code,
            "value": self.value,
            "features": self.features.state(),
            **{p: None if getattr(self, p) is None else getattr(self, p).state() for p in parts},
        }

    @classmethod
    def of_state(cls, column: Column, state: Mapping[str, Any]) -> "Factor":
        """Make a factor from what `state` returned."""
        line, mixture, classes = state["line"], state["mixture"], state["classes"]
        return cls(
            column,
            state["code"],
            state["value"],
            FeatureMap.of_state(state["features"]),
            None if line is None else Line.of_state(column, line),
            None if mixture is None else ConditionalMixture.of_state(mixture),
            None if classes is None else ConditionalClasses.of_state(classes),
        )


class ConditionalModel:
    """``p(targets | features)`` as a product over the parts of the targets.

    A target has a flag if it may be missing or has point masses, then its value; a category has
    its code alone. Each factor is given the features and the factors before it.

    Args:
        features: schema of the features.
        targets: schema of the targets.
        factors: in the order of the product.
        run: record of the fit.
    """

    def __init__(
        self, features: Schema, targets: Schema, factors: Sequence[Factor], run: dict[str, Any]
    ) -> None:
        self.features, self.targets, self.factors, self.run = features, targets, factors, run

    @classmethod
    def fit(
        cls,
        x: Encoded,
        y: Encoded,
        features: Schema,
        targets: Schema,
        weights: np.ndarray,
        settings: FitSettings,
    ) -> "ConditionalModel":
        """Fit to encoded rows of features and targets."""
        n = len(y.codes)
        folds = min(_FOLDS if n < _MANY_ROWS else _FEWER_FOLDS, n)
        fold_of_row = np.random.default_rng(settings.seed).permutation(n) % folds
        inputs, factors = inputs_of(features, x), []
        if not inputs.numbers.shape[1] + inputs.codes.shape[1]:
            raise DataError("features", "at least one column with values that repeat", "none")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            for column, code, value in _parts(targets):
                factor = _fitted(
                    column, code, value, inputs, y, targets, weights, fold_of_row, settings
                )
                factors.append(factor)
                inputs = inputs.beside(_as_inputs(factor, y, targets))
        return cls(features, targets, factors, {})

    def log_prob(self, x: Encoded, y: Encoded) -> np.ndarray:
        """Return the log-density of encoded targets given encoded features, ``(n,)``."""
        inputs = inputs_of(self.features, x)
        total = np.asarray(y.log_unseen.sum(1))
        for factor in self.factors:
            present = _present(factor, y, self.targets)
            if present.any():
                features = factor.of(inputs.take(present))
                total[present] += _log_prob(factor, features, y, present)
            inputs = inputs.beside(_as_inputs(factor, y, self.targets))
        return total

    def sample(self, x: Encoded, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw one row of targets for each row of features: codes and values."""
        n, inputs = len(x.codes), inputs_of(self.features, x)
        y = Encoded(
            np.zeros((n, len(self.targets.discrete)), dtype=np.int64),
            np.full((n, len(self.targets.continuous)), np.nan),
            np.zeros((n, len(self.targets.continuous))),
            np.zeros((n, len(self.targets.discrete))),
        )
        for factor in self.factors:
            present = _present(factor, y, self.targets)
            if present.any():
                _draw(factor, factor.of(inputs.take(present)), y, present, rng)
            inputs = inputs.beside(_as_inputs(factor, y, self.targets))
        return y.codes, y.values

    def first(self, x: Encoded) -> NumericTarget | np.ndarray:
        """Return the distributions of the first target: numeric, or probabilities of categories.

        The probabilities ``(n, size)`` are those of a target that is there and has been seen.
        """
        inputs = inputs_of(self.features, x)
        flag: np.ndarray | None = None
        for factor in self.factors:
            if factor.column.name != self.targets.modelled[0]:
                break
            features = factor.of(inputs)
            if factor.mixture is not None and factor.line is not None:
                points = np.asarray(factor.column.atoms)
                masses = np.zeros((len(inputs), 0))
                if flag is not None:
                    there = flag[:, : 1 + len(points)]
                    masses = there[:, 1:] / there.sum(1, keepdims=True)
                return NumericTarget(factor.line, factor.mixture(features), points, masses)
            assert factor.classes is not None  # noqa: S101  for the type checker
            flag = factor.classes(features)
            # The flag is 0 for a value that is there: the case that the value's factor is for.
            zeros = np.zeros((len(inputs), 1), dtype=np.int64)
            inputs = inputs.beside(
                Inputs(np.zeros((len(inputs), 0)), zeros, (factor.classes.size,))
            )
        assert flag is not None  # noqa: S101  for the type checker
        column = self.factors[0].column
        known = len(column.atoms) if column.at_levels else len(column.categories)
        probabilities: np.ndarray = flag[:, :known] / flag[:, :known].sum(1, keepdims=True)
        if not column.at_levels:
            return probabilities
        order = np.argsort(column.atoms)
        line = Line(column, Marginals(1))
        return NumericTarget(
            line, background(len(inputs)), np.asarray(column.atoms)[order], probabilities[:, order]
        )

    def state(self) -> dict[str, Any]:
        """Return the model for a model file."""
        return {
            "features": self.features.to_dict(),
            "targets": self.targets.to_dict(),
            "factors": [factor.state() for factor in self.factors],
            "run": self.run,
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "ConditionalModel":
        """Make a model from what `state` returned."""
        targets = Schema.from_dict(state["targets"])
        columns = {column.name: column for column in targets.columns}
        factors = [Factor.of_state(columns[f["column"]], f) for f in state["factors"]]
        return cls(Schema.from_dict(state["features"]), targets, factors, dict(state["run"]))


def _parts(targets: Schema) -> list[tuple[Column, int | None, int | None]]:
    """Return column, index of the code and index of the value of each factor, in order."""
    parts: list[tuple[Column, int | None, int | None]] = []
    for column in targets.columns:
        parts += [
            (column, j, None) for j, d in enumerate(targets.discrete) if d.name == column.name
        ]
        parts += [
            (column, None, j) for j, name in enumerate(targets.continuous) if name == column.name
        ]
    return parts


def _is_number(targets: Schema, code: int | None) -> bool:
    return code is None or targets.discrete[code].kind == "integer"


def _present(factor: Factor, y: Encoded, targets: Schema) -> np.ndarray:
    """Return the rows that a factor is for, ``(n,)``."""
    if factor.value is not None:
        present: np.ndarray = targets.values_present(y.codes)[:, factor.value]
        return present
    assert factor.code is not None  # noqa: S101  for the type checker
    there: np.ndarray = targets.discrete[factor.code].present(y.codes)
    return there


def _numbers(factor: Factor, y: Encoded, rows: np.ndarray) -> np.ndarray:
    """Return the numbers of a factor in its own units."""
    if factor.value is None:
        return y.codes[rows, factor.code].astype(np.float64)
    return from_line(factor.column, y.values[rows, factor.value])


def _as_inputs(factor: Factor, y: Encoded, targets: Schema) -> Inputs:
    """Return a factor's part of the targets, as inputs of the factors after it."""
    n = len(y.codes)
    if factor.line is None:
        assert factor.classes is not None  # noqa: S101  for the type checker
        codes = y.codes[:, factor.code, None]
        return Inputs(np.zeros((n, 0)), codes, (factor.classes.size,))
    present = _present(factor, y, targets)
    t = np.full(n, np.nan)
    if factor.value is None:
        t[present] = factor.line.t(y.codes[present, factor.code].astype(np.float64))
    elif factor.column.kind == "circular":
        angle = y.values[:, factor.value]
        return Inputs(
            np.stack([np.cos(angle), np.sin(angle)], 1), np.zeros((n, 0), dtype=np.int64), ()
        )
    else:
        t[present] = factor.line.t_of_line(y.values[present, factor.value])
    return Inputs(t[:, None], np.zeros((n, 0), dtype=np.int64), ())


def _log_prob(factor: Factor, features: Features, y: Encoded, present: np.ndarray) -> np.ndarray:
    if factor.classes is not None:
        code = y.codes[present, factor.code]
        probabilities = factor.classes(features)
        rows = np.arange(len(code))
        chosen: np.ndarray = np.log(probabilities[rows, code.clip(max=factor.classes.size)])
        return chosen
    assert factor.line is not None  # noqa: S101  for the type checker
    assert factor.mixture is not None  # noqa: S101  for the type checker
    x = _numbers(factor, y, present)
    log_prob = factor.line.log_prob(factor.mixture(features), x)
    if factor.value is not None:  # outside of hard bounds there is no density
        outside = y.log_slopes[present, factor.value] == -np.inf
        log_prob = np.where(outside, -np.inf, log_prob)
    return log_prob


def _draw(
    factor: Factor, features: Features, y: Encoded, present: np.ndarray, rng: np.random.Generator
) -> None:
    """Draw a factor's part of the targets, in place."""
    if factor.classes is not None:
        probabilities = factor.classes(features)[:, : factor.classes.size]
        total = probabilities.cumsum(1)
        u = rng.random(len(total)) * total[:, -1]
        code = (u[:, None] >= total).sum(1).clip(max=factor.classes.size - 1)
        y.codes[present, factor.code] = code
        return
    assert factor.line is not None  # noqa: S101  for the type checker
    assert factor.mixture is not None  # noqa: S101  for the type checker
    mixture = factor.mixture(features)
    t = mixture.sample(rng)
    if factor.value is not None:
        x = from_numbers(factor.column, factor.line.x(t)).astype(np.float64)
        for _ in range(_MOST_REDRAWS):
            again = np.isin(x, factor.column.atoms)  # their cells are not the mixture's
            if not again.any():
                break
            t[again] = mixture.take(again).sample(rng)
            x[again] = from_numbers(factor.column, factor.line.x(t[again]))
        y.values[present, factor.value] = to_line(factor.column, x)[0]
        return
    step = factor.line.step or 1.0
    whole = np.clip(np.round(factor.line.x(t) / step) * step, *factor.line.ends)
    y.codes[present, factor.code] = whole.astype(np.int64)


def _fitted(
    column: Column,
    code: int | None,
    value: int | None,
    inputs: Inputs,
    y: Encoded,
    targets: Schema,
    weights: np.ndarray,
    fold_of_row: np.ndarray,
    settings: FitSettings,
) -> Factor:
    """Return a factor, fitted to the rows that it is for."""
    empty = FeatureMap.fit(inputs, np.zeros(len(inputs)), weights)
    bare = Factor(column, code, value, empty)
    present = _present(bare, y, targets)
    inputs, w, fold = inputs.take(present), weights[present], fold_of_row[present]
    if not _is_number(targets, code):
        assert code is not None  # noqa: S101  for the type checker
        size = targets.discrete[code].size
        codes = y.codes[present, code]
        known = codes < size
        inputs, w, fold, codes = inputs.take(known), w[known], fold[known], codes[known]
        # The state's rank by size stands for the target in mean encodings.
        numbers = np.argsort(np.argsort(-np.bincount(codes, w, size)))[codes].astype(np.float64)
        features = FeatureMap.fit(inputs, numbers, w)
        x = Features(*features.trained(inputs, numbers, w, fold))
        classes = ConditionalClasses.fit(codes, size, x, w, fold, settings)
        return Factor(column, code, value, features, classes=classes)
    numbers = _numbers(bare, y, present)
    line = Line.fit(column, numbers, w)
    t = line.t(numbers)
    features = FeatureMap.fit(inputs, t, w)
    x = Features(*features.trained(inputs, t, w, fold))
    mixture = Fitting(line, numbers, x, w, fold, settings).run()
    return Factor(column, code, value, features, line=line, mixture=mixture)
