"""Products with a masked weight that skip what the mask makes zero.

The masks of a MADE are staircases: with units sorted by degree, the rows of a block see one run of
columns, and about half of the matrix lies outside all runs. Multiplying block by block saves
that half, and its gradients.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowkit._modes import needs_plain_torch
from flowkit.nets.matmul import fast_matmul

# Rows of a block: fewer skip more, but their products are further from the machine's best rate.
_ROWS = 128
# Fewer multiply-adds than this are done before a second call has begun.
_WORTHWHILE = 2**24


class Run(NamedTuple):
    """Rows ``[top, bottom)``, the columns ``[left, right)`` outside of which they are zero, and
    the columns ``[ragged, until)`` in which they are zero in part.
    """

    top: int
    bottom: int
    left: int
    right: int
    ragged: int
    until: int


def runs_of(mask: Tensor) -> list[Run]:
    """Return the runs of a mask ``(rows, columns)``, top to bottom."""
    runs = []
    for top in range(0, len(mask), _ROWS):
        block = mask[top : top + _ROWS].bool()
        seen, ragged = block.any(0), block.any(0) & ~block.all(0)
        runs.append(Run(top, top + len(block), *_span(seen), *_span(ragged)))
    return runs


def _span(flags: Tensor) -> tuple[int, int]:
    """Return the shortest range that holds all that is True."""
    where = flags.nonzero().flatten().tolist()
    return (where[0], where[-1] + 1) if where else (0, 0)


def share_of(runs: list[Run], shape: torch.Size) -> float:
    """Return the share of a matrix of this shape that lies within the runs."""
    return sum((r.bottom - r.top) * (r.right - r.left) for r in runs) / shape.numel()


def pays(x: Tensor, weight: Tensor) -> bool:
    """Return whether the product of ``x`` and a staircase is large enough to go block by block."""
    return (
        x.device.type == "cpu"
        and x.numel() * len(weight) >= _WORTHWHILE
        and x.dtype == weight.dtype
        and not torch.is_autocast_enabled("cpu")
        and not needs_plain_torch()
    )


class StaircaseProduct(torch.autograd.Function):
    """``x (mask * weight)ᵀ + bias``, by the runs of the mask; ``x`` is ``(rows, columns)``."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor, runs: list[Run]
    ) -> Tensor:
        """Multiply."""
        masked = mask * weight
        ctx.runs = runs
        ctx.save_for_backward(x, weight, mask, masked)
        y = x.new_empty(len(x), len(weight))
        with fast_matmul():
            for top, bottom, left, right, *_ in runs:
                block = masked[top:bottom, left:right].t()
                if bias is None:
                    torch.mm(x[:, left:right], block, out=y[:, top:bottom])
                else:
                    torch.addmm(bias[top:bottom], x[:, left:right], block, out=y[:, top:bottom])
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Multiply by the transposes."""
        x, weight, mask, masked = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        of_bias = grad.sum(0) if wants_bias else None
        if torch.is_grad_enabled():  # a derivative of this one is wanted
            return grad @ (mask * weight), mask * (grad.t() @ x), of_bias, None, None
        of_x = torch.zeros_like(x) if wants_x else None
        of_weight = torch.zeros_like(weight) if wants_weight else None
        with fast_matmul():
            for top, bottom, left, right, ragged, until in ctx.runs:
                of_rows = grad[:, top:bottom]
                if of_x is not None:
                    part = of_x[:, left:right]
                    torch.addmm(part, of_rows, masked[top:bottom, left:right], out=part)
                if of_weight is not None:
                    torch.mm(of_rows.t(), x[:, left:right], out=of_weight[top:bottom, left:right])
                    of_weight[top:bottom, ragged:until] *= mask[top:bottom, ragged:until]
        return of_x, of_weight, of_bias, None, None


def staircase_product(
    x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor, runs: list[Run]
) -> Tensor:
    """Return ``x (mask * weight)ᵀ + bias`` for ``x (rows, columns)``, multiplying runs alone."""
    y: Tensor = StaircaseProduct.apply(x, weight, bias, mask, runs)  # type: ignore[no-untyped-call]
    return y
