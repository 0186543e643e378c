"""Updates of parameters: gradients, clipping, and the optimiser of a named step."""

from functools import reduce
from operator import add

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors

from flowkit.training.adam import Adam
from flowkit.training.memory import Pieces
from flowkit.training.recorder import Recorder
from flowkit.training.rows import Source
from flowkit.training.runtime import Runtime
from flowkit.training.seeds import StepSeeds, reseed
from flowkit.training.step import Step

# Up to this many numbers are copied side by side to take their norm, which costs less than a call
# for each tensor; beyond it, the copy would cost more.
_SMALL = 1_000_000


class Update:
    """Updates the parameters of one named step of a fit.

    Args:
        objective: the named step; its loss may be compiled.
        source: the rows.
        recorder: records the terms.
        optimizer: the optimiser of the parameters, at the first learning rate.
        clip: largest norm of the gradient (of each model), or None.
        alone: whether there are no other named steps, whose parameters must get no gradient.
        seeds: seeds of the generator of the loss.
        runtime: the processes that share a batch, and everything else about the computation.

    Attributes:
        parameters: the parameters of the named step.
        pieces: the pieces that a batch is computed in.
    """

    def __init__(
        self,
        objective: Step,
        source: Source,
        *,
        recorder: Recorder,
        optimizer: torch.optim.Optimizer,
        clip: float | None,
        alone: bool,
        seeds: StepSeeds,
        runtime: Runtime,
    ) -> None:
        self.is_taken = objective.is_taken
        self.recorder = recorder
        self.optimizer = optimizer
        self.parameters = list(objective.parameters)
        self.pieces = Pieces("a batch")
        # A list of the tensors that get a gradient costs torch a walk through the graph.
        self._inputs = None if alone else self.parameters
        self._before, self._loss, self._source = objective.before, objective.loss, source
        self._clip, self._seeds = clip, seeds
        self._processes, self._autocast = runtime.processes, runtime.autocast
        self._members = runtime.members
        self._generator = torch.Generator(runtime.device)
        # Parameter groups may differ in their rates: each rate is scheduled.
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self._small = sum(p.numel() for p in self.parameters) <= _SMALL

    def __call__(self, step: int, indices: Tensor, factor: float) -> None:
        """Update the parameters once.

        Args:
            step: number of the fit's step.
            indices: the batch of all processes together, ``(batch,)``, or ``(members, batch)``.
            factor: factor of the learning rate.

        Raises:
            TrainingError: the loss or the gradient is not finite. The parameters are unchanged.
        """
        if self._before is not None:
            self._before(step)
        batch_size = indices.shape[-1]
        if self._processes.size > 1:
            indices = indices[..., self._processes.share(batch_size)]
        n_rows = indices.shape[-1]
        terms = self.pieces.attempt(lambda: self._backward(step, indices), n_rows)
        if self._processes.size > 1:
            terms = self._sum(terms, n_rows / batch_size)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = self._norm(gradients)
        numbers = self.recorder.add(step, [*terms, norm])
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        divisor = self._divisor(gradients, norm, numbers)
        if isinstance(self.optimizer, Adam):
            # Adam divides while it reads the gradients, without an extra pass, and changes nothing
            # if there is an infinity that has not been read yet.
            unread = (~norm.isfinite()).any().float() if numbers is None else None
            self.optimizer.apply(None if divisor is None else divisor.float(), unread)
        else:
            if divisor is not None:
                torch._foreach_div_(gradients, divisor)
            self.optimizer.step()

    def _backward(self, step: int, indices: Tensor) -> list[Tensor]:
        """Compute the gradients of this process's rows; return the terms, ``(*members)`` each."""
        for parameter in self.parameters:
            parameter.grad = None
        reseed(self._generator, self._seeds(step))
        pieces = self.pieces.of(indices)
        sums: list[Tensor] = []
        for piece in pieces:
            with self._autocast:
                terms = self._loss(self._source.take(piece), self._generator)
            self.recorder.check(terms)
            total = reduce(add, terms.values())
            values = [term.detach() for term in terms.values()]
            if self._members is not None:
                total = total.sum()  # the gradients of models side by side do not mix
            if len(pieces) > 1:
                share = piece.shape[-1] / indices.shape[-1]
                total, values = share * total, [share * value for value in values]
            total.backward(inputs=self._inputs)
            sums = [a + b for a, b in zip(sums, values, strict=True)] if sums else values
        return sums

    def _sum(self, terms: list[Tensor], share: float) -> list[Tensor]:
        """Add up gradients and terms over the processes, in one message; return the terms.

        Each process counts by its share of the rows.
        """
        tensors = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        tensors += terms
        message = self._processes.sum(torch.cat([t.reshape(-1) for t in tensors]).mul_(share))
        parts = message.split([t.numel() for t in tensors])
        sums = [part.view_as(t).to(t.dtype) for part, t in zip(parts, tensors, strict=True)]
        for parameter, gradient in zip(self.parameters, sums, strict=False):
            parameter.grad = gradient
        return sums[len(self.parameters) :]

    def _norm(self, gradients: list[Tensor]) -> Tensor:
        """Return the norm of the gradient, ``()``, or that of each model, ``(members,)``."""
        norm: Tensor
        if self._members is not None:
            norm = torch.linalg.vector_norm(torch.cat([g.flatten(1) for g in gradients], 1), dim=1)
        elif self._small:
            norm = torch.linalg.vector_norm(_flatten_dense_tensors(gradients))
        else:
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        return norm

    def _divisor(
        self, gradients: list[Tensor], norm: Tensor, numbers: list[list[float]] | None
    ) -> Tensor | None:
        """Return the divisor that scales the gradient to the largest norm; None if it is smaller.

        The gradients of models side by side are divided here, each by the divisor of its model.
        """
        if self._clip is None or (numbers is not None and max(numbers[-1]) <= self._clip):
            return None
        divisor = (norm / self._clip).clamp(min=1)
        if self._members is None:
            return divisor
        torch._foreach_div_(gradients, [divisor.view(-1, *[1] * (g.dim() - 1)) for g in gradients])
        return None


def optimizer_of(objective: Step, learning_rate: float) -> torch.optim.Optimizer:
    """Return the optimiser of a named step, by default fused Adam."""
    parameters = list(objective.parameters)
    if objective.optimizer is not None:
        return objective.optimizer(parameters, learning_rate)
    return Adam(parameters, learning_rate)
