"""Conditioner: densities and draws of rows of which some columns are given.

Codes come first: open ones are enumerated, or drawn. Given codes, members of a closed form are
conditioned by algebra. A flow is integrated over one open column by quadrature, and over several
by importance sampling; the proposal is a mixture of a closed form.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from flowkit._checks import check_choice
from flowkit.schema import Schema
from flowkit.tabular.conditioning.closed import ClosedMixture, Given
from flowkit.tabular.conditioning.codes import WeightedCodes
from flowkit.tabular.conditioning.evidence import Draws, Estimate, Evidence
from flowkit.tabular.conditioning.members import Members
from flowkit.tabular.conditioning.states import refined
from flowkit.tabular.conditioning.weights import chosen, effective, log_sums
from flowkit.tabular.conditioning.work import Work, codes_of, parts_of, work_of
from flowkit.tabular.continuous import ContinuousDensity
from flowkit.tabular.continuous.members import StudentMember
from flowkit.tabular.discrete import DiscreteBlock
from flowkit.tabular.parts import context_of, draw

METHODS = ("auto", "exact", "importance")


class _Proposed(NamedTuple):
    """Draws of rows: which codes, which values, and the log-weights that correct them."""

    at: np.ndarray
    values: np.ndarray
    log_weight: np.ndarray
    terms: np.ndarray


class Conditioner:
    """Conditionals and marginals of the parts of a table's model.

    Args:
        schema: of the table.
        discrete: the discrete block; None without one.
        continuous: the density of the continuous columns; None without one.
        seed: random seed of the proposal, and of estimates.
    """

    def __init__(
        self,
        schema: Schema,
        discrete: DiscreteBlock | None,
        continuous: ContinuousDensity | None,
        seed: int,
    ) -> None:
        self.schema, self.discrete, self._continuous = schema, discrete, continuous
        self.seed = seed
        self.members = Members(schema, discrete, continuous, seed)

    @cached_property
    def bulk(self) -> "Conditioner":
        """The same without the Student t members, whose means need not exist."""
        density = self._continuous
        if density is None:
            return self
        shares = density.log_shares.tolist()
        kept = [
            (f, share)
            for f, share in zip(density.fitted, shares, strict=True)
            if not isinstance(f.member, StudentMember)
        ]
        if not kept:
            return self
        bulk = ContinuousDensity([f for f, _ in kept], [share for _, share in kept]).eval()
        found = Conditioner(self.schema, self.discrete, bulk, 0)
        found.members.proposal_from(self.members)
        return found

    def check_method(self, method: str) -> None:
        """Raise if a method is unknown, or needs a closed form that there is not.

        Raises:
            ArgumentError: the method is named.
        """
        check_choice("method", method, METHODS)
        if method == "exact":
            self.members.require_closed()

    def log_prob(self, codes: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return the log-density of rows of codes and values, ``(n,)``."""
        of_values = self.members.log_prob(values, context_of(self.discrete, codes))
        return of_values if self.discrete is None else self.discrete.log_prob(codes) + of_values

    def estimate(
        self, evidence: Evidence, *, method: str = "auto", draws: int, generator: torch.Generator
    ) -> Estimate:
        """Return the log-density of what is given of each row, in codes and values.

        Args:
            evidence: the rows.
            method: "auto"; "exact"; or "importance" to estimate even what has a closed form.
            draws: number of draws of each row, where an integral is estimated.
            generator: of the draws.
        """
        parts = [
            self._estimate(part, method == "importance", draws, generator)
            for part in parts_of(evidence, draws)
        ]
        return Estimate(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def draw(
        self, evidence: Evidence, *, method: str = "auto", draws: int, generator: torch.Generator
    ) -> Draws:
        """Return weighted draws of each row given the evidence.

        The weights of a row are equal if all members have a closed form, and at most one range is
        given.
        """
        evidence = evidence.drawn()
        parts = [
            self._draws(part, method == "importance", draws, generator)
            for part in parts_of(evidence, draws)
        ]
        return Draws(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def sample(self, n: int, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return codes and values of ``n`` rows, given nothing."""
        return draw(self.schema, self.discrete, self._continuous, n, generator)

    def _estimate(
        self, evidence: Evidence, forced: bool, draws: int, generator: torch.Generator
    ) -> Estimate:
        n = len(evidence.codes)
        if not evidence.has_values:
            # Values integrate to one, and so do the codes after the last that is given.
            codes = codes_of(self.discrete, evidence, draws, generator, evidence.columns_given)
            return _summed(codes, codes.log_weight, n)
        work = work_of(self.schema, self.discrete, evidence, draws, generator)
        log_p, error, effective_draws = np.empty(n), np.zeros(n), np.full(n, np.inf)
        unknown = self.members.unknown(work.given, work.hidden)
        if forced:
            unknown = np.asarray(work.hidden.any(1))
        sampled = np.zeros(n, dtype=bool)
        sampled[work.weighted.row[unknown]] = True
        if not sampled.all():
            found = self._integrated(work.of_rows(~sampled), int((~sampled).sum()))
            log_p[~sampled], error[~sampled], effective_draws[~sampled] = found
        if sampled.any():
            part = work.of_rows(sampled)
            found = self._sampled(part, int(sampled.sum()), forced, draws, generator)
            log_p[sampled], error[sampled], effective_draws[sampled] = found
        return Estimate(log_p, error, effective_draws)

    def _integrated(self, work: Work, n: int) -> Estimate:
        """Return log-densities of rows whose open entries are integrated out without draws."""
        log_p = self.members.integrated(work.given, work.hidden)
        return _summed(work.weighted, work.weighted.log_weight + log_p, n)

    def _sampled(
        self, work: Work, n: int, forced: bool, draws: int, generator: torch.Generator
    ) -> Estimate:
        """Return estimates of rows whose open entries are integrated out by draws."""
        ranged = (~np.isnan(work.given.low) & ~self.members.circular).sum(1)
        # With one range at most, the closed members are exact, and the others alone are estimated.
        whole = forced or bool((ranged > 1).any())
        log_prob = self.members.log_prob if whole else self.members.log_prob_open
        proposal = self._proposal(forced)
        found = self._proposed(work, n, proposal, draws, generator)
        context = None if work.given.context is None else work.given.context[found.at]
        log_weight = found.log_weight + log_prob(found.values, context)
        log_weight = log_weight - proposal.evidence(_whole(found.values, context))
        row = np.repeat(np.arange(n), draws)
        error, effective_draws = effective(log_weight, row, n)
        log_p = log_sums(found.terms, work.weighted.row, n)
        log_p += log_sums(log_weight, row, n) - np.log(draws)
        if not whole:
            terms = work.weighted.log_weight + self.members.closed.evidence(work.given)
            closed = log_sums(terms, work.weighted.row, n)
            total = np.logaddexp(log_p, closed)
            log_p, error = total, error * np.exp(log_p - total)
        of_codes = _summed(work.weighted, found.terms, n).standard_error
        return Estimate(log_p, np.hypot(error, of_codes), effective_draws)

    def _draws(
        self, evidence: Evidence, forced: bool, draws: int, generator: torch.Generator
    ) -> Draws:
        work = work_of(self.schema, self.discrete, evidence, draws, generator)
        n, shape = len(evidence.codes), (len(evidence.codes), draws)
        if not self.members.circular.size:
            at = chosen(work.weighted.log_weight, work.weighted.row, n, draws, generator)
            codes, values = work.weighted.codes[at], np.zeros((len(at), 0))
            log_weight = np.zeros(len(at))
        else:
            proposal = self._proposal(forced)
            found = self._proposed(work, n, proposal, draws, generator)
            codes, values, log_weight = (
                work.weighted.codes[found.at],
                found.values,
                found.log_weight,
            )
            if proposal is not self.members.closed:
                context = None if work.given.context is None else work.given.context[found.at]
                log_weight = log_weight + self.members.log_prob(values, context)
                log_weight = log_weight - proposal.evidence(_whole(values, context))
        row = np.repeat(np.arange(n), draws)
        self._refine(codes, evidence, row, work.weighted.enumerated, generator)
        return Draws(
            codes.reshape(*shape, codes.shape[1]),
            values.reshape(*shape, values.shape[1]),
            log_weight.reshape(shape),
        )

    def _proposal(self, forced: bool) -> ClosedMixture:
        closed = self.members.all_closed and not forced
        return self.members.closed if closed else self.members.proposal

    def _proposed(
        self,
        work: Work,
        n: int,
        proposal: ClosedMixture,
        draws: int,
        generator: torch.Generator,
    ) -> _Proposed:
        """Return draws of each row from the proposal given the evidence, ``(n * draws,)``."""
        weighted = work.weighted
        log_q = proposal.evidence(work.given)
        terms = weighted.log_weight + log_q
        at = chosen(terms, weighted.row, n, draws, generator)
        values, log_weight = proposal.draw(work.given.take(at), generator)
        values[~work.present[at]] = np.nan
        return _Proposed(at, values, log_weight - log_q[at], terms)

    def _refine(
        self,
        codes: np.ndarray,
        evidence: Evidence,
        row: np.ndarray,
        enumerated: np.ndarray,
        generator: torch.Generator,
    ) -> None:
        """Replace integers that stand for a range, in place."""
        for j, states in enumerate(evidence.states):
            column = self.schema.discrete[j]
            if column.kind == "integer" and not evidence.fixed[:, j].all():
                assert self.discrete is not None  # noqa: S101  for the type checker
                # Integers that were drawn one by one stay.
                spread = enumerated[row] | (not states.whole)
                drawn = column.present(codes) & ~evidence.fixed[row, j] & spread
                codes[drawn, j] = refined(self.discrete, j, states, codes[drawn, j], generator)


def _summed(codes: WeightedCodes, terms: np.ndarray, n: int) -> Estimate:
    """Return the log of the sum of terms ``(P,)`` of each row; drawn codes make it an estimate."""
    error, number = effective(terms, codes.row, n)
    return Estimate(
        log_sums(terms, codes.row, n),
        np.where(codes.enumerated, 0.0, error),
        np.where(codes.enumerated, np.inf, number),
    )


def _whole(values: np.ndarray, context: np.ndarray | None) -> Given:
    """Return rows all of whose present entries are given."""
    nowhere = np.full(values.shape, np.nan)
    return Given(values, nowhere, nowhere, context)
