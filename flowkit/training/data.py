"""Data of a fit: checked, weighted, and split."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowkit._checks import check_count
from flowkit.errors import ArgumentError, DtypeError, ShapeError
from flowkit.training.rows import Batch, Order, Rows, Source, TrainingRows, split
from flowkit.training.runtime import Runtime


class KeepsFloat64(NamedTuple):
    """Whether rows, and contexts, in float64 keep their dtype: a flow standardises them first."""

    x: bool
    context: bool


class Data:
    """Rows to train on, and rows to validate on.

    Args:
        data: ``(rows, *event_shape)``.
        context: ``(rows, *context_shape)``, or None.
        weights: ``(rows,)``, or ``(members, rows)``, or None.
        validation: a share, or rows, or a tuple of rows, their context and their weights.
        seeds: one for each model, or a single one for all.
        members: number of models that are stacked, or None for a single model.

    Attributes:
        tensors: the tensors by argument.
        train_indices: indices of the rows to train on, ``(rows,)``, or ``(members, rows)``.
        validation_indices: indices of the rows to validate on, or None.
        validation_share: the share of the rows that is held out; None: no share.
    """

    def __init__(
        self,
        data: Tensor,
        context: Tensor | None,
        weights: Tensor | None,
        validation: float | Tensor | tuple[Tensor | None, ...] | None,
        *,
        seeds: tuple[int, ...],
        members: int | None = None,
    ) -> None:
        for seed in seeds:
            check_count("seed", seed, minimum=0)
        self.seeds, self.members = seeds, members
        self._batch = _checked(Batch(data, context, weights), "", members)
        self._validation_batch: Batch | None = None
        self.validation_indices: Tensor | None = None
        self.validation_share = validation if isinstance(validation, float) else None
        n_rows, n_held_out = len(data), 0
        if isinstance(validation, bool | int | float):
            n_held_out = round(validation * n_rows)
            if not 0 < validation < 1 or not 0 < n_held_out < n_rows:
                expected = "a share that leaves rows to train on and rows to validate on"
                raise ArgumentError("validation", expected, f"{validation} of {n_rows} rows")
        elif validation is not None:
            tensors: Any = validation if isinstance(validation, tuple) else (validation,)
            if not 1 <= len(tensors) <= len(Batch._fields):
                expected = "a share, or rows, or (rows, context, weights)"
                raise ArgumentError("validation", expected, f"a tuple of {len(tensors)}")
            self._validation_batch = _checked(Batch(*tensors), "validation ", members)
            if self._validation_batch.x.shape[1:] != data.shape[1:]:
                expected = f"rows of shape {tuple(data.shape[1:])}, as data has"
                got = tuple(self._validation_batch.x.shape[1:])
                raise ShapeError("validation", expected, got)
            self.validation_indices = torch.arange(len(self._validation_batch.x))
        splits = [split(seed, n_rows, n_held_out) for seed in seeds]
        self.train_indices = _stacked([train for train, _ in splits])
        if n_held_out:
            self.validation_indices = _stacked([held_out for _, held_out in splits])

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the user, by argument."""
        tensors = dict(zip(("data", "context", "weights"), self._batch, strict=True))
        if self._validation_batch is not None:
            names = ("validation", "validation context", "validation weights")
            tensors |= zip(names, self._validation_batch, strict=True)
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}

    def training_batch(self, model: int) -> Batch:
        """Return all rows that a model is trained on, with the weights of the user."""
        x, context, weights = self._batch
        if weights is not None and weights.dim() == 2:
            weights = weights[model]
        if self.train_indices.shape[-1] == len(x):
            return Batch(x, context, weights)
        indices = self.train_indices
        indices = (indices[model] if indices.dim() == 2 else indices).to(x.device)
        return Batch(
            x.index_select(0, indices),
            None if context is None else context.index_select(0, indices.to(context.device)),
            None if weights is None else weights.index_select(0, indices.to(weights.device)),
        )

    def source(self, runtime: Runtime, keeps_float64: KeepsFloat64) -> Rows:
        """Return the rows to train on (and those held out of them), on the device of a fit.

        Args:
            runtime: device, and dtype that floats are converted to.
            keeps_float64: whether rows, and contexts, in float64 keep it.
        """
        held_out = self.validation_indices if self._validation_batch is None else None
        return self._rows(self._batch, [self.train_indices, held_out], runtime, keeps_float64)

    def training_rows(self, source: Source, batch_size: int, device: torch.device) -> TrainingRows:
        """Return the rows to train on, and their order.

        Args:
            source: the rows, those held out of them included.
            batch_size: rows per step.
            device: the device of the indices.
        """
        per_seed = self.train_indices.reshape(len(self.seeds), -1)
        orders = [
            Order(indices, batch_size, seed, device)
            for indices, seed in zip(per_seed, self.seeds, strict=True)
        ]
        return TrainingRows(
            source,
            self.train_indices.to(device),
            orders[0] if len(orders) == 1 else lambda step: _stacked([o(step) for o in orders]),
        )

    def validation_rows(self, runtime: Runtime, keeps_float64: KeepsFloat64) -> Rows | None:
        """Return the rows to validate on; None if they are held out of the rows to train on."""
        if self._validation_batch is None:
            return None
        indices = [self.validation_indices]
        return self._rows(self._validation_batch, indices, runtime, keeps_float64)

    def _rows(
        self,
        batch: Batch,
        index_sets: list[Tensor | None],
        runtime: Runtime,
        keeps_float64: KeepsFloat64,
    ) -> Rows:
        x, context, weights = batch
        device, dtype = runtime.device, runtime.dtype
        if weights is not None:
            used = [indices for indices in index_sets if indices is not None]
            weights = _normalised(weights, used).to(x.dtype)

        def converted(tensor: Tensor, keeps: bool) -> Tensor:
            stays = keeps and tensor.dtype == torch.float64
            return tensor.to(device, dtype if tensor.is_floating_point() and not stays else None)

        stays = keeps_float64.x and x.dtype == torch.float64
        x = x.to(device) if stays else x.to(device, dtype)
        on_device = [
            None if context is None else converted(context, keeps_float64.context),
            None if weights is None else converted(weights, keeps=False),
        ]
        if self.members is None:
            return Rows(x, *on_device)
        return MemberRows(x, *on_device, members=self.members)


