"""Marginal density: some columns of a table, the others integrated out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from flowkit._checks import check_count
from flowkit.errors import ArgumentError
from flowkit.tabular.conditioning.conditioner import Conditioner
from flowkit.tabular.conditioning.conditions import column_named
from flowkit.tabular.conditioning.evidence import Estimate
from flowkit.tabular.conditioning.rows import SomeColumns
from flowkit.tabular.conditioning.states import all_states
from flowkit.tabular.conditioning.weights import generator_of

# Draws of each row, where an integral is estimated.
_DRAWS = 1_024


class MarginalDensity:
    """The density of some columns of a table.

    Made by `FlowDensity.marginal`. Without flows, everything is in closed form and exact. With
    flows, one other continuous column is integrated out by quadrature, to 1e-6, and several by
    importance sampling, with 1,024 draws for each row.

    Args:
        conditioner: of the table's model.
        names: names of the columns.
        method: "auto", "exact" or "importance".

    Attributes:
        columns: names of the columns.
    """

    def __init__(
        self, conditioner: Conditioner, names: Sequence[str], *, method: str = "auto"
    ) -> None:
        conditioner.check_method(method)
        if isinstance(names, str) or not len(names):
            raise ArgumentError("columns", "a list of one column at least", repr(names))
        for i, name in enumerate(names):
            column_named(conditioner.schema, name, "columns")
            if name in names[:i]:
                raise ArgumentError(
                    "columns", f"column {name!r} stands twice; name each column once"
                )
        self._conditioner, self._method = conditioner, method
        self.columns = tuple(names)
        self._own = SomeColumns(conditioner.schema, self.columns)
        block = conditioner.discrete
        codes = range(0 if block is None else len(block.columns))
        self._states = [all_states(block, j) for j in codes] if block is not None else []

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the log-density of rows of the columns, ``(rows,)``, in the table's units."""
        return self.estimate(X).log_density

    def estimate(self, X: Any) -> Estimate:
        """Return log-densities with their standard errors and effective numbers of draws."""
        encoded = self._own.encode(X)
        found = self._conditioner.estimate(
            self._own.evidence(encoded, self._states),
            method=self._method,
            draws=_DRAWS,
            generator=torch.Generator().manual_seed(self._conditioner.seed),
        )
        return found._replace(log_density=found.log_density + encoded.log_jacobian)

    def sample(
        self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None
    ) -> Any:
        """Draw rows of the columns, a table of the kind that `FlowDensity.sample` returns.

        Args:
            n_samples: number of rows.
            random_state: seed; by default another draw each time.
        """
        check_count("n_samples", n_samples)
        codes, values = self._conditioner.sample(n_samples, generator_of(random_state))
        return self._own.decode(codes, values)
