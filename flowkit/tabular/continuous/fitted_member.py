"""Fitted member: a member with its standardiser, name and scores."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowkit._checks import check_keys
from flowkit.tabular.continuous.members import (
    DeepMember,
    FlowBasedMember,
    FlowMember,
    KernelMember,
    Member,
    MixtureMember,
    StudentMember,
)
from flowkit.tabular.continuous.preprocessing import Standardiser

_CLASSES: dict[str, type[Member]] = {
    member.kind: member
    for member in (FlowMember, DeepMember, MixtureMember, StudentMember, KernelMember)
}


@dataclass(frozen=True, eq=False)
class FittedMember:
    """A member, the map that its rows go through first, and what the fit measured.

    Args:
        member: the density.
        standardiser: the map before it; None for a member in the table's own units.
        name: such as "mixture of 8"; the members of all folds share it.
        held_out: mean held-out log-density of all members of that name, in nats.
        alone: weight in `ContinuousDensity.flows_only`.
        curve: held-out scores in the course of training, in nats of the standardised columns.
    """

    member: Member
    standardiser: Standardiser | None
    name: str
    held_out: float | None = None
    alone: float = 0.0
    curve: list[float] | None = None

    def log_prob(self, values: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        """Return the log-density of rows ``(n, d)`` in the table's own units, ``(n,)``."""
        with torch.no_grad():
            y, log_derivative = torch.from_numpy(values), torch.zeros(())
            c = None if context is None else torch.from_numpy(context).double()
            if self.standardiser is not None:
                y, log_derivative = self.standardiser(y, c)
            scores: np.ndarray = (self.member.log_prob(y, c) + log_derivative).double().numpy()
        # Where one member has no density, the others may have one.
        return np.where(np.isnan(scores), -1e300, scores)

    def sample(
        self, present: np.ndarray, context: np.ndarray | None, generator: torch.Generator
    ) -> np.ndarray:
        """Draw rows ``(n, d)`` in the table's own units, NaN where not ``present``."""
        with torch.no_grad():
            c = None if context is None else torch.from_numpy(context)
            device = next(self.member.parameters(), torch.zeros(())).device
            own = None if c is None else c.to(device)
            drawn: Tensor = self.member.sample(
                torch.from_numpy(present).to(device), own, _on(device, generator)
            )
            y = drawn.cpu().double()
            if self.standardiser is not None:
                y = self.standardiser.inverse(y, c)
        rows: np.ndarray = y.numpy()
        return rows

    def for_sampling(self, device: torch.device) -> "FittedMember":
        """Return a copy whose flow, if the member is one, is in float32 on a device."""
        if not isinstance(self.member, FlowBasedMember):
            return self
        return replace(self, member=copy.deepcopy(self.member).float().to(device))

    def config(self) -> dict[str, Any]:
        """Return everything but the tensors, ready for JSON."""
        return {
            "kind": self.member.kind,
            "options": self.member.config(),
            "standardiser": None if self.standardiser is None else self.standardiser.config(),
            "note": {
                "name": self.name,
                "held_out": self.held_out,
                "alone": self.alone,
                "curve": self.curve,
            },
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "FittedMember":
        """Return a member made from what `config` returned; its tensors are yet to be loaded."""
        check_keys("member", config, ("kind", "options", "standardiser", "note"))
        options, note = config["standardiser"], config["note"]
        return cls(
            _CLASSES[config["kind"]](**config["options"]),
            None if options is None else Standardiser.from_config(options),
            note["name"],
            note["held_out"],
            note.get("alone", 0.0),
            note.get("curve"),
        )


def _on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """Return a generator of a device, seeded by the one that is passed; itself if it is there."""
    if generator.device == device:
        return generator
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return torch.Generator(device).manual_seed(seed)
