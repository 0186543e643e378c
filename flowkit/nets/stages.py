"""What the hidden layers of a conditioner have in common, told in a way that others can walk."""

from collections.abc import Callable
from typing import NamedTuple, cast

from torch import Tensor, nn

from flowkit.nets.linear import Linear


class Stage(NamedTuple):
    """One hidden layer, ``post = activation(W before + b + V context [+ the pre of two before])``.

    ``before`` is the ``post`` of the stage before, or the network's input; ``pre`` is what goes
    into the activation. A network is its stages, and its output layer applied to the last
    ``post``.
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
    """Return a stage; ``context`` is its layer, or a list of that layer or of none."""
    if isinstance(context, nn.ModuleList):
        context = context[0] if len(context) else None
    return Stage(cast(Linear, linear), cast("Linear | None", context), activation, skip)
