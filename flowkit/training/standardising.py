"""Standardisation of the flows of a fit, by the training rows."""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from flowkit._container import read_file
from flowkit.distributions.placement import has_context, has_data, place_blank, unplace
from flowkit.distributions.standardization import flows_of, standardize
from flowkit.training.data import Data, KeepsFloat64
from flowkit.training.options import Options
from flowkit.training.runtime import Runtime
from flowkit.training.scales import warn_of_rows_outside


class Standardising:
    """Standardises the flows among models of one architecture, and can undo it.

    Only flows that are trained by their likelihood are standardised, not those with named steps.

    Args:
        models: one, or the members of an ensemble, on any device.
        data: the rows.
        options: the options of the fit.
        runtime: dtype, device and processes of the fit; the weights of the first process decide.
        objective: the argument of the fit.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        data: Data,
        options: Options,
        runtime: Runtime,
        objective: Any,
    ) -> None:
        self._models, self._flows = models, [[*flows_of(model)] for model in models]
        self._before = [_placed(flow) for flows in self._flows for flow in flows]
        self.applies = bool(self._flows[0]) and not (
            isinstance(objective, Mapping) or hasattr(models[0], "training_steps")
        )
        self._data, self._options, self._runtime = data, options, runtime

    def apply(self) -> None:
        """Standardise the flows, where that applies.

        Raises:
            DataError: an entry of the rows to train on is NaN or infinite.
        """
        models, processes = self._models, self._runtime.processes
        if not self.applies or not self._options.standardize or not self._same_dtype():
            return
        names = _saved_names(self._options)
        if names is not None and {name for name, _ in models[0].named_parameters()} <= names:
            return  # the checkpoint has no maps either
        for i, model in enumerate(models):
            x, context, weights = self._data.training_batch(i)
            place = functools.partial(standardize, model, x, context, weights=weights)
            placed = place(force=names is not None)
            wanted = processes.any(placed and processes.rank == 0)
            if wanted and not placed:
                place(force=True)
            elif placed and not wanted:
                self._undo(i)
        self._make_alike()

    def warn(self) -> None:
        """Warn of rows of the first model that are outside of the boxes of its splines."""
        if self.applies:
            warn_of_rows_outside(self._models[0], self._data.training_batch(0))

    def undo(self) -> None:
        """Leave the flows as they were."""
        for i in range(len(self._models)):
            self._undo(i)

    def keeps_float64(self) -> KeepsFloat64:
        """Return whether rows, and contexts, in float64 keep it until they are standardised."""
        able = self.applies and self._runtime.device.type != "mps"  # which has no float64
        flows = self._flows[0]
        return KeepsFloat64(
            able and all(map(has_data, flows)), able and all(map(has_context, flows))
        )

    def _same_dtype(self) -> bool:
        """Return whether rows have the dtype of the weights, or will have it."""
        weights = next(self._models[0].parameters(), None)
        converted = self._runtime.dtype is not None
        return converted or weights is None or weights.dtype == self._data.tensors["data"].dtype

    def _undo(self, model: int) -> None:
        width = len(self._flows[model])
        before = self._before[model * width : (model + 1) * width]
        for flow, (data, context) in zip(self._flows[model], before, strict=True):
            unplace(flow, data=not data, context=not context)

    def _make_alike(self) -> None:
        """Give every model the maps that any model has: the identity, where it needs none."""
        for flows in zip(*self._flows, strict=True):
            data, context = any(map(has_data, flows)), any(map(has_context, flows))
            for flow in flows:
                width = 0
                if context and not has_context(flow):
                    width = next(len(f.embedding.standardize.mean) for f in flows if has_context(f))
                place_blank(flow, data=data and not has_data(flow), context=width)


def _placed(flow: nn.Module) -> tuple[bool, bool]:
    return has_data(flow), has_context(flow)


def _saved_names(options: Options) -> set[str] | None:
    """Return the names of the weights in the checkpoint; None without one to continue from."""
    if options.checkpoint is None or not options.resume or not os.path.exists(options.checkpoint):
        return None
    tensors, _ = read_file(options.checkpoint)
    weights = (name for name in tensors if name.startswith("weights/"))
    return {name.removeprefix("weights/").replace("/", ".") for name in weights}
