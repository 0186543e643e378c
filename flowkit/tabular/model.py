"""Model of a table: a schema, a discrete block, and continuous columns given the block."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowkit.errors import ArgumentError
from flowkit.schema import Encoded, Schema
from flowkit.schema.frames import length, rows
from flowkit.tabular.conditioning.conditioner import Conditioner
from flowkit.tabular.continuous import ContinuousDensity
from flowkit.tabular.continuous.fitting import FEWEST_ROWS, fit_continuous
from flowkit.tabular.discrete import DiscreteBlock
from flowkit.tabular.parts import context_of, draw
from flowkit.tabular.settings import FitSettings

# Rows that are scored or drawn at a time: enough to keep the processor busy, few enough that ten
# million rows need no more memory than these.
CHUNK = 65_536

# Number of quantiles of the training rows' log-densities that are kept, for percentiles.
_QUANTILES = 1_001
# Of more training rows, so many at random have their log-densities computed for the quantiles. The
# standard error of a percentile is then at most 0.16.
_SCORED_ROWS = 100_000


class TableModel:
    """``log p(row) = log p(codes) + log p(values | codes) + log |d values / d row|``.

    Args:
        schema: turns rows into codes and values.
        discrete: the law of the codes; None without discrete columns.
        continuous: the law of the values; None without continuous columns.
        run: how the model came about, for people to read.
        quantiles: of the log-densities of the training rows, or of 100,000 of them at random,
            ascending.
    """

    def __init__(
        self,
        schema: Schema,
        discrete: DiscreteBlock | None,
        continuous: ContinuousDensity | None,
        run: dict[str, Any],
        quantiles: np.ndarray,
    ) -> None:
        self.schema = schema
        self.discrete, self.continuous = discrete, continuous
        self.run, self.quantiles = run, quantiles

    @classmethod
    def fit(
        cls,
        table: Any,
        *,
        schema: Schema | Mapping[str, Any] | None,
        library: str,
        weights: np.ndarray | None,
        settings: FitSettings,
    ) -> "TableModel":
        """Fit to the rows of a table.

        Args:
            table: the table.
            schema: as of `FlowDensity`.
            library: library of the tables that `sample` returns.
            weights: weight of each row, ``(rows,)``; None for equal ones.
            settings: effort, seed and the like.
        """
        start = time.perf_counter()
        if not isinstance(schema, Schema):
            schema = replace(Schema.infer(table, schema), library=library)
        encoded = schema.encode(table)
        spread = encoded.values
        rounded = any(column.resolution for column in schema.columns)
        if rounded and (length(table) if weights is None else weights.sum()) >= FEWEST_ROWS:
            # Narrow laws must not gain by values that rounding has made the same.
            spread = schema.encode(table, spread=np.random.default_rng(settings.seed)).values
        if weights is not None:  # rows of no weight are not there
            kept = weights > 0
            encoded, weights, spread = encoded.take(kept), weights[kept], spread[kept]
        discrete = continuous = None
        context = None
        if schema.discrete:
            discrete = DiscreteBlock.fit(
                encoded.codes,
                schema.discrete,
                weights,
                seed=settings.seed,
                effort=settings.effort,
            )
            context = context_of(discrete, encoded.codes)
        if schema.continuous:
            continuous = fit_continuous(
                spread, context, weights, circular=schema.circular, settings=settings
            )
        model = cls(schema, discrete, continuous, {}, np.empty(0))
        if len(encoded.values) > _SCORED_ROWS:
            rng = np.random.default_rng(settings.seed)
            some = rng.choice(len(encoded.values), _SCORED_ROWS, replace=False)
            encoded, weights = encoded.take(some), None if weights is None else weights[some]
        scores = model.score_encoded(encoded)
        shares = np.linspace(0, 1, _QUANTILES)
        if weights is None:
            model.quantiles = np.quantile(scores, shares)
        else:
            model.quantiles = np.quantile(scores, shares, weights=weights, method="inverted_cdf")
        model.run = {
            "rows": length(table),
            "columns": len(schema.names),
            "store_rows": settings.store_rows,
            **settings.record(start),
            "threads": torch.get_num_threads(),
        }
        return model

    def compute_on(self, device: torch.device) -> None:
        """Evaluate and sample the flows on a device from now on."""
        if self.continuous is not None:
            self.continuous.compute_on(device)

    def log_prob(self, table: Any, *, on_unknown: str = "score") -> np.ndarray:
        """Return the log-density of each row of a table, ``(rows,)`` float64."""
        parts = []
        for start, chunk in _chunks(table):
            encoded = self.schema.encode(chunk, rows_from=start, on_unknown=on_unknown)
            parts.append(self.score_encoded(encoded))
        return np.concatenate(parts)

    def sample(self, n: int, generator: torch.Generator) -> Any:
        """Draw a table of ``n`` rows."""
        codes, values = zip(*(self._draw(k, generator) for k in _sizes(n)), strict=True)
        return self.schema.decode(np.concatenate(codes), np.concatenate(values))

    def sample_batches(self, n: int, generator: torch.Generator) -> Iterator[Any]:
        """Draw the rows of `sample` as tables of at most `CHUNK` rows, one after the other."""
        drawn = 0
        for k in _sizes(n):
            yield self.schema.decode(*self._draw(k, generator), rows_from=drawn)
            drawn += k

    def percentile(self, log_density: np.ndarray) -> np.ndarray:
        """Return the share of training rows that are less likely, in percent, ``(rows,)``."""
        # Not by interpolation: among the quantiles may be ties, and -inf.
        below = np.searchsorted(self.quantiles, log_density, side="left")
        return 100 * np.minimum(below / (len(self.quantiles) - 1), 1.0)

    @property
    def members(self) -> list[dict[str, Any]]:
        """Name, kind, weight and held-out score of each member of the continuous part."""
        return [] if self.continuous is None else self.continuous.members

    @property
    def curves(self) -> list[list[float]]:
        """Held-out scores of each flow in training, in nats of its standardised columns."""
        return [] if self.continuous is None else self.continuous.curves

    @property
    def flow(self) -> Any:
        """The best flow inside, or None."""
        return None if self.continuous is None else self.continuous.flow

    def latent(self, table: Any) -> np.ndarray:
        """Return the latents of the continuous columns under the best flow, ``(rows, columns)``.

        Raises:
            ArgumentError: there is no flow.
        """
        if self.continuous is None:
            raise ArgumentError("density", "one with continuous columns", "none")
        parts = []
        for start, chunk in _chunks(table):
            encoded = self.schema.encode(chunk, rows_from=start)
            context = context_of(self.discrete, encoded.codes)
            parts.append(self.continuous.latent(encoded.values, context))
        return np.concatenate(parts)

    def flows_only(self) -> "TableModel":
        """Return the model with the flows alone for its continuous columns.

        Raises:
            ArgumentError: it has none.
        """
        flows = None if self.continuous is None else self.continuous.flows_only()
        return TableModel(self.schema, self.discrete, flows, self.run, self.quantiles)

    def score_codes(self, encoded: Encoded) -> np.ndarray:
        """Return the log-probability of the discrete block, ``(rows,)``; 0 without one."""
        if self.discrete is None:
            return np.zeros(len(encoded.codes))
        return self.discrete.log_prob(encoded.codes)

    def score_encoded(self, encoded: Encoded) -> np.ndarray:
        """Return the log-density of rows that the schema has encoded, ``(rows,)`` float64."""
        total = encoded.log_jacobian
        context = None
        if self.discrete is not None:
            total = total + self.discrete.log_prob(encoded.codes)
            context = context_of(self.discrete, encoded.codes)
        if self.continuous is not None:
            total = total + self.continuous.log_prob(encoded.values, context)
        return total

    @cached_property
    def conditioner(self) -> Conditioner:
        """The conditionals and marginals of the model, made at their first use."""
        seed = int(self.run.get("seed", 0))
        return Conditioner(self.schema, self.discrete, self.continuous, seed)

    def _draw(self, n: int, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return codes and values of ``n`` rows."""
        return draw(self.schema, self.discrete, self.continuous, n, generator)


def _chunks(table: Any) -> Iterator[tuple[int, Any]]:
    for start in range(0, length(table), CHUNK):
        yield start, rows(table, start, start + CHUNK)


def _sizes(n: int) -> list[int]:
    return [min(CHUNK, n - start) for start in range(0, n, CHUNK)]


def tensors_of(model: TableModel) -> dict[str, Tensor]:
    """Return everything in the model that is a tensor, by name."""
    tensors = {"quantiles": torch.from_numpy(model.quantiles)}
    for name in ("discrete", "continuous"):
        part = getattr(model, name)
        if part is not None:
            tensors |= {f"{name}.{k}": v for k, v in part.state_dict().items()}
    return tensors
