"""Evaluation of stacked MADEs in float32, without gradients, in few passes over memory.

Biases are columns of the weights: the first input is one, and so is the first hidden unit.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from flowkit.nets.stacked import StackedMADE


def with_one(x: Tensor, context: Sequence[Tensor] = ()) -> Tensor:
    """Return the inputs of a network, ``(E, 1 + features + context_features, rows)``."""
    return torch.cat([torch.ones_like(x[:, :1]), x, *context], 1)


class StackedHidden:
    """The hidden layers of stacked MADEs.

    Args:
        made: the networks; their weights are copied.
        device: where to evaluate.
    """

    def __init__(self, made: StackedMADE, device: torch.device | str = "cpu") -> None:
        parts = made.parts()
        (weight, bias), *layers = parts.hidden
        first = torch.cat([bias, weight, *parts.contexts[:1]], 2)
        self._input = _with_unit(first, 1.0).to(device)
        # The second layer of a block is added to the block's input, where the unit is one already.
        weights = [
            _with_unit(torch.cat([bias, weight], 2), 1.0 - i % 2).to(device)
            for i, (weight, bias) in enumerate(layers)
        ]
        self._blocks = list(zip(weights[::2], weights[1::2], strict=True))
        self._contexts = [F.pad(w, (0, 0, 1, 0)).float().to(device) for w in parts.contexts[1:]]

    def __call__(self, inputs: Tensor) -> Tensor:
        """Map what `with_one` returned to ``(E, 1 + units, rows)``."""
        h = torch.bmm(self._input, inputs)
        for i, (first, second) in enumerate(self._blocks):
            r = torch.bmm(first, torch.relu(h))
            if self._contexts:
                weight = self._contexts[i]
                r.baddbmm_(weight, inputs[:, -weight.shape[2] :])
            h.baddbmm_(second, r.relu_())
        return h


class StackedOutputs:
    """Some outputs of stacked MADEs, from as many hidden units as they see.

    Args:
        weight: of the outputs, ``(E, outputs, .)``: some rows of `output_weight`.
        units: number of hidden units, and one.
        device: where to evaluate.
    """

    def __init__(self, weight: Tensor, units: int, device: torch.device | str = "cpu") -> None:
        hidden, direct = weight[..., :units], weight[..., units:]
        seen = (hidden != 0).flatten(0, 1).any(0).nonzero()
        self._units = int(seen.max()) + 1 if len(seen) else 1
        self._hidden = hidden[..., : self._units].float().contiguous().to(device)
        self._direct = direct.float().contiguous().to(device) if direct.shape[-1] else None

    def __call__(self, hidden: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs ``(E, outputs, rows)``."""
        out = torch.bmm(self._hidden, hidden[:, : self._units])
        return out if self._direct is None else out.baddbmm_(self._direct, inputs)


def output_weight(made: StackedMADE) -> tuple[Tensor, int]:
    """Return the weight ``(E, features, parameters, .)`` of all outputs, and where it divides.

    Its columns belong to the hidden units of `StackedHidden`, and those after the division to the
    inputs, if there are direct connections.
    """
    parts = made.parts()
    columns = [parts.output_bias, parts.output]
    if parts.direct is not None:
        columns.append(F.pad(parts.direct, (1, 0)))
    weight = torch.cat(columns, 2).unflatten(1, (made.features, made.outputs_per_feature))
    return weight, 1 + parts.output.shape[2]


def _with_unit(weight: Tensor, value: float) -> Tensor:
    """Return the weight in float32 with a first unit, which is ``value`` times the first input."""
    unit = torch.zeros_like(weight[:, :1])
    unit[..., 0] = value
    return torch.cat([unit, weight], 1).float()
