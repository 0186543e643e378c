"""The rows that a fit is given: checked, weighed, and split."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from flowkit._checks import check_count
from flowkit.errors import ArgumentError, DtypeError, ShapeError
from flowkit.training.rows import Batch, Order, Rows, split

Wide: TypeAlias = tuple[bool, bool]


class Data:
    """Rows to train on, and rows to validate on.

    Args:
        data: ``(rows, *event_shape)``.
        context: ``(rows, *context_shape)``, or None.
        weights: ``(rows,)``, or ``(members, rows)``, or None.
        validation: a share, or rows, or a tuple of rows, their context and their weights.
        seeds: one for each model, or a single one for all.
        members: number of models, or None where there is one that is no member of anything.

    Attributes:
        given: the tensors by argument.
        train: the numbers of the rows to train on, ``(rows,)``, or ``(members, rows)``.
        held_out: those to validate on, or None.
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
        self._seeds, self._members = seeds, members
        self._batch = _checked(Batch(data, context, weights), "", members)
        self._other: Batch | None = None
        self.held_out: Tensor | None = None
        rows, held_out = len(data), 0
        if isinstance(validation, bool | int | float):
            held_out = round(validation * rows)
            if not 0 < validation < 1 or not 0 < held_out < rows:
                raise ArgumentError(
                    "validation", "a share that leaves rows on both sides", validation
                )
        elif validation is not None:
            given: Any = validation if isinstance(validation, tuple) else (validation,)
            if not 1 <= len(given) <= len(Batch._fields):
                expected = "a share, or rows, or (rows, context, weights)"
                raise ArgumentError("validation", expected, f"{len(given)} parts")
            self._other = _checked(Batch(*given), "validation ", members)
            if self._other.x.shape[1:] != data.shape[1:]:
                expected = f"rows of shape {tuple(data.shape[1:])}, as data has"
                raise ShapeError("validation", expected, tuple(self._other.x.shape[1:]))
            self.held_out = torch.arange(len(self._other.x))
        splits = [split(seed, rows, held_out) for seed in seeds]
        self.train = _stacked([train for train, _ in splits])
        if held_out:
            self.held_out = _stacked([valid for _, valid in splits])

    @property
    def given(self) -> dict[str, Tensor]:
        """The tensors that the user gave, by argument."""
        tensors = dict(zip(("data", "context", "weights"), self._batch, strict=True))
        if self._other is not None:
            names = ("validation", "validation context", "validation weights")
            tensors |= zip(names, self._other, strict=True)
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}

    def rows_of(self, model: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the rows that a model is trained on, their context and weights, as given."""
        x, context, weights = self._batch
        if weights is not None and weights.dim() == 2:
            weights = weights[model]
        if self.train.shape[-1] == len(x):
            return x, context, weights
        train = self.train[model] if self.train.dim() == 2 else self.train
        train = train.to(x.device)
        return (
            x.index_select(0, train),
            None if context is None else context.index_select(0, train.to(context.device)),
            None if weights is None else weights.index_select(0, train.to(weights.device)),
        )

    def source(self, device: torch.device, dtype: torch.dtype | None, wide: Wide) -> Rows:
        """Return the rows to train on (and those held out of them), on a device.

        Args:
            device: the device.
            dtype: what floats are converted to; None leaves them as they are.
            wide: whether rows, and contexts, in float64 stay as they are.
        """
        held_out = self.held_out if self._other is None else None
        return self._rows(self._batch, [self.train, held_out], device, dtype, wide)

    def validation_source(
        self, device: torch.device, dtype: torch.dtype | None, wide: Wide
    ) -> Rows | None:
        """Return the rows to validate on, if they are others."""
        if self._other is None:
            return None
        return self._rows(self._other, [self.held_out], device, dtype, wide)

    def order(self, batch_size: int, device: torch.device) -> Callable[[int], Tensor]:
        """Return the rows of each step, ``(batch,)``, or ``(members, batch)``."""
        rows = self.train.reshape(len(self._seeds), -1)
        orders = [Order(r, batch_size, s, device) for r, s in zip(rows, self._seeds, strict=True)]
        return orders[0] if len(orders) == 1 else lambda step: _stacked([o(step) for o in orders])

    def _rows(
        self,
        batch: Batch,
        parts: list[Tensor | None],
        device: torch.device,
        dtype: torch.dtype | None,
        wide: Wide,
    ) -> Rows:
        x, context, weights = batch
        if weights is not None:
            weights = _normalised(weights, [part for part in parts if part is not None]).to(x.dtype)

        def moved(tensor: Tensor, wide: bool) -> Tensor:
            stays = wide and tensor.dtype == torch.float64
            return tensor.to(device, dtype if tensor.is_floating_point() and not stays else None)

        x = x.to(device) if wide[0] and x.dtype == torch.float64 else x.to(device, dtype)
        on_device = [
            None if context is None else moved(context, wide[1]),
            None if weights is None else moved(weights, wide=False),
        ]
        if self._members is None:
            return Rows(x, *on_device)
        return MemberRows(x, *on_device, members=self._members)


class MemberRows(Rows):
    """Rows for several models side by side: every tensor of a batch is ``(members, batch, ...)``.

    The numbers that it takes are ``(members, batch)``, or ``(batch,)`` for all models alike.
    """

    def __init__(
        self, x: Tensor, context: Tensor | None, weights: Tensor | None, *, members: int
    ) -> None:
        super().__init__(x, context, weights)
        self._members = members

    def take(self, rows: Tensor) -> Batch:
        """Return the rows of these numbers, for each model."""
        rows = rows.expand(self._members, -1)
        weights = self.weights
        if weights is not None:
            weights = weights.expand(self._members, -1).gather(1, rows)
        return Batch(self.x[rows], None if self.context is None else self.context[rows], weights)


def _stacked(rows: list[Tensor]) -> Tensor:
    return rows[0] if len(rows) == 1 else torch.stack(rows)


def _checked(batch: Batch, whose: str, members: int | None) -> Batch:
    """Raise unless the tensors are tensors, and go together row by row."""
    names = [f"{whose}{name}".strip() for name in ("data" if not whose else "", *batch._fields[1:])]
    for name, tensor in zip(names, batch, strict=True):
        if not isinstance(tensor, Tensor) and not (tensor is None and name != names[0]):
            raise DtypeError(name, "a torch.Tensor", type(tensor).__name__)
    x, context, weights = batch
    if x.dim() == 0 or len(x) == 0:
        raise ArgumentError(names[0], "at least one row", f"shape {tuple(x.shape)}")
    if context is not None and (context.dim() == 0 or len(context) != len(x)):
        raise ShapeError(names[1], f"{len(x)} rows, as {names[0]} has", tuple(context.shape))
    if weights is not None:
        shapes: list[tuple[Any, ...]] = [(len(x),)]
        if members is not None:
            shapes.append((members, len(x)))
        if tuple(weights.shape) not in shapes:
            expected = " or ".join(map(str, shapes))
            raise ShapeError(names[2], f"shape {expected}", tuple(weights.shape))
        if not ((weights >= 0) & weights.isfinite()).all():
            raise ArgumentError(names[2], "finite numbers of at least 0", "others too")
    return batch


def _normalised(weights: Tensor, parts: list[Tensor]) -> Tensor:
    """Return weights, in float64, whose mean is one over each of the parts of the rows."""
    weights = weights.double()
    for rows in parts:
        if rows.dim() == 2:
            weights = weights.expand(len(rows), -1)
        rows = rows.expand(*weights.shape[:-1], -1).to(weights.device)
        mean = weights.gather(-1, rows).mean(-1, keepdim=True)
        if not (mean > 0).all():
            raise ArgumentError("weights", "some that are positive", "none among the rows used")
        weights = weights.scatter(-1, rows, weights.gather(-1, rows) / mean)
    return weights
