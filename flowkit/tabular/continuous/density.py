"""Density of continuous columns: a mixture of fitted members."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowkit._checks import check_keys
from flowkit.distributions import Flow
from flowkit.errors import ArgumentError
from flowkit.tabular.continuous.fitted_member import FittedMember
from flowkit.tabular.continuous.members import FlowBasedMember
from flowkit.tabular.continuous.preprocessing import Standardiser
from flowkit.tabular.continuous.scoring import Scorer
from flowkit.tabular.stacking import mixture_score

_CHUNK = 16_384
# A member of a log-share below this is kept for `flows_only`, and has no part in the mixture.
_NO_SHARE = -600.0


class ContinuousDensity(nn.Module):
    """A mixture of members over rows of continuous columns.

    Args:
        fitted: the members.
        log_shares: logarithms of their weights, ``(m,)``.
    """

    log_shares: Tensor

    def __init__(self, fitted: Sequence[FittedMember], log_shares: Sequence[float] = ()) -> None:
        super().__init__()
        self.fitted = tuple(fitted)
        # Registered for `state_dict`; these names stand in model files.
        self._members = nn.ModuleList([f.member for f in self.fitted])
        self._standardisers = nn.ModuleList(
            [f.standardiser for f in self.fitted if f.standardiser is not None]
        )
        shares = torch.zeros(len(self.fitted), dtype=torch.float64)
        if len(log_shares):
            shares = torch.tensor(log_shares, dtype=torch.float64)
        self.register_buffer("log_shares", shares)
        self._device = torch.device("cpu")
        # Made at the first score and the first draw, from the final weights.
        self._scorer: Scorer | None = None
        self._samplers: list[FittedMember] = []

    def compute_on(self, device: torch.device) -> None:
        """Evaluate and sample the flows on a device from now on."""
        if device != self._device:
            self._device, self._scorer, self._samplers = device, None, []

    def log_prob(self, values: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
        """Return the log-density of the present entries of rows ``(n, d)``, ``(n,)`` float64."""
        log_shares = self.log_shares.numpy()
        used = log_shares > _NO_SHARE
        if self._scorer is None:
            members = [member for member, use in zip(self.fitted, used, strict=True) if use]
            self._scorer = Scorer(members, self._device)
        return mixture_score(self._scorer(values, context), np.exp(log_shares[used]))

    def sample(
        self, present: np.ndarray, context: np.ndarray | None, generator: torch.Generator
    ) -> np.ndarray:
        """Draw rows ``(n, d)``, NaN where not ``present``; flows draw in float32."""
        values = np.full(present.shape, np.nan)
        if not len(present):
            return values
        shares = self.log_shares.exp()
        chosen = torch.multinomial(shares, len(present), replacement=True, generator=generator)
        self._samplers = self._samplers or [f.for_sampling(self._device) for f in self.fitted]
        for i, member in enumerate(self._samplers):
            rows = (chosen == i).nonzero().squeeze(-1).numpy()
            for start in range(0, len(rows), _CHUNK):
                part = rows[start : start + _CHUNK]
                c = None if context is None else context[part]
                values[part] = member.sample(present[part], c, generator)
        return values

    def flows_only(self) -> "ContinuousDensity":
        """Return the density of the flows alone, weighted by held-out rows.

        Raises:
            ArgumentError: there is no flow among the members.
        """
        flows = [f for f in self.fitted if f.alone]
        if not flows:
            raise ArgumentError("density", "one with flows among its members", "none")
        alone = np.array([f.alone for f in flows])
        return ContinuousDensity(flows, np.log(alone / alone.sum()).tolist()).eval()

    @property
    def members(self) -> list[dict[str, Any]]:
        """Name, kind, weight and held-out score of each member."""
        shares = self.log_shares.exp().tolist()
        return [
            {"name": f.name, "kind": f.member.kind, "weight": share, "held_out": f.held_out}
            for f, share in zip(self.fitted, shares, strict=True)
        ]

    @property
    def flow(self) -> Flow | None:
        """The flow of largest weight, over standardised columns; None without one."""
        best = self._best_flow()
        return None if best is None else best[0].flow

    def latent(self, values: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        """Return the latents of rows ``(n, d)`` under the flow of largest weight, NaN where absent.

        Raises:
            ArgumentError: there is none.
        """
        best = self._best_flow()
        flow = None if best is None else best[0].flow
        if best is None or flow is None:
            raise ArgumentError("density", "one with a flow inside, and no circular column", "none")
        member, standardiser = best
        parts = [np.zeros((0, values.shape[1]))]
        for start in range(0, len(values), _CHUNK):
            rows = slice(start, start + _CHUNK)
            c = None if context is None else torch.from_numpy(context[rows]).double()
            with torch.no_grad():
                y, _ = standardiser(torch.from_numpy(values[rows]), c)
                present = ~y.isnan()
                context_of_flow = member.network_context(present, c, y.dtype)
                z, _ = flow.transform(y.nan_to_num(0.0), context_of_flow)
            parts.append(z.masked_fill(~present, torch.nan).numpy())
        return np.concatenate(parts)

    def _best_flow(self) -> tuple[FlowBasedMember, Standardiser] | None:
        best, largest = None, -np.inf
        for f, share in zip(self.fitted, self.log_shares.tolist(), strict=True):
            is_flow = isinstance(f.member, FlowBasedMember) and f.standardiser is not None
            if is_flow and share >= largest:
                best, largest = (f.member, f.standardiser), share
        return best  # type: ignore[return-value]

    @property
    def curves(self) -> list[list[float]]:
        """Held-out scores of the flows in training, in nats of their standardised columns."""
        return [f.curve for f in self.fitted if f.curve]

    def config(self) -> dict[str, Any]:
        """Return everything but the tensors, ready for JSON."""
        return {"members": [f.config() for f in self.fitted]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "ContinuousDensity":
        """Return a density made from what `config` returned; its tensors are yet to be loaded.

        Raises:
            ArgumentError: the configuration describes none.
        """
        check_keys("continuous", config, ("members",))
        try:
            with torch.random.fork_rng(devices=[]):
                fitted = [FittedMember.from_config(entry) for entry in config["members"]]
        except (KeyError, TypeError) as error:
            raise ArgumentError("continuous", "a density's configuration", str(error)) from error
        return cls(fitted).double().eval()


def by_name(members: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one entry for the members of each name, their weights added, the heaviest first.

    Args:
        members: from `ContinuousDensity.members`: one member of each name for each fold.

    Example:
        >>> folds = [("flow", 0.25), ("broad", 0.5), ("flow", 0.5)]
        >>> by_name([{"name": name, "weight": weight} for name, weight in folds])
        [{'name': 'flow', 'weight': 0.75}, {'name': 'broad', 'weight': 0.5}]
    """
    merged: dict[str, dict[str, Any]] = {}
    for member in members:
        weight = merged.get(member["name"], {"weight": 0.0})["weight"]
        merged[member["name"]] = {**member, "weight": weight + member["weight"]}
    return sorted(merged.values(), key=lambda member: -member["weight"])
