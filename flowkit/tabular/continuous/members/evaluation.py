"""Evaluation of stacked members: their log-densities alone, in few passes over memory."""

import math
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from flowkit.nets.stacked import StackedMADE
from flowkit.nets.stacked_evaluation import (
    StackedHidden,
    StackedOutputs,
    output_weight,
    with_one,
)
from flowkit.tabular.continuous.members.stacked import StackedMembers
from flowkit.transforms.conditioning import INPUT_LIMIT

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
# Outputs of a network that are computed at once: so many stay in the cache until they are used.
_OUTPUTS = 160
# Exponentials of less would be denormal, which takes ten times as long. They count as e^-87, times
# a scale of at most e^14: relative to a sum above the other constant, that is less than 1e-5.
_LEAST_EXPONENT, _LEAST_SUM = -87.0, 1e-24


class StackedEvaluation:
    """The log-densities of `StackedMembers` in float32, without gradients and without angles.

    Where a column's density is outside the range of float32, the log-density is not finite.

    Args:
        stacked: the flows, in float64; their weights are copied.
        device: where to evaluate.
    """

    @torch.no_grad()
    def __init__(self, stacked: StackedMembers, device: torch.device | str = "cpu") -> None:
        self._flags, self._context = stacked.base.flags, stacked.base.context_features > 0
        self._layers = [
            (StackedHidden(made, device), _parameters_first(made, device), affine)
            for made, affine in zip(map(_made, stacked.layers), stacked.affine, strict=True)
        ]
        self._last = StackedHidden(stacked.last, device)
        self._mixtures = _Mixtures(stacked, device)

    @torch.no_grad()
    def __call__(self, x: Tensor, present: Tensor, context: Tensor | None) -> Tensor:
        """Return the log-densities ``(E, n)`` of entries ``x (E, d, n)``, 0 where not ``present``.

        ``context`` is ``(E, c, n)``.
        """
        own = [context] if context is not None and self._context else []
        log_density = x.new_zeros(len(x), x.shape[2])
        for hidden, outputs, affine in self._layers:
            inputs = with_one(x.clamp(-INPUT_LIMIT, INPUT_LIMIT), own)
            params = outputs(hidden(inputs), inputs).view(len(x), 2, *x.shape[1:])
            x, log_derivative = affine(x, params.movedim(1, -1))
            log_density += log_derivative.sum(1)
        if self._flags:
            own.append((~present).to(x.dtype))
        inputs = with_one(x.clamp(-INPUT_LIMIT, INPUT_LIMIT), own)
        return log_density.add_(self._mixtures(x, present, self._last(inputs), inputs))


def _made(layer: nn.Module) -> StackedMADE:
    return cast(StackedMADE, layer)


def _parameters_first(made: StackedMADE, device: torch.device | str) -> StackedOutputs:
    """Return all outputs, ordered by parameter: elementwise operations are contiguous then."""
    weight, units = output_weight(made)
    return StackedOutputs(weight.transpose(1, 2).flatten(1, 2), units, device)


class _Mixtures:
    """The mixtures of stacked members, a few columns at a time, in each member's own order.

    Columns see few hidden units if they are early in the order. With ``v = sigmoid(-2 raw / b)``
    and the bound b, the inverse scale ``exp(-b tanh(raw / b))`` is ``exp(2 b v - b)``. The factors
    ``exp(-b)`` and ``1 / sqrt(2)`` of the distance are in the weights of the means, and so are the
    places of the components.
    """

    def __init__(self, stacked: StackedMembers, device: torch.device | str) -> None:
        made, self._bound = stacked.last, stacked.bound
        self._components = k = made.outputs_per_feature // 3
        self._constant = -self._bound - _HALF_LOG_2PI
        self._unit = math.exp(-self._bound) / math.sqrt(2)
        weight, units = output_weight(made)
        weight = torch.stack([weight[i, order] for i, order in enumerate(stacked.orders)])
        weight = weight.unflatten(2, (3, k))  # (E, d, 3, K, .)
        if k > 1:
            weight[:, :, 1, :, 0] += torch.linspace(-1, 1, k, dtype=weight.dtype)
        weight[:, :, 1] *= self._unit
        weight[:, :, 2] *= -2 / self._bound
        self._order = torch.tensor(stacked.orders).unsqueeze(-1).to(device)
        d = made.features
        count = min(-(-d * made.outputs_per_feature // _OUTPUTS), d)
        self._blocks = []
        for start, end in pairwise(i * d // count for i in range(count + 1)):
            part = weight[:, start:end].transpose(1, 2).flatten(1, 3)
            self._blocks.append((slice(start, end), StackedOutputs(part, units, device)))

    def __call__(self, x: Tensor, present: Tensor, hidden: Tensor, inputs: Tensor) -> Tensor:
        """Return the log-densities ``(E, n)``."""
        order = self._order.expand_as(x)
        x, present = (x * self._unit).gather(1, order), present.gather(1, order)
        total = x.new_zeros(len(x), x.shape[2])
        for columns, outputs in self._blocks:
            params = outputs(hidden, inputs)
            params = params.view(len(x), 3, -1, self._components, x.shape[2])
            log_density = self._log_density(x[:, columns], params)
            total += torch.where(present[:, columns], log_density, 0.0).sum(1)
        return total

    def _log_density(self, x: Tensor, params: Tensor) -> Tensor:
        """Return the log-density of entries ``(E, columns, n)``.

        ``params`` is ``(E, 3, columns, K, n)``, and is overwritten.
        """
        logits, means, raw = params.unbind(1)
        inverse = raw.sigmoid_().mul_(2 * self._bound).exp_()
        u = means.sub_(x.unsqueeze(-2)).mul_(inverse)  # half its square is in the exponent
        exponent = torch.addcmul(logits, u, u, value=-1, out=u).clamp_min_(_LEAST_EXPONENT)
        joint = exponent.exp_().mul_(inverse).sum(-2)
        weights = logits.clamp_min_(_LEAST_EXPONENT).exp_().sum(-2)
        lost = (joint < _LEAST_SUM) | (weights < _LEAST_SUM)
        return joint.div_(weights).log_().add_(self._constant).masked_fill_(lost, -torch.inf)
