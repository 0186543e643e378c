"""Snapshot of a fit in progress, as tensors and counters."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from flowkit.training.average import Average
from flowkit.training.best import Best
from flowkit.training.update import Update


class Snapshot:
    """Everything that later steps depend on, beside the number of the last step.

    Args:
        weights: returns the weights by name, which `restore` writes into.
        updates: the updates, with their optimisers and recorders.
        best: the best weights.
        average: the averaged weights, or None.
    """

    def __init__(
        self,
        weights: Callable[[], Mapping[str, Tensor]],
        updates: list[Update],
        best: Best,
        average: Average | None,
    ) -> None:
        self._weights, self._updates = weights, updates
        self._best, self._average = best, average

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors, under names like ``weights/base.loc``."""
        best_scores = torch.tensor(self._best.scores, dtype=torch.float64)  # JSON has no infinity
        tensors = {**_grouped("weights", self._weights()), "best_scores": best_scores}
        tensors |= _grouped("best", self._best.tensors)
        if self._average is not None:
            average = {str(i): tensor for i, tensor in enumerate(self._average.tensors)}
            tensors |= _grouped("average", average)
        for number, update in enumerate(self._updates):
            for i, state in update.optimizer.state_dict()["state"].items():
                values = {key: torch.as_tensor(value) for key, value in state.items()}
                tensors |= _grouped(f"optimizer/{number}/{i}", values)
        return tensors

    def counters(self) -> dict[str, Any]:
        """Return the counters, as JSON."""
        pieces = [update.pieces.count for update in self._updates]
        return {"best_steps": self._best.steps, "stale": self._best.stale, "pieces": pieces}

    @torch.no_grad()
    def restore(
        self, tensors: Mapping[str, Tensor], counters: Mapping[str, Any], device: torch.device
    ) -> None:
        """Restore everything."""
        weights = self._weights()
        for name, tensor in group(tensors, "weights").items():
            weights[name].copy_(tensor)
        self._best.tensors = {k: t.to(device) for k, t in group(tensors, "best").items()}
        self._best.scores = tensors["best_scores"].tolist()
        self._best.steps, self._best.stale = counters["best_steps"], counters["stale"]
        if self._average is not None:
            average = group(tensors, "average")
            for i, tensor in enumerate(self._average.tensors):
                tensor.copy_(average[str(i)])
        for number, update in enumerate(self._updates):
            state: dict[int, dict[str, Tensor]] = {}
            for name, tensor in group(tensors, f"optimizer/{number}").items():
                parameter, key = name.split("/", 1)
                state.setdefault(int(parameter), {})[key] = tensor
            update.optimizer.load_state_dict({**update.optimizer.state_dict(), "state": state})
            update.recorder.resume()
            update.pieces.count = counters["pieces"][number]


def group(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with ``name/``, without it."""
    prefix = f"{name}/"
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def _grouped(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}/{k}": t for k, t in tensors.items()}
