"""Fit of the continuous columns: members of each kind, fold by fold, then their weights.

Rows are split into folds. Each kind of member is fitted once for each of the first few folds,
without that fold's rows, and scored on them. The held-out scores of all these folds weight the
kinds against each other; the members of a kind share its weight. So every row is used by most
members, and no weight is chosen on rows that its member was fitted to.
"""

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from flowkit._threads import side_by_side
from flowkit.tabular.continuous.density import ContinuousDensity
from flowkit.tabular.continuous.fitted_member import FittedMember
from flowkit.tabular.continuous.members import (
    DeepMember,
    FlowBasedMember,
    FlowMember,
    KernelMember,
    MixtureMember,
    StudentMember,
)
from flowkit.tabular.continuous.plan import enough_rows, plan
from flowkit.tabular.continuous.preprocessing import Marginals, Residuals, Standardiser
from flowkit.tabular.continuous.rows import Rows
from flowkit.tabular.continuous.scoring import Scorer
from flowkit.tabular.continuous.training import train
from flowkit.tabular.settings import FitSettings
from flowkit.tabular.stacking import selected_weights

# Below so many rows there is one Gaussian beside the Student t: folds would be too small, and
# the fit would depend on the order of the rows.
FEWEST_ROWS = 100
_FEW_ROWS_SHARES = {"gaussian": 0.9, "broad": 0.1}
_FOLDS = 10
_EM_ROWS = 20_000
# Minimum weight of the Student t member, kept so that unseen outliers have positive density.
_LEAST_STUDENT = 1e-4


def fit_continuous(
    values: np.ndarray,
    context: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    *,
    circular: np.ndarray | None = None,
    settings: FitSettings | None = None,
) -> ContinuousDensity:
    """Fit a density to rows of continuous columns.

    Args:
        values: ``(n, d)`` float64, NaN where absent.
        context: ``(n, c)``, features of the discrete block; None without one.
        weights: ``(n,)``, positive; a row of weight 2 counts as two equal rows.
        circular: which columns are angles within ± π, ``(d,)``.
        settings: effort, seed and the like.
    """
    n, d = values.shape
    w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    angles = np.zeros(d, dtype=bool) if circular is None else np.asarray(circular, dtype=bool)
    rows = Rows(values, context, w)
    if w.sum() < FEWEST_ROWS:
        return _of_few_rows(rows, angles)
    settings = settings or FitSettings()
    with torch.random.fork_rng(devices=[]):
        # Layers draw their first weights from torch's global generator.
        torch.manual_seed(settings.seed)
        kinds, scores, scored = _Fitting(rows, angles, settings).run()
        return _weighted(kinds, scores, w[scored])


def _of_few_rows(rows: Rows, circular: np.ndarray) -> ContinuousDensity:
    marginals = Marginals.fit(rows.values, rows.weights, circular, curved=False, grids=False)
    y, _ = marginals.map(torch.from_numpy(rows.values))
    gaussian = MixtureMember.fit(y.numpy(), rows.weights, 1, circular)
    student = StudentMember.fit(rows.values, rows.weights, circular)
    fitted = [
        FittedMember(gaussian, Standardiser(marginals), "gaussian"),
        FittedMember(student, None, "broad"),
    ]
    shares = torch.tensor([_FEW_ROWS_SHARES[f.name] for f in fitted]).double().log()
    return ContinuousDensity(fitted, shares.tolist()).eval()


def _weighted(
    kinds: dict[str, list[FittedMember]], scores: np.ndarray, weights: np.ndarray
) -> ContinuousDensity:
    """Weight kinds by held-out scores ``(rows, kinds)``, and mix their members."""
    groups = list(kinds.values())
    share = selected_weights(scores, weights)
    student = [group[0].member.kind for group in groups].index(StudentMember.kind)
    share[student] = max(share[student], _LEAST_STUDENT)
    share /= share.sum()
    means = np.average(scores, axis=0, weights=weights)
    flows = [i for i, group in enumerate(groups) if isinstance(group[0].member, FlowBasedMember)]
    alone = np.zeros(len(groups))
    alone[flows] = selected_weights(scores[:, flows], weights)
    fitted, log_shares = [], []
    for i, group in enumerate(groups):
        if share[i] == 0 and alone[i] == 0:
            continue
        for member in group:
            of_one = float(alone[i] / len(group))
            fitted.append(replace(member, held_out=float(means[i]), alone=of_one))
            log_shares.append(np.log(max(share[i] / len(group), 1e-300)))
    return ContinuousDensity(fitted, log_shares).double().eval()


