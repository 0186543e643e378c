"""The density of a table's continuous columns: flows and simpler laws, weighed by held-out rows.

Rows are split into folds. Of each kind of member there is one for each of the first few folds,
fitted without that fold and scored on it. The scores of all these folds weigh the kinds against
each other, and the members of a kind are averaged: every row has a say in most of them, no weight
was chosen by rows that its member had seen, and a mean of densities is at least as good as the mean
of their scores.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowkit._checks import check_keys
from flowkit.distributions import Flow
from flowkit.errors import ArgumentError
from flowkit.tabular.autoregressive import FlowMember
from flowkit.tabular.broad import BroadMember
from flowkit.tabular.deep import DeepMember
from flowkit.tabular.kernel import KernelMember
from flowkit.tabular.learner import learn
from flowkit.tabular.marginals import Marginals
from flowkit.tabular.mixture import MixtureMember
from flowkit.tabular.residuals import Residuals
from flowkit.tabular.stacking import mixture_score, stack
from flowkit.tabular.standardiser import Standardiser

Member = FlowMember | DeepMember | MixtureMember | BroadMember | KernelMember
Progress = Callable[[str, int, int, str], object]
Stop = Callable[[], bool]

_KINDS: dict[str, type[Any]] = {
    kind.kind: kind for kind in (FlowMember, DeepMember, MixtureMember, BroadMember, KernelMember)
}
# Below so many rows there is one Gaussian beside the broad law: folds would be too small, and
# fitting them depend on the order of the rows.
FEWEST_ROWS = 100
_FEW_ROWS_SHARES = {"mixture": 0.9, "broad": 0.1}
_COMPONENTS = (1, 2, 4, 8, 16, 32)
# Deep flows want rows; with many of them nothing else that is trained is worth the time.
_FEW, _MANY, _VERY_MANY = 2_000, 8_000, 20_000
_EM_ROWS = 20_000
_CHUNK = 16_384
# A member of a log-share below this is kept for `flows_only`, and has no part in the mixture.
_NO_SHARE = -600.0
# The least weight of the broad law, which is there for what comes.
_LEAST_BROAD = 1e-4
# A kind must raise the held-out score of the others by this many nats to be kept.
_LEAST_GAIN = 0.002
_FLOWS = ("flow", "deep flow")


@dataclass(frozen=True)
class _Effort:
    """How much work a fit is: folds with members, steps at 1,000 rows, widths of the networks."""

    folds: int
    steps: int
    hidden: tuple[int, ...]
    components: int
    layers: int  # of deep flows


_EFFORTS = {
    "fast": _Effort(2, 300, (64, 64), 8, 2),
    "default": _Effort(3, 600, (128, 128), 10, 4),
    "best": _Effort(5, 1200, (192, 192), 16, 5),
}
_FOLDS = 10


class ContinuousDensity(nn.Module):
    """A mixture of members over rows of continuous columns.

    Args:
        members: the members.
        standardisers: the map that each member's rows go through first; None for a member that
            stands in the table's own units.
        log_shares: logarithms of their weights, ``(m,)``.
        notes: of each member, what is worth telling: held-out score and the like.
    """

    log_shares: Tensor

    def __init__(
        self,
        members: list[Member],
        standardisers: list[Standardiser | None],
        notes: list[dict[str, Any]],
    ) -> None:
        super().__init__()
        self._members = nn.ModuleList(members)
        self._standardisers = nn.ModuleList([s for s in standardisers if s is not None])
        self._own_units = [s is None for s in standardisers]
        self._notes = notes
        self.register_buffer("log_shares", torch.zeros(len(members), dtype=torch.float64))

    @classmethod
    def fit(
        cls,
        values: np.ndarray,
        context: np.ndarray | None = None,
        weights: np.ndarray | None = None,
        *,
        circular: np.ndarray | None = None,
        effort: str = "default",
        seed: int = 0,
        store_rows: bool = False,
        max_seconds: float | None = None,
        progress: Progress | None = None,
        stop: Stop | None = None,
    ) -> "ContinuousDensity":
        """Fit to rows.

        Args:
            values: ``(n, d)`` float64, NaN where absent.
            context: ``(n, c)``, what is known of each row beside; None for nothing.
            weights: ``(n,)``, positive; 2 counts as two equal rows.
            circular: which columns are angles within ± π, ``(d,)``.
            effort: "fast", "default" or "best".
            seed: of everything random.
            store_rows: whether a kernel density estimate, which keeps rows, may be a member.
            max_seconds: roughly how long the fit may take.
            progress: called with (stage, done, total, message).
            stop: asked between steps whether to end with what there is.
        """
        n, d = values.shape
        w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
        angles = np.zeros(d, dtype=bool) if circular is None else np.asarray(circular, dtype=bool)
        if w.sum() < FEWEST_ROWS:
            return cls._of_few_rows(values, w, angles)
        fitting = _Fitting(
            values,
            context,
            w,
            angles,
            _EFFORTS[effort],
            seed,
            store_rows,
            max_seconds,
            progress,
            stop,
        )
        with torch.random.fork_rng(devices=[]):
            # Layers draw their first weights from torch's own generator, which no two processes
            # start alike.
            torch.manual_seed(seed)
            return cls._of_kinds(*fitting.run(), w)

    @classmethod
    def _of_few_rows(
        cls, values: np.ndarray, w: np.ndarray, circular: np.ndarray
    ) -> "ContinuousDensity":
        marginals = Marginals.fit(values, w, circular, curved=False, grids=False)
        y, _ = marginals.map(torch.from_numpy(values))
        mixture = MixtureMember.fit(y.numpy(), w, 1, circular)
        broad = BroadMember.fit(values, w, circular)
        members: list[Member] = [mixture, broad]
        notes = [{"name": name, "held_out": None} for name in ("gaussian", "broad")]
        self = cls(members, [Standardiser(marginals), None], notes)
        self.log_shares.copy_(
            torch.tensor([_FEW_ROWS_SHARES[m.kind] for m in members]).double().log()
        )
        return self.eval()

    @classmethod
    def _of_kinds(
        cls,
        found: "dict[str, list[_Fitted]]",
        scores: np.ndarray,
        rows: np.ndarray,
        w: np.ndarray,
    ) -> "ContinuousDensity":
        """Weigh kinds by their held-out scores ``(rows, kinds)``, and join their members."""
        names = list(found)
        kinds = [found[name][0].member.kind for name in names]
        share = _weigh(scores, w[rows])
        broad = kinds.index("broad")
        share[broad] = max(share[broad], _LEAST_BROAD)
        share /= share.sum()
        means = np.average(scores, axis=0, weights=w[rows])
        flows = [i for i, kind in enumerate(kinds) if kind in _FLOWS]
        alone = np.zeros(len(names))
        alone[flows] = _weigh(scores[:, flows], w[rows])
        members: list[Member] = []
        standardisers: list[Standardiser | None] = []
        notes: list[dict[str, Any]] = []
        log_shares = []
        for i, name in enumerate(names):
            if share[i] == 0 and alone[i] == 0:
                continue
            for fitted in found[name]:
                members.append(fitted.member)
                standardisers.append(fitted.standardiser)
                notes.append(
                    {
                        "name": name,
                        "held_out": float(means[i]),
                        "alone": float(alone[i] / len(found[name])),
                        "curve": fitted.curve,
                    }
                )
                log_shares.append(np.log(max(share[i] / len(found[name]), 1e-300)))
        self = cls(members, standardisers, notes)
        self.log_shares.copy_(torch.tensor(log_shares, dtype=torch.float64))
        return self.double().eval()

    def log_prob(self, values: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
        """Return the log-density of the present entries of rows ``(n, d)``, ``(n,)`` float64."""
        log_shares = self.log_shares.numpy()
        here = log_shares > _NO_SHARE
        pairs = [pair for pair, shared in zip(self._pairs(), here, strict=True) if shared]
        shares = np.exp(log_shares[here])
        parts = [np.zeros(0)]
        for start in range(0, len(values), _CHUNK):
            rows = slice(start, start + _CHUNK)
            given = None if context is None else context[rows]
            scores = [score(*pair, values[rows], given) for pair in pairs]
            parts.append(mixture_score(np.stack(scores, axis=1), shares))
        return np.concatenate(parts)

    def sample(
        self, present: np.ndarray, context: np.ndarray | None, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw rows ``(n, d)``, NaN where not ``present``."""
        n, shares = len(present), self.log_shares.exp().numpy()
        chosen = rng.choice(len(shares), n, p=shares / shares.sum())
        values = np.full(present.shape, np.nan)
        with torch.no_grad():
            for i, (member, standardiser) in enumerate(self._pairs()):
                rows = np.flatnonzero(chosen == i)
                for start in range(0, len(rows), _CHUNK):
                    part = rows[start : start + _CHUNK]
                    given = None if context is None else torch.from_numpy(context[part])
                    y = member.sample(torch.from_numpy(present[part]), given, rng).double()
                    if standardiser is not None:
                        y = standardiser.inverse(y, given)
                    values[part] = y.numpy()
        return values

    def flows_only(self) -> "ContinuousDensity":
        """Return the density of the flows alone, weighed against each other by held-out rows.

        Raises:
            ArgumentError: there is no flow among the members.
        """
        alone = np.array([note.get("alone", 0.0) for note in self._notes])
        if not alone.any():
            raise ArgumentError("density", "one with flows among its members", "none")
        chosen = np.flatnonzero(alone)
        pairs = self._pairs()
        members, maps = zip(*(pairs[i] for i in chosen), strict=True)
        flows = ContinuousDensity(list(members), list(maps), [self._notes[i] for i in chosen])
        flows.log_shares.copy_(torch.from_numpy(np.log(alone[chosen] / alone.sum())))
        return flows.eval()

    @property
    def members(self) -> list[dict[str, Any]]:
        """Name, kind, weight and held-out score of each member."""
        shares = self.log_shares.exp().tolist()
        return [
            {"name": note["name"], "kind": member.kind, "weight": s, "held_out": note["held_out"]}
            for note, (member, _), s in zip(self._notes, self._pairs(), shares, strict=True)
        ]

    @property
    def flow(self) -> Flow | None:
        """The flow of most weight, over the columns that its standardiser makes; None without."""
        found = self._best_flow()
        return None if found is None else found[0].flow

    def latent(self, values: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        """Return what the flow of most weight makes of rows ``(n, d)``, NaN where absent.

        Raises:
            ArgumentError: there is none.
        """
        found = self._best_flow()
        flow = None if found is None else found[0].flow
        if found is None or flow is None:
            raise ArgumentError("density", "one with a flow inside, and no circular column", "none")
        member, standardiser = found
        parts = [np.zeros((0, values.shape[1]))]
        for start in range(0, len(values), _CHUNK):
            rows = slice(start, start + _CHUNK)
            given = None if context is None else torch.from_numpy(context[rows]).double()
            with torch.no_grad():
                y, _ = standardiser(torch.from_numpy(values[rows]), given)
                present = ~y.isnan()
                z, _ = flow.transform(y.nan_to_num(0.0), member.given(present, given, y.dtype))
            parts.append(z.masked_fill(~present, torch.nan).numpy())
        return np.concatenate(parts)

    def _best_flow(self) -> tuple[FlowMember | DeepMember, Standardiser] | None:
        weighed = [
            (float(share), i, pair)
            for i, (pair, share) in enumerate(zip(self._pairs(), self.log_shares, strict=True))
            if isinstance(pair[0], FlowMember | DeepMember)
        ]
        return max(weighed)[2] if weighed else None  # type: ignore[return-value]

    @property
    def curves(self) -> list[list[float]]:
        """Held-out scores of the flows in training, in nats of their standardised columns."""
        return [note["curve"] for note in self._notes if note.get("curve")]

    def config(self) -> dict[str, Any]:
        """Return what makes it again, but for the tensors; ready for JSON."""
        return {
            "members": [
                {
                    "kind": member.kind,
                    "options": member.config(),
                    "standardiser": None if standardiser is None else standardiser.config(),
                    "note": note,
                }
                for (member, standardiser), note in zip(self._pairs(), self._notes, strict=True)
            ]
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "ContinuousDensity":
        """Make it again, with nothing fitted yet.

        Raises:
            ArgumentError: the configuration describes none.
        """
        check_keys("continuous", config, ("members",))
        members: list[Member] = []
        standardisers: list[Standardiser | None] = []
        notes: list[dict[str, Any]] = []
        try:
            with torch.random.fork_rng(devices=[]):
                for entry in config["members"]:
                    check_keys("member", entry, ("kind", "options", "standardiser", "note"))
                    members.append(_KINDS[entry["kind"]](**entry["options"]))
                    options = entry["standardiser"]
                    standardisers.append(
                        None if options is None else Standardiser.from_config(options)
                    )
                    notes.append(entry["note"])
        except (KeyError, TypeError) as error:
            raise ArgumentError("continuous", "a density's configuration", str(error)) from error
        return cls(members, standardisers, notes).double().eval()

    def _pairs(self) -> list[tuple[Any, Standardiser | None]]:
        own, mapped = self._own_units, iter(self._standardisers)
        return [
            (member, None if alone else next(mapped))  # type: ignore[misc]
            for member, alone in zip(self._members, own, strict=True)
        ]


def _weigh(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return weights of kinds by held-out scores ``(n, kinds)``, zero for those that add nothing.

    The kind whose loss costs least is dropped, again and again, for as long as it costs nothing
    to speak of: fewer members are quicker, and have less to overfit.
    """
    kept = list(range(scores.shape[1]))

    def attempt(chosen: list[int]) -> tuple[float, np.ndarray]:
        share = stack(scores[:, chosen], weights)
        score = mixture_score(scores[:, chosen], share)
        return float(np.average(score, weights=weights)), share

    best, share = attempt(kept)
    while len(kept) > 1:
        lightest = int(np.argmin(share))
        fewer = kept[:lightest] + kept[lightest + 1 :]
        value, fewer_share = attempt(fewer)
        if value < best - _LEAST_GAIN:
            break
        kept, share, best = fewer, fewer_share, max(best, value)
    result = np.zeros(scores.shape[1])
    result[kept] = share
    return result


def score(
    member: Any, standardiser: Standardiser | None, values: np.ndarray, context: np.ndarray | None
) -> np.ndarray:
    """Return a member's log-density of rows in the table's own units, ``(n,)``."""
    with torch.no_grad():
        y, log_slope = torch.from_numpy(values), torch.zeros(())
        given = None if context is None else torch.from_numpy(context).double()
        if standardiser is not None:
            y, log_slope = standardiser(y, given)
        result: np.ndarray = (member.log_prob(y, given) + log_slope).double().numpy()
    # What one member cannot tell, the others may.
    return np.where(np.isnan(result), -1e300, result)


@dataclass
class _Fitted:
    """A member, the map before it, and how it learned."""

    member: Any
    standardiser: Standardiser | None
    curve: list[float] | None = None


class _Fitting:
    """Fits members of each kind, fold by fold."""

    def __init__(
        self,
        values: np.ndarray,
        context: np.ndarray | None,
        weights: np.ndarray,
        circular: np.ndarray,
        effort: _Effort,
        seed: int,
        store_rows: bool,
        max_seconds: float | None,
        progress: Progress | None,
        stop: Stop | None,
    ) -> None:
        self.values, self.context, self.w = values, context, weights
        self.circular, self.effort, self.seed = circular, effort, seed
        self.store_rows = store_rows
        self.max_seconds = max_seconds
        self.tell = progress or (lambda *_: None)
        self.stop = stop
        n = len(values)
        self.fold = np.random.default_rng(seed).permutation(n) % _FOLDS
        # Fewer rows, more need to use each.
        self.folds = max(effort.folds + (n < _FEW) - (n > _MANY), 2)
        self.steps = int(effort.steps * np.clip(n / 1000, 0.5, 20) ** 0.7)
        self.batch = 256 if n <= _VERY_MANY else 512
        # Noise keeps few rows from being learned by heart, and many from being learned sharply.
        self.noise = 0.05 if n <= 5_000 else 0.02 if n <= _MANY else 0.0

    def run(self) -> tuple[dict[str, list[_Fitted]], np.ndarray, np.ndarray]:
        """Return the members by name of kind, their held-out scores, and the rows of these."""
        found: dict[str, list[_Fitted]] = {}
        scores: dict[str, list[np.ndarray]] = {}
        rows = []
        for f in range(self.folds):
            held_out = self.fold == f
            members = self._members(f, held_out)
            if f > 0 and self._ended():
                break  # kinds are weighed by folds that have all of them
            rows.append(np.flatnonzero(held_out))
            for name, fitted in members.items():
                found.setdefault(name, []).append(fitted)
                given = None if self.context is None else self.context[held_out]
                part = score(
                    fitted.member.double(), fitted.standardiser, self.values[held_out], given
                )
                scores.setdefault(name, []).append(part)
        joined = np.stack([np.concatenate(part) for part in scores.values()], axis=1)
        return found, joined, np.concatenate(rows)

    def _ended(self) -> bool:
        return self.stop is not None and self.stop()

    def _members(self, f: int, held_out: np.ndarray) -> dict[str, _Fitted]:
        train, w = self.values[~held_out], self.w[~held_out]
        given = None if self.context is None else self.context[~held_out]
        bent, straight = (
            self._standardised(Marginals.fit(train, w, self.circular, curved=curved), held_out)
            for curved in (True, False)
        )
        found = {"broad": _Fitted(BroadMember.fit(train, w, self.circular), None)}
        subset = np.random.default_rng(self.seed + f).permutation(len(train))[:_EM_ROWS]
        for prefix, standardiser in (("", bent), ("straight ", straight)):
            y = standardiser.images(train, given)
            for k in _COMPONENTS:
                if k > 1 and 4 * k * max(1, train.shape[1] / 8) > len(train):
                    continue
                wanted = (8, 32) if len(self.values) > _MANY else _COMPONENTS
                if k not in (wanted[::2] if prefix else wanted) or self._ended():
                    continue
                self.tell("mixture", f, self.folds, f"{k} components")
                mixture = MixtureMember.fit(
                    y[subset], w[subset], k, self.circular, seed=self.seed + f, steps=60
                )
                found[f"{prefix}mixture of {k}"] = _Fitted(mixture, standardiser)
        if self.store_rows:
            kernel = KernelMember.fit(
                straight.images(train, given), w, self.circular, seed=self.seed
            )
            found["kernel"] = _Fitted(kernel, straight)
        d, holes = self.values.shape[1], bool(np.isnan(self.values).any())
        width = 0 if given is None else given.shape[1]
        order = np.random.default_rng((self.seed, f)).permutation(d).tolist()
        hidden, k = self.effort.hidden, self.effort.components
        can_be_deep = d > 1 and not holes and not self.circular.any()
        plain, columns = Standardiser(bent.marginals), self.circular.tolist()
        if (len(self.values) <= _MANY or not can_be_deep) and (f == 0 or not self._ended()):
            flow = FlowMember(d, order, hidden, k, width, holes, columns, residual=True)
            found["flow"] = self._learned(flow, f, held_out, plain)
        if len(self.values) < _FEW and (d > 1 or width) and (f == 0 or not self._ended()):
            flow = FlowMember(d, order, hidden, k, width, holes, columns, residual=True)
            lines = self._standardised(bent.marginals, held_out, order)
            found["flow of residuals"] = self._learned(flow, f, held_out, lines)
        if len(self.values) >= _FEW and can_be_deep and (f == 0 or not self._ended()):
            deep = DeepMember(d, order, self.effort.layers, hidden, k, width, residual=True)
            found["deep flow"] = self._learned(deep, f, held_out, plain)
        return found

    def _standardised(
        self, marginals: Marginals, held_out: np.ndarray, order: Sequence[int] = ()
    ) -> Standardiser:
        """Return a map that takes off the context, and with an order the columns before too."""
        if self.context is None and not order:
            return Standardiser(marginals)
        train, w = self.values[~held_out], self.w[~held_out]
        with torch.no_grad():
            y = marginals.map(torch.from_numpy(train))[0].numpy()
        given = None if self.context is None else self.context[~held_out]
        return Standardiser(marginals, Residuals.fit(y, given, w, self.circular, order))

    def _learned(
        self,
        member: FlowMember | DeepMember,
        f: int,
        held_out: np.ndarray,
        standardiser: Standardiser,
    ) -> _Fitted:
        curve = learn(
            member,
            standardiser.images(self.values, self.context),
            self.context,
            self.w,
            held_out,
            steps=self.steps,
            seed=self.seed + f,
            noise=self.noise,
            learning_rate=2e-3,
            batch_size=self.batch,
            max_seconds=None if self.max_seconds is None else self.max_seconds / self.folds,
            stop=self.stop,
            progress=lambda step, steps, loss: self.tell(
                member.kind, f, self.folds, f"step {step} of {steps}, loss {loss:.3f}"
            ),
        )
        return _Fitted(member, standardiser, curve)
