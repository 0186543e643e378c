"""Conditional density of one numeric target: members fitted by folds, weighted by held-out rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from flowkit._boosting import one_thread, trainable
from flowkit._threads import side_by_side
from flowkit.tabular.conditional import network
from flowkit.tabular.conditional.line import Line
from flowkit.tabular.conditional.members import (
    BoostedMember,
    ForestMember,
    LinearMember,
    around,
    background,
    boosting,
    residual_mixture,
    scale_boosting,
)
from flowkit.tabular.conditional.network import MixtureNetworks
from flowkit.tabular.conditional.normal_mixture import (
    NormalMixture,
    averaged,
    concatenated,
    pooled,
)
from flowkit.tabular.conditional.trees import Trees
from flowkit.tabular.settings import FitSettings
from flowkit.tabular.stacking import selected_weights

# Fewer rows than this, by weight, get the linear member alone.
FEWEST_ROWS = 60
# Least share of the background: unseen targets have a positive density everywhere.
_LEAST_BACKGROUND = 1e-4
_FEW_ROWS_BACKGROUND = 0.001
_ANYWHERE = (-np.inf, np.inf)
# Factors of the scales of a stack, and the number of rows that one is chosen by.
_SPREADS = (0.6, 1.5)
_ROWS_OF_SPREAD = 10_000
# Narrower cells are points to networks: their density is constant there.
_FINEST_CELL = 1e-5


@dataclass(frozen=True)
class Features:
    """Features of rows: for trees ``(n, c)``, and for networks ``(n, k)``."""

    trees: np.ndarray
    networks: np.ndarray


class ConditionalMixture:
    """The stacked members: features in, one mixture of normals of t for each row out.

    Attributes:
        shares: weight of each kind of member, that of the background too; others than it are only
            there if they have weight.
        linear: members of each fold, or none.
        forests: likewise.
        boosted: one, with the locations of all folds.
        plain: networks of the features alone, or None.
        informed: networks of the features and the trees' predictions, or None.
        held_out: mean held-out log-density of each kind, in nats of t.
        spread: factor of the scales of all components but the background's.

    Args:
        span: least and largest target of the fit. No component but the background's is far beyond.

    The stack of kinds is a *spread-adjusted* linear pool: the scales of all components are times
    one factor, as a pool of calibrated densities is too wide.

    Reference: Gneiting and Ranjan, *Combining predictive distributions*, 2013, section 3.2.
    """

    def __init__(self, span: tuple[float, float]) -> None:
        self.span, self.spread = span, 1.0
        self.shares: dict[str, float] = {"background": 1.0}
        self.linear: list[LinearMember] = []
        self.forests: list[ForestMember] = []
        self.boosted: BoostedMember | None = None
        self.plain: MixtureNetworks | None = None
        self.informed: MixtureNetworks | None = None
        self.held_out: dict[str, float] = {}

    def __call__(self, features: Features) -> NormalMixture:
        """Return the mixture of each row."""
        shares, x = self.shares, features.networks
        parts = {"background": background(len(x))}

        def add(kind: str, mixtures: Sequence[NormalMixture]) -> None:
            average = averaged([m.within(*self.span) for m in mixtures])
            parts[kind] = average.spread(self.spread)

        if "linear" in shares:
            add("linear", [m.mixture(x) for m in self.linear])
        forests = [m.mixture(features.trees) for m in self.forests]
        if "forest" in shares:
            add("forest", forests)
        if self.boosted is not None:
            location, scale, between = self.boosted.predictions(features.trees)
            if "boosted" in shares:
                add("boosted", [self.boosted.mixture(location, scale, between)])
        if "network" in shares and self.plain is not None:
            add("network", self.plain.mixtures([x] * self.plain.members))
        if "informed network" in shares and self.informed is not None and self.boosted is not None:
            mean = np.mean([m.mean() for m in forests], axis=0)
            rows = informed(x, location, scale, mean)
            add("informed network", self.informed.mixtures([rows] * self.informed.members))
        return pooled(list(parts.values()), [shares[kind] for kind in parts])

    def drop_unused(self) -> None:
        """Drop the members that no kind of positive weight needs."""
        shares = self.shares
        if "linear" not in shares:
            self.linear = []
        if "network" not in shares:
            self.plain = None
        if "informed network" not in shares:
            self.informed = None
            if "forest" not in shares:
                self.forests = []
            if "boosted" not in shares:
                self.boosted = None

    def state(self) -> dict[str, Any]:
        """Return the members, for a model file."""
        return {
            "span": self.span,
            "spread": self.spread,
            "shares": self.shares,
            "held_out": self.held_out,
            "linear": [m.state() for m in self.linear],
            "forests": [m.state() for m in self.forests],
            "boosted": None if self.boosted is None else self.boosted.state(),
            "network": None if self.plain is None else self.plain.state(),
            "informed": None if self.informed is None else self.informed.state(),
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "ConditionalMixture":
        """Make a mixture from what `state` returned."""
        low, high = state.get("span", _ANYWHERE)  # files of before have neither
        self = cls((float(low), float(high)))
        self.spread = float(state.get("spread", 1.0))
        self.shares, self.held_out = dict(state["shares"]), dict(state["held_out"])
        self.linear = [LinearMember.of_state(m) for m in state["linear"]]
        self.forests = [ForestMember.of_state(m) for m in state["forests"]]
        if state["boosted"] is not None:
            self.boosted = BoostedMember.of_state(state["boosted"])
        if state["network"] is not None:
            self.plain = MixtureNetworks.of_state(state["network"])
        if state["informed"] is not None:
            self.informed = MixtureNetworks.of_state(state["informed"])
        return self


def informed(
    features: np.ndarray, location: np.ndarray, scale: np.ndarray, mean: np.ndarray
) -> np.ndarray:
    """Return network features, followed by what boosting and the forest predict."""
    return np.column_stack([features, location, np.log(scale), mean])


class Fitting:
    """The fit of a conditional mixture.

    Args:
        line: the target's line.
        x: target in its own units, ``(n,)``.
        features: of the same rows.
        weights: of the rows, ``(n,)``.
        fold_of_row: the fold that each row is held out in, ``(n,)``.
        settings: effort, seed and the like.
    """

    def __init__(
        self,
        line: Line,
        x: np.ndarray,
        features: Features,
        weights: np.ndarray,
        fold_of_row: np.ndarray,
        settings: FitSettings,
    ) -> None:
        self.line, self.x, self.features = line, x, features
        self.weights, self.settings = weights, settings
        self.folds = [fold_of_row == fold for fold in np.unique(fold_of_row)]
        self.t = line.t(x)
        seen = self.t[np.isfinite(self.t)]
        span = (float(seen.min()), float(seen.max())) if len(seen) else (-1.0, 1.0)
        self.targets = self.t[:, None]
        if line.step is not None:
            cells = np.stack(line.cells(x), 1)
            self.t = np.where(np.isfinite(self.t), self.t, cells.clip(-1e4, 1e4).mean(1))
            # Cells that no network could resolve in float32 are points.
            fine = (cells[:, 1] - cells[:, 0]).min() < _FINEST_CELL
            self.targets = self.t[:, None] if fine else cells
        self.scores: dict[str, np.ndarray] = {}
        self.samples: dict[str, NormalMixture] = {}
        order = np.random.default_rng(settings.seed).permutation(len(x))
        self.sampled = np.isin(np.arange(len(x)), order[:_ROWS_OF_SPREAD])
        self.model = ConditionalMixture(span)

    def run(self) -> ConditionalMixture:
        """Fit all members, and weight them."""
        if self.weights.sum() < FEWEST_ROWS:
            return self._of_few_rows()
        self.scores["background"] = self.line.log_prob(background(len(self.x)), self.x)
        self._linear()
        self._trees_and_networks()
        return self._weighted()

    def _of_few_rows(self) -> ConditionalMixture:
        """Return the linear member of all rows: too few to hold some out."""
        linear = LinearMember.fit(self.features.networks, self.t, self.weights)
        self.model.linear = [linear]
        self.model.shares = {"background": _FEW_ROWS_BACKGROUND, "linear": 1 - _FEW_ROWS_BACKGROUND}
        return self.model

    def _score(self, kind: str, mixtures: Sequence[NormalMixture]) -> None:
        """Record the log-densities of the held-out rows under a mixture of each fold."""
        scores, samples = np.empty(len(self.x)), []
        for mixture, out in zip(mixtures, self.folds, strict=True):
            near = mixture.within(*self.model.span)
            scores[out] = self.line.log_prob(near, self.x[out])
            samples.append(near.take(self.sampled[out]))
        self.scores[kind] = scores
        self.samples[kind] = concatenated(samples)

    def _linear(self) -> None:
        fits = [
            LinearMember.fit(self.features.networks[~out], self.t[~out], self.weights[~out])
            for out in self.folds
        ]
        x = self.features.networks
        self._score("linear", [m.mixture(x[out]) for m, out in zip(fits, self.folds, strict=True)])
        self.model.linear = fits

    def _trees_and_networks(self) -> None:
        settings, model = self.settings, self.model
        steps = _STEPS[settings.effort]
        folds = self.folds

        def trees() -> list[np.ndarray]:
            means = self._forests()
            with one_thread():
                return [*self._boosted(), means]

        def plain() -> list[np.ndarray]:
            x = self.features.networks
            model.plain = self._network([x] * len(folds), steps, 0, "network")
            self._score("network", model.plain.mixtures([x[out] for out in folds]))
            return []

        # The informed network has the features too: a fast fit does with it.
        tasks = [trees] if settings.effort == "fast" else [plain, trees]
        predictions = side_by_side(tasks)[-1]
        rows = informed(self.features.networks, *predictions)
        model.informed = self._network([rows] * len(folds), steps, 1000, "informed network")
        self._score("informed network", model.informed.mixtures([rows[out] for out in folds]))

    def _network(
        self, features: Sequence[np.ndarray], steps: int, seed: int, name: str
    ) -> MixtureNetworks:
        n = len(self.x)
        return network.train(
            features,
            self.targets,
            self.weights,
            self.folds,
            steps=int(steps * np.clip(n / 5_000, 1.0, 8.0) ** 0.5),
            seed=self.settings.seed + seed,
            settings=self.settings,
            name=name,
        )

    def _forests(self) -> np.ndarray:
        """Fit the forests; return their means of the rows that each holds out, ``(n,)``."""
        x, forests = self.features.trees, []
        for e, out in enumerate(self.folds):
            self.settings.report("forest", e, len(self.folds), "extremely randomised trees")
            forest = ForestMember.fit(
                x[~out],
                self.t[~out],
                self.weights[~out],
                trees=_TREES[self.settings.effort],
                seed=self.settings.seed + e,
            )
            forests.append(forest)
        mixtures = [f.mixture(x[out]) for f, out in zip(forests, self.folds, strict=True)]
        self._score("forest", mixtures)
        self.model.forests = forests
        means = np.empty(len(self.x))
        for mixture, out in zip(mixtures, self.folds, strict=True):
            means[out] = mixture.mean()
        return means

    def _boosted(self) -> list[np.ndarray]:
        """Fit boosting; return location and scale of the held-out rows, ``(n,)`` each."""
        x, t, w, n = self.features.trees, self.t, self.weights, len(self.t)
        location = np.empty(n)
        trees, baseline = [], []
        for e, out in enumerate(self.folds):
            self.settings.report("boosting", e, len(self.folds), "gradient-boosted trees")
            model = boosting(n, self.settings.effort, seed=self.settings.seed + e).fit(
                trainable(x[~out]), t[~out], w[~out]
            )
            location[out] = model.predict(x[out])
            trees += Trees.of_boosting(model)
            baseline.append(float(model._baseline_prediction.ravel()[0]))
        residuals = t - location
        least = (0.02 * np.median(np.abs(residuals))) ** 2 + 1e-12
        with_location = np.column_stack([x, location])
        scale = np.empty(n)

        def fitted(rows: np.ndarray) -> Any:
            model = scale_boosting(self.settings.seed)
            return model.fit(trainable(with_location[rows]), residuals[rows] ** 2 + least, w[rows])

        mixtures = []
        for out in self.folds:
            model = fitted(~out)
            predicted = np.sqrt(model.predict(with_location))
            scale[out] = predicted[out]
            shape = residual_mixture((residuals / predicted)[~out], w[~out])
            mixtures.append(around(location[out], scale[out], shape))
        self._score("boosted", mixtures)
        whole = fitted(np.ones(n, dtype=bool))
        self.model.boosted = BoostedMember(
            trees,
            Trees.of_boosting(whole)[0],
            np.array([np.mean(baseline), float(whole._baseline_prediction.ravel()[0])]),
            residual_mixture(residuals / scale, w),
        )
        return [location, scale]

    def _weighted(self) -> ConditionalMixture:
        """Weight the kinds by their held-out scores, and drop those that add nothing."""
        model, kinds = self.model, list(self.scores)
        scores = np.stack([self.scores[kind] for kind in kinds], 1)
        share = selected_weights(scores, self.weights)
        background = kinds.index("background")
        share[background] = max(share[background], _LEAST_BACKGROUND)
        share /= share.sum()
        model.held_out = {
            kind: float(np.average(scores[:, i], weights=self.weights))
            for i, kind in enumerate(kinds)
        }
        model.shares = {k: float(s) for k, s in zip(kinds, share, strict=True) if s > 0}
        model.drop_unused()
        model.spread = self._spread()
        return model

    def _spread(self) -> float:
        """Return the factor of all scales that a sample of the held-out rows is likeliest under."""
        shares, samples = self.model.shares, self.samples
        # The samples are in the order of the folds.
        rows = np.concatenate([np.flatnonzero(out & self.sampled) for out in self.folds])
        kinds = [kind for kind in shares if kind in samples]
        background = np.log(shares["background"]) + self.scores["background"][rows]
        if not kinds or not self.weights[rows].sum():
            return 1.0

        def loss(factor: float) -> float:
            stack = pooled([samples[k].spread(factor) for k in kinds], [shares[k] for k in kinds])
            scores = np.logaddexp(background, self.line.log_prob(stack, self.x[rows]))
            return -float(np.average(scores, weights=self.weights[rows]))

        found = minimize_scalar(loss, bounds=_SPREADS, method="bounded", options={"xatol": 0.01})
        return float(found.x)


_STEPS: Mapping[str, int] = {"fast": 400, "default": 1_500, "best": 3_000}
_TREES: Mapping[str, int] = {"fast": 20, "default": 60, "best": 120}