class _Fold(NamedTuple):
    """A fold of the rows, and what its members have in common."""

    number: int
    held_out: np.ndarray
    order: list[int]
    curved: Standardiser
    straight: Standardiser


class _Untrained(NamedTuple):
    """A flow of a fold, and its standardised rows."""

    fold: _Fold
    name: str
    member: FlowBasedMember
    standardiser: Standardiser
    rows: Rows


class _Fitting:
    """The members of each kind, fitted fold by fold."""

    def __init__(self, rows: Rows, circular: np.ndarray, settings: FitSettings) -> None:
        self.rows, self.circular, self.settings = rows, circular, settings
        n, d = rows.values.shape
        self.holes = bool(np.isnan(rows.values).any())
        self.context_features = 0 if rows.context is None else rows.context.shape[1]
        self.plan = plan(
            n,
            d,
            holes=self.holes,
            circular=bool(circular.any()),
            context_features=self.context_features,
            effort=settings.effort,
        )
        self.fold_of_row = np.random.default_rng(settings.seed).permutation(n) % _FOLDS

    def run(self) -> tuple[dict[str, list[FittedMember]], np.ndarray, np.ndarray]:
        """Return the members by name, their held-out scores, and which rows these are of."""
        folds = [self._fold(0)]
        for number in range(1, self.plan.folds):
            if self.settings.stopped():
                break
            folds.append(self._fold(number))
        kinds: dict[str, list[FittedMember]] = {}
        for some in self._fitted(folds):
            for fitted in some:
                fitted.member.double()
                kinds.setdefault(fitted.name, []).append(fitted)
        scores = []
        for i, fold in enumerate(folds):
            rows = self.rows.take(fold.held_out)
            of_fold = Scorer([members[i] for members in kinds.values()])
            scores.append(of_fold(rows.values, rows.context))
        scored = np.concatenate([np.flatnonzero(fold.held_out) for fold in folds])
        return kinds, np.concatenate(scores), scored

    def _fitted(self, folds: Sequence[_Fold]) -> list[list[FittedMember]]:
        """Return the members of all kinds, fold by fold within each.

        The flows of one kind are trained as one network. The networks and the simpler members are
        fitted side by side.
        """
        stacks = [[self._untrained(fold, name) for fold in folds] for name in self.plan.flows]
        ended, lock = threading.Event(), threading.Lock()

        def report(*message: Any) -> None:
            with lock:
                self.settings.report(*message)

        def stop() -> bool:
            return ended.is_set() or self.settings.stopped()

        settings = replace(self.settings, stop=stop, progress=report)
        tasks = [partial(self._train, stack, settings) for stack in reversed(stacks)]
        # The simpler members come first: a fit that is ended early has these at least.
        others, *flows = side_by_side([partial(self._others, folds, settings), *tasks], ended)
        return [others, *reversed(flows)]

    def _fold(self, number: int) -> _Fold:
        held_out = self.fold_of_row == number
        rows = self.rows.take(~held_out)
        curved, straight = (
            self._standardiser(
                Marginals.fit(rows.values, rows.weights, self.circular, curved=bent), rows
            )
            for bent in (True, False)
        )
        rng = np.random.default_rng((self.settings.seed, number))
        order = rng.permutation(rows.values.shape[1]).tolist()
        return _Fold(number, held_out, order, curved, straight)

    def _untrained(self, fold: _Fold, name: str) -> _Untrained:
        marginals = fold.curved.marginals
        standardiser = Standardiser(marginals)
        if name == "flow of residuals":
            own = self.rows.take(~fold.held_out)
            standardiser = self._standardiser(marginals, own, fold.order)
        y = standardiser.standardised(self.rows.values, self.rows.context)
        rows = Rows(y, self.rows.context, self.rows.weights)
        return _Untrained(fold, name, self._flow(name, fold.order), standardiser, rows)

    def _train(self, flows: Sequence[_Untrained], settings: FitSettings) -> list[FittedMember]:
        limit = settings.max_seconds
        curves = train(
            [flow.member for flow in flows],
            [flow.rows for flow in flows],
            [flow.fold.held_out for flow in flows],
            plan=self.plan,
            settings=settings,
            seeds=[settings.seed + flow.fold.number for flow in flows],
            # On one thread one network is trained after the other.
            max_seconds=None if limit is None else limit / len(self.plan.flows),
        )
        return [
            FittedMember(flow.member, flow.standardiser, flow.name, curve=curve)
            for flow, curve in zip(flows, curves, strict=True)
        ]

    def _others(self, folds: Sequence[_Fold], settings: FitSettings) -> list[FittedMember]:
        """Return the members that are not trained. Every fold has all kinds, however it ends."""
        parts = [self.rows.take(~fold.held_out) for fold in folds]
        fitted = []
        for rows in parts:
            student = StudentMember.fit(rows.values, rows.weights, self.circular)
            fitted.append(FittedMember(student, None, "broad"))
        fewest = min(len(rows.values) for rows in parts)
        for curved, prefix, sizes in (
            (True, "", self.plan.mixtures),
            (False, "straight ", self.plan.straight_mixtures),
        ):
            maps = [fold.curved if curved else fold.straight for fold in folds]
            some = [
                self._some(rows, map_, settings.seed + fold.number)
                for rows, map_, fold in zip(parts, maps, folds, strict=True)
            ]
            for k in sizes:
                if not enough_rows(k, fewest, self.rows.values.shape[1]) or settings.stopped():
                    continue
                for (y, weights), map_, fold in zip(some, maps, folds, strict=True):
                    settings.report("mixture", fold.number, len(folds), f"{k} components")
                    mixture = MixtureMember.fit(
                        y, weights, k, self.circular, seed=settings.seed + fold.number, steps=60
                    )
                    fitted.append(FittedMember(mixture, map_, f"{prefix}mixture of {k}"))
        if settings.store_rows:
            for rows, fold in zip(parts, folds, strict=True):
                y = fold.straight.standardised(rows.values, rows.context)
                kernel = KernelMember.fit(y, rows.weights, self.circular, seed=settings.seed)
                fitted.append(FittedMember(kernel, fold.straight, "kernel"))
        return fitted

    def _some(self, rows: Rows, standardiser: Standardiser, seed: int) -> tuple[np.ndarray, ...]:
        """Return standardised rows for EM, and their weights."""
        chosen = np.random.default_rng(seed).permutation(len(rows.values))[:_EM_ROWS]
        # Mapped in the order of the table: linear maps may round otherwise in another.
        kept, places = np.unique(chosen, return_inverse=True)
        some = rows.take(kept)
        y = standardiser.standardised(some.values, some.context)
        return y[places], some.weights[places]

    def _flow(self, name: str, order: list[int]) -> FlowBasedMember:
        """Return a flow of untrained weights."""
        d, c, angles = len(order), self.context_features, self.circular.tolist()
        hidden, components = self.plan.hidden, self.plan.components
        if name == "deep flow":
            return DeepMember(d, order, self.plan.layers, hidden, components, c, residual=True)
        return FlowMember(d, order, hidden, components, c, self.holes, angles, residual=True)

    def _standardiser(
        self, marginals: Marginals, rows: Rows, order: Sequence[int] = ()
    ) -> Standardiser:
        """Return a map that takes off the context and, with an order, the columns before too."""
        if rows.context is None and not order:
            return Standardiser(marginals)
        y = Standardiser(marginals).standardised(rows.values, None)
        residuals = Residuals.fit(y, rows.context, rows.weights, self.circular, order)
        return Standardiser(marginals, residuals)
