"""Continuous part of a conditional: the members of a density, with and without a closed form."""

from functools import cached_property

import numpy as np
import torch

from flowkit.errors import ArgumentError
from flowkit.schema import Schema
from flowkit.tabular.conditioning.closed import ClosedMixture, Given, is_closed
from flowkit.tabular.conditioning.proposal import DRAWS, proposal_of
from flowkit.tabular.conditioning.quadrature import log_marginal
from flowkit.tabular.continuous import ContinuousDensity
from flowkit.tabular.discrete import DiscreteBlock
from flowkit.tabular.parts import context_of, draw

# Members of a log-share below this have no part in the density.
_NO_SHARE = -600.0


class Members:
    """The members of a density of continuous columns: those of a closed form, and the open ones.

    Args:
        schema: of the table.
        discrete: the discrete block; None without one.
        continuous: the density; None without continuous columns.
        seed: random seed of the proposal.
    """

    def __init__(
        self,
        schema: Schema,
        discrete: DiscreteBlock | None,
        continuous: ContinuousDensity | None,
        seed: int,
    ) -> None:
        self._schema, self._discrete, self._density = schema, discrete, continuous
        self._seed = seed
        self._lender: Members | None = None
        fitted = () if continuous is None else continuous.fitted
        shares = [] if continuous is None else continuous.log_shares.tolist()
        pairs = [(f, s) for f, s in zip(fitted, shares, strict=True) if s > _NO_SHARE]
        closed = [pair for pair in pairs if is_closed(pair[0])]
        self._open = [pair for pair in pairs if not is_closed(pair[0])]
        self.closed = ClosedMixture([f for f, _ in closed], [s for _, s in closed])
        self.circular = np.zeros(len(schema.continuous), dtype=bool)
        if continuous is not None:
            self.circular = np.asarray(fitted[0].member.circular, dtype=bool)

    @property
    def all_closed(self) -> bool:
        """Whether all members have a closed form."""
        return not self._open

    def require_closed(self) -> None:
        """Raise if a member has no closed form.

        Raises:
            ArgumentError: the members are named.
        """
        if self._open:
            names = ", ".join(sorted({f.name for f, _ in self._open}))
            raise ArgumentError(
                "method",
                f"'exact' needs members with a closed form, and this density has others: {names}; "
                "use 'auto' or 'importance'",
            )

    def log_prob(self, values: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        """Return the log-density of rows without open entries, ``(n,)``."""
        if self._density is None:
            return np.zeros(len(values))
        return self._density.log_prob(values, context)

    def log_prob_open(self, values: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        """Return the part of the open members in the density, ``(n,)``."""
        return self._flows.log_prob(values, context)

    def integrated(self, given: Given, hidden: np.ndarray) -> np.ndarray:
        """Return the log-density of rows with at most one open entry each, ``(n,)``.

        With a closed form for all members, any number of entries may be open. It is 0 for a row of
        which no entry is given.

        Args:
            given: the rows.
            hidden: which entries are open, ``(n, d)``.
        """
        if self._density is None:
            return np.zeros(len(hidden))
        total = np.zeros(len(hidden))
        empty = given.is_empty
        whole = np.asarray(~hidden.any(1)) & ~empty
        if whole.any():
            part = given.take(whole)
            total[whole] = self.log_prob(part.values, part.context)
        rest = ~whole & ~empty
        if rest.any():
            part, at = given.take(rest), hidden[rest].argmax(1)
            scores = [self.closed.evidence(part)]
            for fitted, share in self._open:
                scores.append(log_marginal(fitted, part, at) + share)
            total[rest] = np.logaddexp.reduce(scores)
        return total

    def unknown(self, given: Given, hidden: np.ndarray) -> np.ndarray:
        """Return for which rows `integrated` has no exact value, ``(n,)``."""
        ranged = (~np.isnan(given.low) & ~self.circular).sum(1)
        several = ranged > 1
        if not self.all_closed:
            several |= hidden.sum(1) > 1
        unknown: np.ndarray = several & ~given.is_empty
        return unknown

    @cached_property
    def proposal(self) -> ClosedMixture:
        """A mixture with a closed form near the whole density, fitted at its first use."""
        if self._lender is not None:
            return self._lender.proposal
        assert self._density is not None  # noqa: S101  for the type checker
        generator = torch.Generator().manual_seed(self._seed)
        parts = (self._schema, self._discrete, self._density)
        codes, values = draw(*parts, DRAWS, generator)
        context = context_of(self._discrete, codes)
        return proposal_of(self._density, values, context, self._seed)

    def proposal_from(self, members: "Members") -> None:
        """Use the proposal of other members, once they have one."""
        self._lender = members

    @cached_property
    def _flows(self) -> ContinuousDensity:
        """The open members with their weights, which do not sum to one."""
        return ContinuousDensity([f for f, _ in self._open], [s for _, s in self._open]).eval()
