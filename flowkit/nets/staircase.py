"""Products with masked weights of staircase form, without the zero blocks.

The masks of a MADE are staircases: with units sorted by degree, a block of rows is non-zero in one
run of columns. About half of the matrix is outside all runs. Products by blocks omit that half,
also in gradients.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowkit._training_mode import differentiates_by_transforms
from flowkit.nets.matmul import fast_matmul, has_faster_route

# Rows of a block: smaller blocks omit more zeros, but their products run at a lower rate.
_ROWS = 128
# Products of fewer multiply-adds are faster as a whole. From here on, omitting two fifths of the
# multiply-adds saves an eighth of the time, and a quarter at width 2,048. If our products take a
# faster route than torch's, much smaller ones gain too.
_WORTHWHILE = 2**28
_WORTHWHILE_ON_FASTER_ROUTE = 2**24


class Run(NamedTuple):
    """Rows ``[top, bottom)`` of a mask, zero outside the columns ``[left, right)``.

    Within the columns ``[ragged, until)`` some entries are zero.
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
    """Return the shortest range that contains all True entries."""
    where = flags.nonzero().flatten().tolist()
    return (where[0], where[-1] + 1) if where else (0, 0)


def share_of(runs: list[Run], shape: torch.Size) -> float:
    """Return the share of a matrix of this shape that lies within the runs."""
    return sum((r.bottom - r.top) * (r.right - r.left) for r in runs) / shape.numel()


def pays(x: Tensor, weight: Tensor) -> bool:
    """Return whether the product of ``x`` and a staircase is large enough for blocks."""
    size = x.numel() * len(weight)
    return (
        x.device.type == "cpu"
        and size >= min(_WORTHWHILE, _WORTHWHILE_ON_FASTER_ROUTE)
        and x.dtype == weight.dtype
        and not torch.is_autocast_enabled("cpu")
        and not differentiates_by_transforms()
        # Last: the first call computes a product, which must not run under torch.func transforms.
        and size >= (_WORTHWHILE_ON_FASTER_ROUTE if has_faster_route() else _WORTHWHILE)
    )


def staircase_product(
    x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor, runs: list[Run]
) -> Tensor:
    """Return ``x (mask * weight)ᵀ + bias`` for ``x (rows, columns)``, by products of runs."""
    y: Tensor = _product(x, weight, mask, [bound for run in runs for bound in run])
    return y if bias is None else y + bias


# Operators in torch's registry, which `torch.compile` does not trace.
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
    if torch.is_grad_enabled():  # for second derivatives
        return grad @ (mask * weight), mask * (grad.t() @ x), None, None
    return *_product_backward(grad, x, weight, mask, ctx.bounds), None, None


_product.register_autograd(_gradient, setup_context=_save)


def _runs(bounds: list[int]) -> Iterator[tuple[int, ...]]:
    return zip(*[iter(bounds)] * len(Run._fields), strict=True)
