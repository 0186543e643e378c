"""Plan of a fit: the members that a table of a given size gets, and how they are trained."""

from dataclasses import dataclass

import numpy as np

_COMPONENTS = (1, 2, 4, 8, 16, 32)
_COMPONENTS_OF_MANY_ROWS = (8, 32)
# Deep flows need rows; with many rows no other trained member is worth the time.
_FEW_ROWS, _MANY_ROWS, _VERY_MANY_ROWS = 2_000, 8_000, 20_000


@dataclass(frozen=True)
class _Effort:
    """Amount of work: folds with members, steps at 1,000 rows, sizes of the networks."""

    folds: int
    steps: int
    hidden: tuple[int, ...]
    components: int
    layers: tuple[int, int]  # of deep flows: with fewer rows, with very many


_EFFORTS = {
    "fast": _Effort(2, 210, (64, 64), 8, (2, 2)),
    "default": _Effort(3, 420, (64, 64), 10, (2, 4)),
    "best": _Effort(5, 840, (128, 128), 16, (4, 5)),
}


@dataclass(frozen=True)
class Plan:
    """What is fitted to the continuous columns of a table.

    Attributes:
        folds: number of folds that have members.
        steps: largest number of training steps of a flow.
        batch_size: rows of a training step.
        noise: standard deviation of the noise added in training, in those of the columns.
        hidden: widths of the flows' networks.
        components: number of components of a flow's conditional.
        layers: number of layers of a deep flow.
        mixtures: numbers of components of mixtures over columns with their skew removed.
        straight_mixtures: likewise over columns that are only scaled.
        flows: which of "flow", "flow of residuals" and "deep flow" are trained.
    """

    folds: int
    steps: int
    batch_size: int
    noise: float
    hidden: tuple[int, ...]
    components: int
    layers: int
    mixtures: tuple[int, ...]
    straight_mixtures: tuple[int, ...]
    flows: tuple[str, ...]


def plan(
    n: int,
    d: int,
    *,
    holes: bool = False,
    circular: bool = False,
    context_features: int = 0,
    effort: str = "default",
) -> Plan:
    """Return the plan for ``n`` rows of ``d`` continuous columns.

    Args:
        n: number of rows.
        d: number of continuous columns.
        holes: whether any value is absent.
        circular: whether any column is an angle.
        context_features: width of the context.
        effort: "fast", "default" or "best".

    Example:
        >>> plan(500, 4).flows
        ('flow', 'flow of residuals')
        >>> plan(5_000, 4).flows
        ('flow', 'deep flow')
        >>> plan(5_000, 4, holes=True).flows
        ('flow',)
        >>> plan(50_000, 4).flows
        ('deep flow',)
    """
    work, few = _EFFORTS[effort], n < _FEW_ROWS
    can_be_deep = d > 1 and not holes and not circular
    flows = []
    if n <= _MANY_ROWS or not can_be_deep:
        flows.append("flow")
    if few and (d > 1 or context_features):
        flows.append("flow of residuals")
    if not few and can_be_deep:
        flows.append("deep flow")
    mixtures = _COMPONENTS_OF_MANY_ROWS if n > _MANY_ROWS else _COMPONENTS
    return Plan(
        # Fewer rows, more need to use each.
        folds=max(work.folds - (n > _MANY_ROWS), 3 if few else 2),
        steps=int(work.steps * np.clip(n / 1000, 0.25, 22) ** 0.8),
        batch_size=256 if n <= _VERY_MANY_ROWS else 512,
        # Noise keeps a fit from learning few rows by heart, and from resolving many sharply.
        noise=0.05 if n <= 5_000 else 0.02 if n <= _MANY_ROWS else 0.0,
        hidden=work.hidden,
        components=work.components,
        layers=work.layers[n > _VERY_MANY_ROWS],
        mixtures=mixtures,
        straight_mixtures=mixtures[::2],
        flows=tuple(flows),
    )


def enough_rows(components: int, n: int, d: int) -> bool:
    """Return whether ``n`` rows of ``d`` columns suffice for a mixture of so many components."""
    return components == 1 or 4 * components * max(1, d / 8) <= n
