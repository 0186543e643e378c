"""Conditional density: the other columns of a table, given some."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from flowkit._checks import check_count
from flowkit.errors import ArgumentError
from flowkit.schema.statistics import weighted_quantiles
from flowkit.tabular.conditioning.conditioner import Conditioner
from flowkit.tabular.conditioning.conditions import conditions_of
from flowkit.tabular.conditioning.evidence import Draws
from flowkit.tabular.conditioning.numbers import has_numbers, mean_of, numbers_of
from flowkit.tabular.conditioning.rows import SomeColumns
from flowkit.tabular.conditioning.weights import chosen, generator_of

# Draws of the estimate of the evidence, and of means and quantiles.
_DRAWS = 16_384
# Weighted draws for each one that is kept.
_PER_SAMPLE = 4
_AT_ONCE = 16_384


class ConditionalDensity:
    """The density of a table's other columns, given conditions on some.

    Made by `FlowDensity.given`. A column with one value is no longer there. A column with a range
    or a set of values remains, restricted to it.

    Without flows, everything is in closed form and exact, unless several continuous columns have
    ranges. With flows, one open continuous column is integrated out by quadrature, to 1e-6. Several
    are integrated out by importance sampling. Samples are then weighted draws, resampled.

    Args:
        conditioner: of the table's model.
        conditions: by name of the column, a value, a range ``(low, high)`` or a set of values.
        method: "auto", "exact" or "importance".

    Attributes:
        columns: names of the columns that are left.
        log_evidence: log-density of the conditions, in the table's units.
        standard_error: of `log_evidence`, in nats; 0 where it is exact.
        effective_samples: effective number of draws behind `log_evidence`; infinite where it is
            exact.
    """

    def __init__(
        self, conditioner: Conditioner, conditions: Mapping[str, Any], *, method: str = "auto"
    ) -> None:
        conditioner.check_method(method)
        schema = conditioner.schema
        self._conditioner, self._method = conditioner, method
        self._given = conditions_of(schema, conditioner.discrete, conditions)
        self._evidence = self._given.evidence
        self.columns = tuple(n for n in schema.names if n not in self._given.fixed)
        self._rest = SomeColumns(schema, self.columns)
        found = conditioner.estimate(
            self._evidence, method=method, draws=_DRAWS, generator=self._generator(0)
        )
        self.log_evidence = float(found.log_density[0]) + self._given.log_slope
        self.standard_error = float(found.standard_error[0])
        self.effective_samples = float(found.effective_samples[0])
        if not self.log_evidence > -1e200:
            raise ArgumentError(
                "conditions",
                "the density of the conditions is 0, so nothing can be given them; change one",
            )

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the log-density of rows of the other columns given the conditions, ``(rows,)``.

        It is ``-inf`` for rows outside of a range or a set. Its error is that of `log_evidence`.

        Args:
            X: a table of the columns `columns`.
        """
        encoded = self._rest.encode(X)
        inside = self._restricted(encoded.codes, encoded.values)
        codes, values = self._completed(encoded.codes, encoded.values)
        score = self._conditioner.log_prob(codes, values) + encoded.log_jacobian
        score = score + self._given.log_slope - self.log_evidence
        return np.where(inside, score, -np.inf)

    def sample(
        self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None
    ) -> Any:
        """Draw rows of the other columns given the conditions, a table as `FlowDensity.sample`.

        Args:
            n_samples: number of rows.
            random_state: seed; by default another draw each time.
        """
        check_count("n_samples", n_samples)
        drawn = list(self._sampled(n_samples, generator_of(random_state)))
        codes, values = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        return self._rest.decode(codes, values)

    def sample_batches(
        self, n_samples: int, random_state: int | np.random.RandomState | None = None
    ) -> Iterator[Any]:
        """Draw the rows of `sample` as tables of at most 16,384 rows, one after the other.

        Memory does not grow with ``n_samples``.
        """
        check_count("n_samples", n_samples)
        rows = 0
        for codes, values in self._sampled(n_samples, generator_of(random_state)):
            yield self._rest.decode(codes, values, rows_from=rows)
            rows += len(codes)

    def _sampled(
        self, n_samples: int, generator: torch.Generator
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Return codes and values of draws, in parts that fit into memory."""
        for start in range(0, n_samples, _AT_ONCE):
            k = min(_AT_ONCE, n_samples - start)
            drawn = self._draws(k if self.is_exact else _PER_SAMPLE * k, generator)
            weight = drawn.log_weight[0]
            at = chosen(weight, np.zeros(len(weight), dtype=np.int64), 1, k, generator)
            at = at[torch.randperm(k, generator=generator).numpy()]
            yield drawn.codes[0, at], drawn.values[0, at]

    def quantiles(self, q: float | Sequence[float]) -> dict[str, np.ndarray]:
        """Return quantiles of each column of numbers or times that is left, by name.

        They are those of 16,384 weighted draws, missing values aside. Times are in seconds since
        1970, times of day in seconds.

        Args:
            q: probabilities above 0 and below 1.

        Returns:
            Arrays shaped as ``q``.

        Raises:
            ArgumentError: a probability is not above 0 and below 1.
        """
        wanted = np.asarray(q, dtype=np.float64)
        if not ((wanted > 0) & (wanted < 1)).all():
            raise ArgumentError("q", "probabilities above 0 and below 1", repr(q))
        return {
            name: weighted_quantiles(x, w, wanted.ravel()).reshape(wanted.shape)
            for name, x, w in self._numbers(self._conditioner)
        }

    def mean(self) -> dict[str, float]:
        """Return the mean of each column of numbers or times that is left, by name.

        They are those of 16,384 weighted draws, missing values aside, without the Student t
        members: these need not have a mean. The mean of a circular column is a direction.
        """
        schema = self._conditioner.schema
        return {
            name: float(mean_of(schema.columns[schema.names.index(name)], x, w))
            for name, x, w in self._numbers(self._conditioner.bulk)
        }

    @property
    def is_exact(self) -> bool:
        """Whether conditionals are in closed form, so that draws have equal weights."""
        closed = self._conditioner.members.all_closed and self._method != "importance"
        return closed and self._evidence.ranged <= 1

    def _numbers(self, conditioner: Conditioner) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Return the numbers of draws, and their weights, of each column that has any."""
        schema, found = self._conditioner.schema, []
        drawn = self._draws(_DRAWS, self._generator(1), conditioner)
        weight = np.exp(drawn.log_weight[0] - drawn.log_weight[0].max())
        for name in self.columns:
            column = schema.columns[schema.names.index(name)]
            if has_numbers(column):
                x = numbers_of(schema, column, drawn.codes[0], drawn.values[0])
                here = ~np.isnan(x)
                if here.any():
                    found.append((name, x[here], weight[here]))
        return found

    def _draws(
        self, n: int, generator: torch.Generator, conditioner: Conditioner | None = None
    ) -> Draws:
        for j, states in enumerate(self._evidence.states):
            if not self._evidence.fixed[0, j] and not states.drawn.any():
                name = self._conditioner.schema.discrete[j].name
                raise ArgumentError(
                    f"column {name!r}", "the range holds no number that is drawn; give a wider one"
                )
        return (conditioner or self._conditioner).draw(
            self._evidence, method=self._method, draws=n, generator=generator
        )

    def _restricted(self, codes: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return which rows are within the ranges and sets."""
        evidence, conditioner = self._evidence, self._conditioner
        inside = np.ones(len(codes), dtype=bool)
        for j in self._rest.codes:
            if evidence.fixed[0, j]:  # the flag of a range
                inside &= codes[:, j] == evidence.codes[0, j]
            else:
                present = conditioner.schema.discrete[j].present(codes)
                inside &= evidence.states[j].holds(codes[:, j]) | ~present
        for j in np.flatnonzero(~np.isnan(evidence.low)):
            low, high, x = evidence.low[j], evidence.high[j], values[:, j]
            if conditioner.members.circular[j]:
                x = low + np.remainder(x - low, 2 * np.pi)
            inside &= np.isnan(x) | ((x >= low) & (x <= high))
        return inside

    def _completed(self, codes: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rows with the values that the conditions give."""
        evidence = self._evidence
        fixed = evidence.fixed[0].copy()
        fixed[self._rest.codes] = False
        here = ~np.isnan(evidence.values[0])
        return (
            np.where(fixed, evidence.codes, codes),
            np.where(here, evidence.values, values),
        )

    def _generator(self, stream: int) -> torch.Generator:
        return torch.Generator().manual_seed(self._conditioner.seed * 16 + stream)
