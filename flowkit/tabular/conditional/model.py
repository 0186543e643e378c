"""Model of targets given features: one factor after the other, each given those before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from flowkit.errors import DataError
from flowkit.schema import Column, Discrete, Encoded, Schema
from flowkit.schema.codec import from_line, from_numbers, to_line
from flowkit.tabular.conditional.classification import ConditionalClasses
from flowkit.tabular.conditional.features import FeatureMap, Inputs, inputs_of
from flowkit.tabular.conditional.line import Line
from flowkit.tabular.conditional.members import background
from flowkit.tabular.conditional.normal_mixture import drawn_columns
from flowkit.tabular.conditional.regression import ConditionalMixture, Features, Fitting
from flowkit.tabular.conditional.target import NumericTarget
from flowkit.tabular.continuous.preprocessing import Marginals
from flowkit.tabular.settings import FitSettings

# Draws that fall into the cell of a point mass are drawn again, at most so many times.
_MOST_REDRAWS = 50
# Folds of the rows: each member is fitted once without each.
_FOLDS, _FEWER_FOLDS, _MANY_ROWS = 5, 3, 20_000


@dataclass(frozen=True)
class Part:
    """One part of the targets: a code or a value.

    Args:
        column: the target's column.
        code: index among the discrete targets, or None.
        value: index among the continuous targets, or None.
    """

    column: Column
    code: int | None
    value: int | None

    def present(self, y: Encoded, targets: Schema) -> np.ndarray:
        """Return the rows that have this part, ``(n,)``."""
        if self.value is not None:
            present: np.ndarray = targets.values_present(y.codes)[:, self.value]
            return present
        there: np.ndarray = self.discrete(targets).present(y.codes)
        return there

    def discrete(self, targets: Schema) -> Discrete:
        """Return the discrete target of a code."""
        assert self.code is not None  # noqa: S101  for the type checker
        return targets.discrete[self.code]

    def is_number(self, targets: Schema) -> bool:
        """Whether the part is a number: a value, or an integer."""
        return self.code is None or self.discrete(targets).kind == "integer"

    def numbers(self, y: Encoded, rows: np.ndarray) -> np.ndarray:
        """Return the numbers of some rows in the target's own units."""
        if self.value is None:
            return y.codes[rows, self.code].astype(np.float64)
        return from_line(self.column, y.values[rows, self.value])


