"""Standardisation of the flows of a fit, by the rows that they are trained on."""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from flowkit._container import read_file
from flowkit.distributions.placement import has_context, has_data, place_blank, unplace
from flowkit.distributions.standardization import flows_of, standardize
from flowkit.training.data import Data
from flowkit.training.options import Options
from flowkit.training.processes import Processes
from flowkit.training.rows import Batch
from flowkit.training.scales import warn_of_rows_outside


class Standardising:
    """Standardises the flows among models of one architecture, and can take it back.

    Flows that are trained by their likelihood are standardised; no other model is, and no flow
    with named steps of its own.

    Args:
        models: one, or the members of an ensemble, on the device of ``processes`` or not.
        data: the rows.
        options: of the fit.
        processes: that share the work; the first one's weights decide.
        objective: what the fit was given.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        data: Data,
        options: Options,
        processes: Processes,
        objective: Any,
    ) -> None:
        self._models, self._flows = models, [[*flows_of(model)] for model in models]
        self._before = [_placed(flow) for flows in self._flows for flow in flows]
        self.applies = bool(self._flows[0]) and not (
            isinstance(objective, Mapping) or hasattr(models[0], "training_steps")
        )
        self._data, self._options, self._processes = data, options, processes

    def apply(self) -> None:
        """Standardise the flows, where that applies.

        Raises:
            DataError: an entry of the rows to train on is NaN or infinite.
        """
        models, options = self._models, self._options
        if (
            not self.applies
            or not options.standardize
            or not _same_dtype(models[0], self._data, options)
        ):
            return
        names = _saved_names(options)
        if names is not None and {name for name, _ in models[0].named_parameters()} <= names:
            return  # as the checkpoint has it
        for i, model in enumerate(models):
            x, context, weights = self._data.rows_of(i)
            place = functools.partial(standardize, model, x, context, weights=weights)
            placed = place(force=names is not None)
            wanted = self._processes.any(placed and self._processes.rank == 0)
            if wanted and not placed:
                place(force=True)
            elif placed and not wanted:
                self._undo(i)
        self._make_alike()

    def warn(self) -> None:
        """Warn of rows of the first model that are outside of the boxes of its splines."""
        if self.applies:
            warn_of_rows_outside(self._models[0], Batch(*self._data.rows_of(0)))

    def undo(self) -> None:
        """Leave the flows as they were."""
        for i in range(len(self._models)):
            self._undo(i)

    def keeps_wide(self, device: torch.device) -> tuple[bool, bool]:
        """Return whether rows, and contexts, in float64 stay so until they are standardised."""
        able = self.applies and device.type != "mps"  # which has no float64
        flows = self._flows[0]
        return able and all(map(has_data, flows)), able and all(map(has_context, flows))

    def _undo(self, model: int) -> None:
        width = len(self._flows[model])
        before = self._before[model * width : (model + 1) * width]
        for flow, (data, context) in zip(self._flows[model], before, strict=True):
            unplace(flow, data=not data, context=not context)

    def _make_alike(self) -> None:
        """Give every model the maps that any has: the identity, where it needs none."""
        for flows in zip(*self._flows, strict=True):
            data, context = any(map(has_data, flows)), any(map(has_context, flows))
            for flow in flows:
                width = 0
                if context and not has_context(flow):
                    width = next(len(f.embedding.standardize.mean) for f in flows if has_context(f))
                place_blank(flow, data=data and not has_data(flow), context=width)


def _placed(flow: nn.Module) -> tuple[bool, bool]:
    return has_data(flow), has_context(flow)


def _same_dtype(model: nn.Module, data: Data, options: Options) -> bool:
    """Whether rows have the dtype of the weights, or will have."""
    weights = next(model.parameters(), None)
    rows: Tensor = data.given["data"]
    converted = options.precision in ("32", "64")
    return converted or weights is None or weights.dtype == rows.dtype


def _saved_names(options: Options) -> set[str] | None:
    """Return the names of the weights in the checkpoint, None if there is none to go on from."""
    if options.checkpoint is None or not options.resume or not os.path.exists(options.checkpoint):
        return None
    tensors, _ = read_file(options.checkpoint)
    weights = (name for name in tensors if name.startswith("weights/"))
    return {name.removeprefix("weights/").replace("/", ".") for name in weights}
