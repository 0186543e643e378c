"""Named steps of a fit, each with its parameters and its loss."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from flowkit._checks import check_count
from flowkit.errors import ArgumentError, DtypeError, FlowkitError, ShapeError
from flowkit.training.rows import Batch, Rows
from flowkit.training.seeds import random_state_restored

Loss: TypeAlias = Callable[[Batch, torch.Generator], Mapping[str, Tensor]]
OptimizerFactory: TypeAlias = Callable[[list[nn.Parameter], float], torch.optim.Optimizer]


@dataclass(frozen=True)
class Step:
    """A loss, and the parameters of a model that minimise it.

    Args:
        parameters: the parameters; those without a gradient are left out.
        loss: ``loss(batch, generator)`` returns the named terms whose sum is minimised, each a
            scalar that is a mean over the rows of the batch. Noise must come from the generator.
        every: take this step once every ``every`` steps of the fit; or a function of the number
            of the fit's step that returns whether this step is taken.
        optimizer: makes the optimiser from parameters and learning rate; fused Adam by default.
        before: called with the number of the fit's step, the first of which is 1, before the loss
            is computed. It may set the weight of a term, clip a critic, or change anything else
            in the course of a fit.

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
        trained = tuple(p for p in self.parameters if p.requires_grad)
        if not trained:
            raise ArgumentError("parameters", "at least one that requires a gradient", "none")
        object.__setattr__(self, "parameters", trained)

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
    context = () if batch.context is None else (batch.context,)
    values: Tensor = -model.log_prob(batch.x, *context)  # type: ignore[operator]
    if batch.weights is not None:
        # A row of weight zero has no effect, even if its density is zero or NaN.
        values = torch.where(batch.weights > 0, batch.weights * values, 0)
    return values.mean()


def objectives_of(model: nn.Module, objective: Any, options: Mapping[str, Any]) -> dict[str, Step]:
    """Return the named steps that a model is trained by.

    Args:
        model: has ``training_steps(**options)``, or ``log_prob``.
        objective: a mapping of steps that is taken as it is; anything else is the model's option
            of that name.
        options: passed to the model's ``training_steps``.

    Raises:
        ArgumentError: the model has no steps, or does not take one of the options.
    """
    if isinstance(objective, Mapping):
        objectives = dict(objective)
    elif hasattr(model, "training_steps"):
        if objective is not None:
            options = {"objective": objective, **options}
        taken = inspect.signature(model.training_steps).parameters  # type: ignore[arg-type]
        takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken.values())
        for option in options:
            if option not in taken and not takes_any:
                raise _unknown(option, options[option], list(taken))
        return dict(model.training_steps(**options))  # type: ignore[operator]
    elif hasattr(model, "log_prob"):
        if objective is not None:
            raise ArgumentError("objective", "named steps for a model without its own", objective)
        objectives = {"likelihood": maximum_likelihood(model)}
    else:
        name = type(model).__name__
        raise ArgumentError(
            "model", "a module with log_prob or training_steps, or objective=...", name
        )
    for option in options:
        raise _unknown(option, options[option], [])
    if not objectives:
        raise ArgumentError("objective", "at least one step", objective)
    return objectives


def _unknown(option: str, value: object, taken: Sequence[str]) -> ArgumentError:
    of_model = f", and those of the model: {', '.join(taken)}" if taken else ""
    expected = f"no such option (options are those of fit{of_model})"
    return ArgumentError(option, expected, repr(value))


def check_rows(model: nn.Module, rows: Rows, *, validation: bool = False) -> None:
    """Check rows by the model's ``check_rows(x, context)``, if it has one, before the first step.

    Args:
        model: the model.
        rows: all rows, as training passes them to the model.
        validation: whether the rows are the argument ``validation``, which errors then name.

    Raises:
        ArgumentError: the model refuses the rows, or its parts do not fit them.
    """
    check: Any = getattr(model, "check_rows", None)
    if check is None:
        return
    x = rows.x
    weights = next(model.parameters(), x)
    if x.is_floating_point() and weights.is_floating_point() and x.dtype != weights.dtype:
        expected = f"{weights.dtype}, as the weights of the model are (or give a precision)"
        raise DtypeError("validation" if validation else "data", expected, x.dtype)
    try:
        with random_state_restored(x.device):
            check(x, rows.context)
    except ArgumentError as error:
        if not validation:
            raise
        raise error.of("validation") from error
    except RuntimeError as error:
        if isinstance(error, FlowkitError):
            raise
        expected = "parts that fit the rows and one another"
        raise ShapeError("model", expected, str(error).splitlines()[0]) from error
