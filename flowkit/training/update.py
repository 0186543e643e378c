"""One named step at work: gradients, clipping, and the optimiser."""

from contextlib import AbstractContextManager
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors

from flowkit.training.adam import Adam
from flowkit.training.ledger import Ledger
from flowkit.training.memory import Pieces
from flowkit.training.processes import Processes
from flowkit.training.rows import Source
from flowkit.training.seeds import StepSeeds, reseed
from flowkit.training.step import Loss, Step

# Up to this many numbers are copied side by side to take their norm, which costs less than a call
# for each tensor; beyond it, the copy would cost more.
_SMALL = 1_000_000


class Update:
    """Takes one named step of a fit, whenever its turn comes.

    Args:
        step: what is minimised.
        loss: its loss, compiled or not.
        source: the rows.
        ledger: where the terms are written down.
        members: number of models stacked along the first dimension of every parameter, or None.
        optimizer: of the step's parameters, at the first learning rate.
        clip: largest norm of the gradient (of each model), or None.
        alone: whether there are no other steps, whose parameters must get no gradient.
        processes: among which a batch is shared out.
        pieces: in which a batch is computed.
        autocast: what the loss is computed under; entered anew each time.
        seeds: of the generator that the loss draws from.
    """

    def __init__(
        self,
        step: Step,
        *,
        loss: Loss,
        source: Source,
        ledger: Ledger,
        optimizer: torch.optim.Optimizer,
        members: int | None,
        clip: float | None,
        alone: bool,
        processes: Processes,
        pieces: Pieces,
        autocast: AbstractContextManager[Any],
        seeds: StepSeeds,
    ) -> None:
        self.is_taken = step.is_taken
        self.ledger = ledger
        self.optimizer = optimizer
        self.parameters = list(step.parameters)
        # To be told what gets a gradient costs torch a walk through the graph.
        self._inputs = None if alone else self.parameters
        self._before, self._loss, self._source = step.before, loss, source
        self._members, self._clip = members, clip
        self._processes, self.pieces = processes, pieces
        self._autocast, self._seeds = autocast, seeds
        self._generator = torch.Generator(processes.device)
        # A factory may have given its groups rates of their own: each is scheduled.
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self._small = sum(p.numel() for p in self.parameters) <= _SMALL

    def __call__(self, step: int, rows: Tensor, factor: float) -> None:
        """Take the step.

        Args:
            step: its number.
            rows: the rows of the global batch, ``(batch,)``, or ``(members, batch)``.
            factor: of the learning rate.

        Raises:
            TrainingError: the loss or the gradient is no finite number. Nothing has moved then.
        """
        if self._before is not None:
            self._before(step)
        batch = rows.shape[-1]
        if self._processes.size > 1:
            rows = rows[..., self._processes.share(batch)]
        terms = self.pieces.attempt(lambda: self._backward(step, rows), rows.shape[-1])
        if self._processes.size > 1:
            terms = self._sum(terms, rows.shape[-1] / batch)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = self._norm(gradients)
        known = self.ledger.add(step, [*terms, norm])
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        divisor = self._divisor(gradients, norm, known)
        if isinstance(self.optimizer, Adam):
            # It divides while it reads the gradients, in no pass of its own, and leaves
            # everything as it is where there is an infinity that nobody has looked at.
            unseen = (~norm.isfinite()).any().float() if known is None else None
            self.optimizer.apply(None if divisor is None else divisor.float(), unseen)
        else:
            if divisor is not None:
                torch._foreach_div_(gradients, divisor)
            self.optimizer.step()

    def _backward(self, step: int, rows: Tensor) -> list[Tensor]:
        """Compute the gradients of this process's rows; return the terms, ``(*members)`` each."""
        for parameter in self.parameters:
            parameter.grad = None
        reseed(self._generator, self._seeds(step))
        pieces = self.pieces.of(rows)
        sums: list[Tensor] = []
        for piece in pieces:
            with self._autocast:
                terms = self._loss(self._source.take(piece), self._generator)
            self.ledger.check(terms)
            total = reduce(add, terms.values())
            values = [term.detach() for term in terms.values()]
            if self._members is not None:
                total = total.sum()  # the gradients of models side by side do not mix
            if len(pieces) > 1:
                share = piece.shape[-1] / rows.shape[-1]
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
        self, gradients: list[Tensor], norm: Tensor, known: list[list[float]] | None
    ) -> Tensor | None:
        """Return what scales the gradient to the largest norm allowed, None where it is within.

        The gradients of models side by side are scaled right here, each by its own norm.
        """
        if self._clip is None or (known is not None and max(known[-1]) <= self._clip):
            return None
        divisor = (norm / self._clip).clamp(min=1)
        if self._members is None:
            return divisor
        torch._foreach_div_(gradients, [divisor.view(-1, *[1] * (g.dim() - 1)) for g in gradients])
        return None


def optimizer_of(step: Step, learning_rate: float) -> torch.optim.Optimizer:
    """Return the optimiser that a step asks for, by default fused Adam."""
    parameters = list(step.parameters)
    if step.optimizer is not None:
        return step.optimizer(parameters, learning_rate)
    return Adam(parameters, learning_rate)
