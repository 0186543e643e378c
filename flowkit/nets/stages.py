"""Stages: a common form of the hidden layers of conditioners, for incremental evaluation."""

from collections.abc import Callable
from typing import NamedTuple, cast

from torch import Tensor, nn

from flowkit.nets.linear import Linear


class Stage(NamedTuple):
    """One hidden layer, ``post = activation(W before + b + V context [+ the pre of two before])``.

    ``before`` is the ``post`` of the previous stage, or the input of the network; ``pre`` is the
    input of the activation. The output layer of a network is applied to the last ``post``.
    """

    linear: Linear
    context: Linear | None
    activation: Callable[[Tensor], Tensor] | None
    skip: bool = False


def stage(
    linear: nn.Module | Tensor,
    context: nn.Module | Tensor | None,
    activation: Callable[[Tensor], Tensor],
    *,
    skip: bool = False,
) -> Stage:
    """Return a stage; ``context`` is a layer, or a list of at most one layer."""
    if isinstance(context, nn.ModuleList):
        context = context[0] if len(context) else None
    return Stage(cast(Linear, linear), cast("Linear | None", context), activation, skip)
