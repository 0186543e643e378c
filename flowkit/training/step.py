"""What is minimised: named steps, each with its parameters and its loss."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from flowkit._checks import check_count
from flowkit.errors import ArgumentError
from flowkit.training.rows import Batch

Loss: TypeAlias = Callable[[Batch, torch.Generator], Mapping[str, Tensor]]
OptimizerFactory: TypeAlias = Callable[[list[nn.Parameter], float], torch.optim.Optimizer]


@dataclass(frozen=True)
class Step:
    """One thing to minimise, by moving some of a model's parameters.

    Args:
        parameters: what is moved.
        loss: ``loss(batch, generator)`` returns the named terms whose sum is minimised, each a
            scalar that is a mean over the rows of the batch. Noise is to be drawn from the
            generator.
        every: the step is taken at every so-manieth step of the fit; or a function of the number
            of the fit's step that says whether it is taken then.
        optimizer: makes the optimiser from parameters and learning rate; fused Adam by default.
        before: called with the number of the fit's step, the first of which is 1, before the loss
            is computed: where the weight of a term, or anything else that changes in the course
            of a fit, is set, or a critic clipped.

    Example:
        >>> weight = nn.Parameter(torch.zeros(()))
        >>> step = Step([weight], lambda batch, _: {"square": (batch.x - weight).square().mean()})
        >>> step.loss(Batch(torch.ones(3)), torch.Generator())["square"].item()
        1.0
    """

    parameters: Iterable[nn.Parameter]
    loss: Loss
    every: int | Callable[[int], bool] = 1
    optimizer: OptimizerFactory | None = None
    before: Callable[[int], object] | None = None

    def __post_init__(self) -> None:
        if not callable(self.every):
            check_count("every", self.every)
        moved = tuple(p for p in self.parameters if p.requires_grad)
        if not moved:
            raise ArgumentError("parameters", "at least one that requires a gradient", "none")
        object.__setattr__(self, "parameters", moved)

    def is_taken(self, number: int) -> bool:
        """Return whether the step is taken at this step of the fit."""
        return self.every(number) if callable(self.every) else number % self.every == 0


def maximum_likelihood(model: nn.Module) -> Step:
    """Return the step that maximises the likelihood of a model with ``log_prob(x, context)``.

    Its one term is the mean of ``-weight * log_prob``, in nats. If the model has ``observe``, as
    a `flowkit.distributions.Distribution` has, its result is scored in the place of the rows.

    Example:
        >>> from flowkit.flows import maf
        >>> maximum_likelihood(maf(2)).loss(Batch(torch.zeros(1, 2)), torch.Generator())
        {'negative_log_likelihood': tensor(1.8379, grad_fn=<MeanBackward0>)}
    """
    observe = getattr(model, "observe", None)

    def loss(batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        if observe is not None:
            batch = batch._replace(x=observe(batch.x, generator))
        return {"negative_log_likelihood": negative_log_likelihood(model, batch)}

    return Step(model.parameters(), loss)


def negative_log_likelihood(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean of ``-weight * log_prob`` over a batch, in nats, ``()``."""
    given = () if batch.context is None else (batch.context,)
    values: Tensor = -model.log_prob(batch.x, *given)  # type: ignore[operator]
    if batch.weights is not None:
        # A row without weight has no say, whatever its density.
        values = torch.where(batch.weights > 0, batch.weights * values, 0)
    return values.mean()


def steps_of(model: nn.Module, objective: Any, options: Mapping[str, Any]) -> dict[str, Step]:
    """Return the named steps that a model is trained by.

    Args:
        model: has ``training_steps(**options)``, or ``log_prob``.
        objective: a mapping of steps that is taken as it is; anything else is the model's option
            of that name.
        options: handed to the model's ``training_steps``.

    Raises:
        ArgumentError: the model has no steps, or no use for the options.
    """
    if isinstance(objective, Mapping):
        steps = dict(objective)
    elif hasattr(model, "training_steps"):
        if objective is not None:
            options = {"objective": objective, **options}
        known = inspect.signature(model.training_steps).parameters  # type: ignore[arg-type]
        takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
        for option in options:
            if option not in known and not takes_any:
                expected = "no such option: the model does not take it"
                raise ArgumentError(option, expected, repr(options[option]))
        return dict(model.training_steps(**options))  # type: ignore[operator]
    elif hasattr(model, "log_prob"):
        if objective is not None:
            raise ArgumentError("objective", "named steps for a model without its own", objective)
        steps = {"likelihood": maximum_likelihood(model)}
    else:
        name = type(model).__name__
        raise ArgumentError("model", "one with log_prob or training_steps, or an objective", name)
    for option in options:
        raise ArgumentError(option, "no such option: nothing here takes it", options[option])
    if not steps:
        raise ArgumentError("objective", "at least one step", objective)
    return steps