@dataclass(frozen=True)
class Factor:
    """One factor of the density of the targets.

    Args:
        part: the part of the targets that it is the density of.
        features: makes features of the inputs.
        line: the target's line, for numbers.
        mixture: its conditional.
        classes: conditional probabilities, for categories and flags.
    """

    part: Part
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
            "column": self.part.column.name,
            "code": self.part.code,
            "value": self.part.value,
            "features": self.features.state(),
            **{p: None if getattr(self, p) is None else getattr(self, p).state() for p in parts},
        }

    @classmethod
    def of_state(cls, column: Column, state: Mapping[str, Any]) -> "Factor":
        """Make a factor from what `state` returned."""
        line, mixture, classes = state["line"], state["mixture"], state["classes"]
        return cls(
            Part(column, state["code"], state["value"]),
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
            for part in _parts(targets):
                factor = _fitted(part, inputs, y, targets, weights, fold_of_row, settings)
                factors.append(factor)
                inputs = inputs.beside(_as_inputs(factor, y, targets))
        return cls(features, targets, factors, {})

    def log_prob(self, x: Encoded, y: Encoded) -> np.ndarray:
        """Return the log-density of encoded targets given encoded features, ``(n,)``."""
        inputs = inputs_of(self.features, x)
        total = np.asarray(y.log_unseen.sum(1))
        for factor in self.factors:
            present = factor.part.present(y, self.targets)
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
            present = factor.part.present(y, self.targets)
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
            if factor.part.column.name != self.targets.modelled[0]:
                break
            features = factor.of(inputs)
            if factor.mixture is not None and factor.line is not None:
                points = np.asarray(factor.part.column.atoms)
                masses = np.zeros((len(inputs), 0))
                if flag is not None:
                    there = flag[:, : 1 + len(points)]
                    masses = there[:, 1:] / there.sum(1, keepdims=True)
                mixture = factor.mixture(features)
                core = factor.mixture.without_background(mixture)
                return NumericTarget(factor.line, mixture, points, masses, core)
            assert factor.classes is not None  # noqa: S101  for the type checker
            flag = factor.classes(features)
            # The flag is 0 for a value that is there: the case that the value's factor is for.
            zeros = np.zeros((len(inputs), 1), dtype=np.int64)
            inputs = inputs.beside(
                Inputs(np.zeros((len(inputs), 0)), zeros, (factor.classes.size,))
            )
        assert flag is not None  # noqa: S101  for the type checker
        column = self.factors[0].part.column
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


def _parts(targets: Schema) -> list[Part]:
    """Return the part of each factor, in order."""
    parts = []
    for column in targets.columns:
        codes = [j for j, d in enumerate(targets.discrete) if d.name == column.name]
        values = [j for j, name in enumerate(targets.continuous) if name == column.name]
        parts += [Part(column, j, None) for j in codes] + [Part(column, None, j) for j in values]
    return parts


def _as_inputs(factor: Factor, y: Encoded, targets: Schema) -> Inputs:
    """Return a factor's part of the targets, as inputs of the factors after it."""
    n, part = len(y.codes), factor.part
    if factor.line is None:
        assert factor.classes is not None  # noqa: S101  for the type checker
        codes = y.codes[:, part.code, None]
        return Inputs(np.zeros((n, 0)), codes, (factor.classes.size,))
    present = part.present(y, targets)
    t = np.full(n, np.nan)
    if part.value is None:
        t[present] = factor.line.t(part.numbers(y, present))
    elif part.column.kind == "circular":
        angle = y.values[:, part.value]
        return Inputs(
            np.stack([np.cos(angle), np.sin(angle)], 1), np.zeros((n, 0), dtype=np.int64), ()
        )
    else:
        t[present] = factor.line.t_of_line(y.values[present, part.value])
    return Inputs(t[:, None], np.zeros((n, 0), dtype=np.int64), ())


def _log_prob(factor: Factor, features: Features, y: Encoded, present: np.ndarray) -> np.ndarray:
    if factor.classes is not None:
        code = y.codes[present, factor.part.code]
        probabilities = factor.classes(features)
        rows = np.arange(len(code))
        chosen: np.ndarray = np.log(probabilities[rows, code.clip(max=factor.classes.size)])
        return chosen
    assert factor.line is not None  # noqa: S101  for the type checker
    assert factor.mixture is not None  # noqa: S101  for the type checker
    x = factor.part.numbers(y, present)
    log_prob = factor.line.log_prob(factor.mixture(features), x)
    if factor.part.value is not None:  # outside of hard bounds there is no density
        outside = y.log_slopes[present, factor.part.value] == -np.inf
        log_prob = np.where(outside, -np.inf, log_prob)
    return log_prob


def _draw(
    factor: Factor, features: Features, y: Encoded, present: np.ndarray, rng: np.random.Generator
) -> None:
    """Draw a factor's part of the targets, in place."""
    part = factor.part
    if factor.classes is not None:
        probabilities = factor.classes(features)[:, : factor.classes.size]
        y.codes[present, part.code] = drawn_columns(probabilities, rng)
        return
    assert factor.line is not None  # noqa: S101  for the type checker
    assert factor.mixture is not None  # noqa: S101  for the type checker
    mixture, line = factor.mixture(features), factor.line
    t = mixture.sample(rng)
    if part.value is None:
        y.codes[present, part.code] = line.whole(line.x(t)).astype(np.int64)
        return
    x = from_numbers(part.column, line.x(t)).astype(np.float64)
    for _ in range(_MOST_REDRAWS):
        again = np.isin(x, part.column.atoms)  # their cells are not the mixture's
        if not again.any():
            break
        x[again] = from_numbers(part.column, line.x(mixture.take(again).sample(rng)))
    y.values[present, part.value] = to_line(part.column, x)[0]


def _fitted(
    part: Part,
    inputs: Inputs,
    y: Encoded,
    targets: Schema,
    weights: np.ndarray,
    fold_of_row: np.ndarray,
    settings: FitSettings,
) -> Factor:
    """Return a factor, fitted to the rows that it is for."""
    present = part.present(y, targets)
    inputs, w, fold = inputs.take(present), weights[present], fold_of_row[present]
    if not part.is_number(targets):
        size, codes = part.discrete(targets).size, y.codes[present, part.code]
        known = codes < size
        inputs, w, fold, codes = inputs.take(known), w[known], fold[known], codes[known]
        # The state's rank by size stands for the target in mean encodings.
        numbers = np.argsort(np.argsort(-np.bincount(codes, w, size)))[codes].astype(np.float64)
        features = FeatureMap.fit(inputs, numbers, w)
        x = Features(*features.trained(inputs, numbers, w, fold))
        classes = ConditionalClasses.fit(codes, size, x, w, fold, settings)
        return Factor(part, features, classes=classes)
    numbers = part.numbers(y, present)
    line = Line.fit(part.column, numbers, w)
    t = line.t(numbers)
    features = FeatureMap.fit(inputs, t, w)
    x = Features(*features.trained(inputs, t, w, fold))
    mixture = Fitting(line, numbers, x, w, fold, settings).run()
    return Factor(part, features, line=line, mixture=mixture)
