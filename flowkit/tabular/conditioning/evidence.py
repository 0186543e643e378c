"""Evidence: rows of a table of which some columns are given, as codes and values."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from flowkit.tabular.conditioning.states import States


class Evidence(NamedTuple):
    """What is given of rows.

    Attributes:
        codes: ``(n, J)``, of meaning where fixed.
        fixed: which codes are given, ``(n, J)``.
        values: ``(n, d)``, NaN where open or absent.
        states: the states that an open code may be in, for each of the J columns.
        low: lower ends of the ranges of continuous columns, ``(d,)``, NaN where there is none.
        high: upper ends.
    """

    codes: np.ndarray
    fixed: np.ndarray
    values: np.ndarray
    states: Sequence[States]
    low: np.ndarray
    high: np.ndarray

    def take(self, rows: np.ndarray | slice) -> "Evidence":
        """Return some of the rows."""
        return self._replace(
            codes=self.codes[rows], fixed=self.fixed[rows], values=self.values[rows]
        )

    def drawn(self) -> "Evidence":
        """Return the evidence without the states that are scored and never drawn."""
        return self._replace(states=[states.only_drawn() for states in self.states])

    @property
    def has_values(self) -> bool:
        """Whether any value or range of a continuous column is given."""
        return bool((~np.isnan(self.values)).any()) or self.ranged > 0

    @property
    def columns_given(self) -> int:
        """The number of codes up to the last that is given or restricted."""
        given = self.fixed.any(0) | np.array([not s.whole for s in self.states], dtype=bool)
        return int(np.flatnonzero(given).max(initial=-1)) + 1

    @property
    def ranged(self) -> int:
        """The number of columns with a range."""
        return int((~np.isnan(self.low)).sum())


class Estimate(NamedTuple):
    """Log-densities, and how well they are known.

    Attributes:
        log_density: ``(n,)``.
        standard_error: of each, in nats; 0 where it is exact.
        effective_samples: effective number of independent draws; infinite where it is exact.
    """

    log_density: np.ndarray
    standard_error: np.ndarray
    effective_samples: np.ndarray


class Draws(NamedTuple):
    """Weighted draws of rows given evidence.

    Attributes:
        codes: ``(n, k, J)``.
        values: ``(n, k, d)``, NaN where absent.
        log_weight: ``(n, k)``.
    """

    codes: np.ndarray
    values: np.ndarray
    log_weight: np.ndarray
