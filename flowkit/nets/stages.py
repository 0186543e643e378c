"""What the hidden layers of a conditioner have in common, told in a way that others can walk."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

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
