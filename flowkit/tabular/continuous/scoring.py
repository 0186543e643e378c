"""Scores of rows under many members at once."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from flowkit._threads import side_by_side
from flowkit.tabular.continuous.fitted_member import FittedMember
from flowkit.tabular.continuous.members import FlowBasedMember, Member, StackedMembers
from flowkit.tabular.continuous.members.evaluation import StackedEvaluation
from flowkit.tabular.continuous.preprocessing import Standardiser

_CHUNK, _LEAST_CHUNK = 16_384, 2_048
# Rows that a network sees at once. Always as many: another number of rows could change the last
# bits of the products, and a row has one score, whatever rows it comes with.
_TILE = 512
# Scores below this, in nats, are computed again in float64, as float32 has seven digits.
_FAR = -200.0


class Scorer:
    """The log-densities of rows under each of some members.

    Rows are mapped once for all members behind the same map. Flows of one architecture are
    evaluated as one network, in float32; everything else is computed in float64.

    Args:
        fitted: the members.
        device: where the flows are evaluated; everything else is computed on the CPU.
    """

    def __init__(self, fitted: Sequence[FittedMember], device: torch.device | str = "cpu") -> None:
        self._members = [f.member for f in fitted]
        self._maps: list[Standardiser | None] = []
        self._map_of = [self._map_number(f.standardiser) for f in fitted]
        self._stacks = [_Stack(*group, device) for group in _alike(self._members)]
        stacked = {i for stack in self._stacks for i in stack.columns}
        self._others = [i for i in range(len(fitted)) if i not in stacked]

    def __call__(self, values: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        """Return the log-densities of rows ``(n, d)`` in the table's own units, ``(n, m)``."""
        size = min(_CHUNK, max(-(-len(values) // torch.get_num_threads()), _LEAST_CHUNK))

        def task(start: int) -> Callable[[], np.ndarray]:
            rows = slice(start, start + size)
            c = None if context is None else context[rows]
            return lambda: self._scores(values[rows], c)

        parts = side_by_side([task(start) for start in range(0, len(values), size)])
        return np.concatenate([np.zeros((0, len(self._members))), *parts])

    @torch.no_grad()
    def _scores(self, values: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        n = len(values)
        x, c = _rows_last(values), None if context is None else _rows_last(context)
        mapped = [(x, x.new_zeros(len(x))) if s is None else s(x, c) for s in self._maps]
        scores = torch.empty(n, len(self._members), dtype=torch.float64)
        own = None if c is None else c[:n]
        for i in self._others:
            scores[:, i] = self._members[i].log_prob(mapped[self._map_of[i]][0][:n], own)
        for stack in self._stacks:
            places = [self._map_of[i] for i in stack.columns]
            scores[:, stack.columns] = stack([mapped[place][0] for place in places], c, n)
        for i, number in enumerate(self._map_of):
            scores[:, i] += mapped[number][1][:n]
        # Where one member has no density, the others may have one.
        result: np.ndarray = torch.where(scores.isnan(), -1e300, scores).numpy()
        return result

    def _map_number(self, standardiser: Standardiser | None) -> int:
        """Return the number of the map among those that differ."""
        for number, known in enumerate(self._maps):
            if known is standardiser or _equal(known, standardiser):
                return number
        self._maps.append(standardiser)
        return len(self._maps) - 1


class _Stack:
    """Flows of one architecture as one network, evaluated tile by tile."""

    def __init__(
        self, columns: list[int], members: list[FlowBasedMember], device: torch.device | str
    ) -> None:
        self.columns, self._members, self._device = columns, members, device
        stacked = StackedMembers(members)
        self._network = (
            stacked.float().to(device).eval()
            if any(members[0].circular)
            else StackedEvaluation(stacked.double(), device)
        )

    def __call__(self, y: list[Tensor], context: Tensor | None, n: int) -> Tensor:
        """Return the log-densities of the first n rows of whole tiles, ``(n, E)``.

        ``y`` has one tensor of standardised rows for each flow.
        """
        x = torch.stack([rows.T for rows in y]).float().to(self._device)
        present = ~x.isnan()
        x = x.nan_to_num(0.0)
        c = None if context is None else context.T.float().to(self._device)
        tiles = []
        for start in range(0, x.shape[2], _TILE):
            tile = slice(start, start + _TILE)
            own = None if c is None else c[:, tile].expand(len(y), -1, -1)
            tiles.append(self._network(x[..., tile], present[..., tile], own))
        scores = torch.cat(tiles, 1)[:, :n].cpu().double()
        for i, rows in enumerate(y):
            far = ~((scores[i] > _FAR) & scores[i].isfinite())
            if far.any():
                own = None if context is None else context[:n][far]
                scores[i, far] = self._members[i].log_prob(rows[:n][far], own)
        return scores.T


def _rows_last(array: np.ndarray) -> Tensor:
    """Return rows ``(n, d)`` and zeros that fill the last tile, each column contiguous."""
    padded = torch.zeros(array.shape[1], -(-len(array) // _TILE) * _TILE, dtype=torch.float64)
    padded[:, : len(array)] = torch.from_numpy(array).T
    return padded.T


def _alike(members: Sequence[Member]) -> list[tuple[list[int], list[FlowBasedMember]]]:
    """Return the flows by architecture, with their places; options differ in the order alone.

    Flows without residual blocks, of early model files, are left out.
    """
    groups: dict[str, tuple[list[int], list[FlowBasedMember]]] = {}
    for i, member in enumerate(members):
        options = {name: value for name, value in member.config().items() if name != "order"}
        if isinstance(member, FlowBasedMember) and options["residual"]:
            places, flows = groups.setdefault(f"{member.kind} {options}", ([], []))
            places.append(i)
            flows.append(member)
    return list(groups.values())


def _equal(a: Standardiser | None, b: Standardiser | None) -> bool:
    if a is None or b is None:
        return a is b
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )
