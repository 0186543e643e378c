"""Products with a masked weight that skip what the mask makes zero.

The masks of a MADE are staircases: with units sorted by degree, the rows of a block see one run of
columns, and about half of the matrix lies outside all runs. Multiplying block by block saves
that half, and its gradients.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowkit._modes import differentiates_by_transforms
from flowkit.nets.matmul import fast_matmul, has_faster_route

# Rows of a block: fewer skip more, but their products are further from the machine's best rate.
_ROWS = 128
# Products of fewer multiply-adds are done sooner whole: skipping two fifths of them pays by an
# eighth from here on, and by a quarter at width 2,048. Where our products also take a faster
# route than torch's, much smaller ones pay.
_WORTHWHILE = 2**28
_WORTHWHILE_ON_FASTER_ROUTE = 2**24


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
    size = x.numel() * len(weight)
    return (
        x.device.type == "cpu"
        and size >= min(_WORTHWHILE, _WORTHWHILE_ON_FASTER_ROUTE)
        and x.dtype == weight.dtype
        and not torch.is_autocast_enabled("cpu")
        and not differentiates_by_transforms()
        # Last: at its first call it multiplies, which no transform of torch.func may see.
        and size >= (_WORTHWHILE_ON_FASTER_ROUTE if has_faster_route() else _WORTHWHILE)
    )


def staircase_product(
    x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor, runs: list[Run]
) -> Tensor:
    """Return ``x (mask * weight)ᵀ + bias`` for ``x (rows, columns)``, multiplying runs alone."""
    y: Tensor = _product(x, weight, mask, [bound for run in runs for bound in run])
    return y if bias is None else y + bias


# Operators of torch's own registry, as `torch.compile` then calls them as they stand.
@torch.library.custom_op("flowkit::staircase", mutates_args=())
def _product(x: Tensor, weight: Tensor, mask: Tensor, bounds: list[int]) -> Tensor:
    masked = mask * weight
    y = x.new_empty(len(x), len(weight))
    with fast_matmul():
        for top, bottom, left, right, *_ in _runs(bounds):
            torch.mm(x[:, left:right], masked[top:bottom, left:right].t(), out=y[:, top:bottom])
    return y


@torch.library.custom_op("flowkit::staircase_backward", mutates_args=())
def _product_backward(
    grad: Tensor, x: Tensor, weight: Tensor, mask: Tensor, bounds: list[int]
) -> tuple[Tensor, Tensor]:
    """Return the gradients with respect to ``x`` and ``weight``."""
    masked = mask * weight
    of_x, of_weight = torch.zeros_like(x), torch.zeros_like(weight)
    with fast_matmul():
        for top, bottom, left, right, ragged, until in _runs(bounds):
            of_rows, part = grad[:, top:bottom], of_x[:, left:right]
            torch.addmm(part, of_rows, masked[top:bottom, left:right], out=part)
            torch.mm(of_rows.t(), x[:, left:right], out=of_weight[top:bottom, left:right])
            of_weight[top:bottom, ragged:until] *= mask[top:bottom, ragged:until]
    return of_x, of_weight


@_product.register_fake
def _(x: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return x.new_empty(len(x), len(weight))


@_product_backward.register_fake
def _(_: Tensor, x: Tensor, weight: Tensor, *__: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(weight)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    x, weight, mask, ctx.bounds = inputs
    ctx.save_for_backward(x, weight, mask)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, mask = ctx.saved_tensors
    if torch.is_grad_enabled():  # a derivative of this one is wanted
        return grad @ (mask * weight), mask * (grad.t() @ x), None, None
    return *_product_backward(grad, x, weight, mask, ctx.bounds), None, None


_product.register_autograd(_gradient, setup_context=_save)


def _runs(bounds: list[int]) -> Iterator[tuple[int, ...]]:
    return zip(*[iter(bounds)] * len(Run._fields), strict=True)
