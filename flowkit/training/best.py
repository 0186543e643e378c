"""Best weights of a fit, by their score on the validation rows."""

import math
from collections.abc import Mapping

from torch import Tensor


class Best:
    """The best weights seen, of one model or of each of several.

    Args:
        members: number of models that are stacked along the first dimension of every tensor;
            None: a single model, not stacked.
        patience: validations without a better score after which a model is done; None: never.

    Attributes:
        scores: the best score of each model, infinite where none was finite; lower is better.
        steps: the step of each of these scores; 0 for the weights before the first step.
        stale: the number of validations since.
        tensors: the weights by name.
    """

    def __init__(self, members: int | None, patience: int | None) -> None:
        self._members = members
        self._patience = patience
        count = members or 1
        self.scores = [math.inf] * count
        self.steps = [0] * count
        self.stale = [0] * count
        self.tensors: dict[str, Tensor] = {}

    @property
    def done(self) -> list[bool]:
        """Whether each model has had ``patience`` validations without a better score."""
        return [self._patience is not None and stale >= self._patience for stale in self.stale]

    @property
    def scored(self) -> list[bool]:
        """Whether each model has had a finite score."""
        return [math.isfinite(score) for score in self.scores]

    def offer(self, scores: list[float], step: int, weights: Mapping[str, Tensor]) -> None:
        """Keep the weights of the models that score better than before.

        NaN and both infinities are worse than any number.
        """
        better = [
            math.isfinite(score) and score < best and not done
            for score, best, done in zip(scores, self.scores, self.done, strict=True)
        ]
        if any(better) and not self.tensors:
            self.tensors = {name: tensor.clone() for name, tensor in weights.items()}
        for member in range(len(scores)):
            self.stale[member] += step > 0
            if better[member]:
                self.scores[member], self.steps[member] = scores[member], step
                self.stale[member] = 0
                self._copy(member, weights, self.tensors)

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Restore the best weights of the models that have any."""
        for member, scored in enumerate(self.scored):
            if scored:
                self._copy(member, self.tensors, weights)

    def _copy(self, member: int, source: Mapping[str, Tensor], to: Mapping[str, Tensor]) -> None:
        for name, tensor in source.items():
            if self._members is None:
                to[name].copy_(tensor)
            else:
                to[name][member].copy_(tensor[member])