class MemberRows(Rows):
    """Rows for several models side by side: every tensor of a batch is ``(members, batch, ...)``.

    Indices are ``(members, batch)``, or ``(batch,)`` for all models alike.
    """

    def __init__(
        self, x: Tensor, context: Tensor | None, weights: Tensor | None, *, members: int
    ) -> None:
        super().__init__(x, context, weights)
        self._members = members

    def take(self, indices: Tensor) -> Batch:
        """Return the rows of these indices, for each model."""
        indices = indices.expand(self._members, -1)
        weights = self.weights
        if weights is not None:
            weights = weights.expand(self._members, -1).gather(1, indices)
        context = None if self.context is None else self.context[indices]
        return Batch(self.x[indices], context, weights)


def _stacked(indices: list[Tensor]) -> Tensor:
    return indices[0] if len(indices) == 1 else torch.stack(indices)


def _checked(batch: Batch, prefix: str, members: int | None) -> Batch:
    """Raise unless the tensors are tensors, and go together row by row."""
    fields = ("" if prefix else "data", *batch._fields[1:])
    names = [f"{prefix}{name}".strip() for name in fields]
    for name, tensor in zip(names, batch, strict=True):
        if not isinstance(tensor, Tensor) and not (tensor is None and name != names[0]):
            raise DtypeError(name, "a torch.Tensor", type(tensor).__name__)
    x, context, weights = batch
    if x.dim() == 0 or len(x) == 0:
        raise ArgumentError(names[0], "at least one row", f"shape {tuple(x.shape)}")
    if context is not None and (context.dim() == 0 or len(context) != len(x)):
        got = f"shape {tuple(context.shape)}"
        raise ShapeError(names[1], f"{len(x)} rows, as {names[0]} has", got)
    if weights is not None:
        shapes: list[tuple[Any, ...]] = [(len(x),)]
        if members is not None:
            shapes.append((members, len(x)))
        if tuple(weights.shape) not in shapes:
            expected = " or ".join(map(str, shapes))
            raise ShapeError(names[2], f"shape {expected}", tuple(weights.shape))
        bad = ~((weights >= 0) & weights.isfinite())
        if bad.any():
            value = weights[bad][0].item()
            raise ArgumentError(names[2], "finite numbers of at least 0", f"{value} among them")
    return batch


def _normalised(weights: Tensor, index_sets: list[Tensor]) -> Tensor:
    """Return weights, in float64, whose mean is one over each of the sets of rows."""
    weights = weights.double()
    for indices in index_sets:
        if indices.dim() == 2:
            weights = weights.expand(len(indices), -1)
        indices = indices.expand(*weights.shape[:-1], -1).to(weights.device)
        mean = weights.gather(-1, indices).mean(-1, keepdim=True)
        if not (mean > 0).all():
            expected = (
                "a positive weight among the rows to train on, and among those to validate on"
            )
            raise ArgumentError("weights", expected, "only zeros")
        weights = weights.scatter(-1, indices, weights.gather(-1, indices) / mean)
    return weights
