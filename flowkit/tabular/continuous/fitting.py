"""Fit of the continuous columns: members of each kind, fold by fold, then their weights.

Rows are split into folds. Each kind of member is fitted once for each of the first few folds,
without that fold's rows, and scored on them. The held-out scores of all these folds weight the
kinds against each other; the members of a kind share its weight. So every row is used by most
members, and no weight is chosen on rows that its member was fitted to.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

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
from flowkit.tabular.continuous.training import train
from flowkit.tabular.settings import FitSettings
from flowkit.tabular.stacking import selected_weights

# Below so many rows there is one Gaussian beside the Student t: folds would be too small, and
# the fit would depend on the order of the rows.
FEWEST_ROWS = 100
_FEW_ROWS_SHARES = {"gaussian": 0.9, "broad": 0.1}
_FOLDS = 10
_EM_ROWS = 20_000
# Held-out rows that are scored at once.
_CHUNK = 16_384
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
        kinds: dict[str, list[FittedMember]] = {}
        scores: dict[str, list[np.ndarray]] = {}
        scored = []
        for fold in range(self.plan.folds):
            held_out = self.fold_of_row == fold
            members = self._members(fold, held_out)
            if fold > 0 and self.settings.stopped():
                break  # kinds are weighted by folds that have all of them
            scored.append(np.flatnonzero(held_out))
            rows = self.rows.take(held_out)
            for fitted in members:
                kinds.setdefault(fitted.name, []).append(fitted)
                fitted.member.double()
                parts = [fitted.log_prob(c.values, c.context) for c in rows.chunks(_CHUNK)]
                scores.setdefault(fitted.name, []).append(np.concatenate(parts))
        joined = np.stack([np.concatenate(part) for part in scores.values()], axis=1)
        return kinds, joined, np.concatenate(scored)

    def _members(self, fold: int, held_out: np.ndarray) -> list[FittedMember]:
        rows, seed = self.rows.take(~held_out), self.settings.seed
        curved, straight = (
            self._standardiser(
                Marginals.fit(rows.values, rows.weights, self.circular, curved=bent), rows
            )
            for bent in (True, False)
        )
        student = StudentMember.fit(rows.values, rows.weights, self.circular)
        fitted = [FittedMember(student, None, "broad")]
        fitted += self._mixtures(fold, rows, curved, straight)
        if self.settings.store_rows:
            y = straight.standardised(rows.values, rows.context)
            kernel = KernelMember.fit(y, rows.weights, self.circular, seed=seed)
            fitted.append(FittedMember(kernel, straight, "kernel"))
        order = np.random.default_rng((seed, fold)).permutation(rows.values.shape[1]).tolist()
        for name in self.plan.flows:
            if fold > 0 and self.settings.stopped():
                break
            standardiser = Standardiser(curved.marginals)
            member = self._flow(name, order)
            if name == "flow of residuals":
                standardiser = self._standardiser(curved.marginals, rows, order)
            y = standardiser.standardised(self.rows.values, self.rows.context)
            curve = train(
                member,
                Rows(y, self.rows.context, self.rows.weights),
                held_out,
                plan=self.plan,
                settings=self.settings,
                fold=fold,
            )
            fitted.append(FittedMember(member, standardiser, name, curve=curve))
        return fitted

    def _mixtures(
        self, fold: int, rows: Rows, curved: Standardiser, straight: Standardiser
    ) -> list[FittedMember]:
        seed, n = self.settings.seed + fold, len(rows.values)
        # In the order of the table: linear maps may round otherwise in another.
        kept, places = np.unique(
            np.random.default_rng(seed).permutation(n)[:_EM_ROWS], return_inverse=True
        )
        some = rows.take(kept)
        fitted = []
        for prefix, standardiser, sizes in (
            ("", curved, self.plan.mixtures),
            ("straight ", straight, self.plan.straight_mixtures),
        ):
            y = standardiser.standardised(some.values, some.context)[places]
            for k in sizes:
                if not enough_rows(k, n, y.shape[1]) or self.settings.stopped():
                    continue
                self.settings.report("mixture", fold, self.plan.folds, f"{k} components")
                mixture = MixtureMember.fit(
                    y, some.weights[places], k, self.circular, seed=seed, steps=60
                )
                fitted.append(FittedMember(mixture, standardiser, f"{prefix}mixture of {k}"))
        return fitted

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
