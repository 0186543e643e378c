"""Fitting a model to rows."""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flowkit._checks import kind_of
from flowkit.errors import ArgumentError
from flowkit.training.checkpoint import Checkpoint
from flowkit.training.data import Data
from flowkit.training.evaluation import Evaluation
from flowkit.training.history import History
from flowkit.training.looks import look_at
from flowkit.training.loop import Loop, State
from flowkit.training.options import DTYPES, Options, Progress, named
from flowkit.training.processes import Processes, device_of, home_of
from flowkit.training.rows import Batch
from flowkit.training.schedule import Schedule
from flowkit.training.step import Step, steps_of


def fit(
    model: nn.Module,
    data: Tensor,
    *,
    context: Tensor | None = None,
    weights: Tensor | None = None,
    validation: float | Tensor | Batch | tuple[Tensor, ...] | None = None,
    objective: Mapping[str, Step] | Any = None,
    seed: int = 0,
    steps: int | None = None,
    batch_size: int = 512,
    learning_rate: float | None = None,
    schedule: str | Schedule = "cosine",
    clip: float | None = 5.0,
    average: float | None = None,
    patience: int | None = None,
    validate_every: int | None = None,
    precision: Literal["32", "64", "bf16-mixed"] | None = None,
    device: str | torch.device = "auto",
    compile: bool | Literal["auto"] = False,
    progress: bool | Progress | None = None,
    callbacks: Sequence[Callable[[State], object]] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1_000,
    resume: bool = True,
    max_seconds: float | None = None,
    **options: Any,
) -> History:
    """Fit a model to rows, by maximum likelihood unless told otherwise.

    Adam, with the gradient clipped by norm and a learning rate that falls to zero. The same seed,
    data, number of threads and torch version give the same weights on a machine. Torch's random
    state is left as it was, and so is the model's device.

    Under ``torchrun`` every process computes its share of each batch: the weights are those that
    one process would find, but for rounding (and for batch norm and noise, which see a share
    only). If one process dies the others end with an error.

    Args:
        model: a flow, or anything with ``log_prob(x, context)``, or with
            ``training_steps(**options)`` that returns named `Step`s; trained in place, and left
            in ``eval()``. If it has ``check_rows(x, context)``, that sees the rows before the
            first step, and may refuse them.
        data: rows, ``(rows, *event_shape)``.
        context: ``(rows, *context_shape)`` if the model asks for it.
        weights: of the rows, ``(rows,)``: non-negative and not all zero. Twice the weight has the
            effect of a row that stands there twice.
        validation: share of the rows to hold out, or other rows: a tensor, or a tuple or `Batch`
            of them, their context and their weights. The model is left with the weights that
            scored best on them, by its ``validation_loss(batch, generator)`` if it has one, or
            else by the loss of its first step. None: train on every row, keep the last weights.
        objective: named `Step`s to take instead of the model's; anything else is an option of
            the model's ``training_steps``.
        seed: of the split, the order of rows and all noise.
        steps: number of steps; by default 30 epochs, but 1,000 to 20,000 steps.
        batch_size: rows per step, in all processes together.
        learning_rate: the learning rate of the first step; by default the model's
            ``default_learning_rate``, or 1e-3.
        schedule: "cosine", "constant", or a function from the fraction of steps taken, 0 to 1, to
            a factor of the learning rate.
        clip: largest norm of the gradient of a step, or None.
        average: decay, e.g. 0.999, of an exponential moving average of the weights, which
            is what is validated and what the model is left with. Batch norms take their running
            statistics anew from training rows then: those of averaged weights are their own.
        patience: number of validations in a row without a better score that end the fit.
        validate_every: steps between two validations; by default 100, more for many rows.
        precision: "32" or "64" convert model and data; "bf16-mixed" computes the matrix products
            of conditioners in bfloat16, everything else as it is; None leaves all as it is.
        device: where to train; by default on the model's, or an accelerator if there is one.
        compile: whether losses go through ``torch.compile``, which takes a while at first;
            "auto" does it for fits of 10,000 steps or more. Without a compiler there is a
            warning, and no compiling.
        progress: True for a bar, or lines where there is no terminal; or a function that is
            called with (step, steps, loss) after each step.
        callbacks: functions that are called with a `State` after each step.
        checkpoint: file that the state of the fit is kept in.
        checkpoint_every: steps between two checkpoints.
        resume: whether to go on from the checkpoint, if there is one. On the CPU that ends in the
            very weights that an undisturbed fit would have found; a fit that is done is not
            repeated.
        max_seconds: end after this time; the result then depends on the clock.
        options: handed to the model's ``training_steps``.

    Returns:
        The history.

    Raises:
        ArgumentError: a bad option, rows that do not fit each other, or a checkpoint of other
            data or arguments.
        ModelFileError: the checkpoint is damaged, or of another model, as the names of its modules,
            what they say in ``extra_repr``, and their weights tell.
        TrainingError: the loss or its gradient turned NaN or infinite: step and term are named,
            and the model is left with the best weights, or the last. Or another process died.

    Example:
        >>> from flowkit.flows import maf
        >>> history = fit(maf(2, layers=1), torch.randn(256, 2), steps=5)
        >>> len(history.loss)
        5
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError("model", "a module, such as flowkit.flows.maf(2)", kind_of(model))
    if learning_rate is None:
        learning_rate = getattr(model, "default_learning_rate", 1e-3)
    settings = Options(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule=schedule,
        clip=clip,
        average=average,
        patience=patience,
        validate_every=validate_every,
        precision=precision,
        device=device,
        compile=compile,
        progress=progress,
        callbacks=callbacks,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        resume=resume,
        max_seconds=max_seconds,
    )
    (history,) = train(
        model,
        Data(data, context, weights, validation, seeds=(seed,)),
        settings,
        seeds=(seed,),
        validation=validation,
        objective=objective,
        extra=options,
    )
    return history


def train(
    model: nn.Module,
    data: Data,
    options: Options,
    *,
    seeds: tuple[int, ...],
    validation: Any,
    objective: Any,
    extra: Mapping[str, Any],
    members: int | None = None,
) -> list[History]:
    """Fit a model, or several that are stacked into one, to checked rows; return the histories."""
    home = home_of(model)
    processes = Processes.join(device_of(model, options.device))
    try:
        model.to(processes.device, DTYPES.get(options.precision or ""))
        return _loop(
            model,
            data,
            options,
            processes=processes,
            seeds=seeds,
            validation=validation,
            objective=objective,
            extra=extra,
            members=members,
        ).run()
    finally:
        model.to(home)


def _loop(
    model: nn.Module,
    data: Data,
    options: Options,
    *,
    processes: Processes,
    seeds: tuple[int, ...],
    validation: Any,
    objective: Any,
    extra: Mapping[str, Any],
    members: int | None,
) -> Loop:
    """Put the parts of a fit together."""
    device, dtype = processes.device, DTYPES.get(options.precision or "")
    rows = data.train.shape[-1]
    batch_size, total = options.batch_for(rows), options.steps_for(rows)
    if batch_size < processes.size:
        expected = f"a row for each of the {processes.size} processes"
        raise ArgumentError("batch_size", expected, batch_size)
    named_steps = steps_of(model, objective, extra)
    autocast: AbstractContextManager[Any] = nullcontext()
    if options.precision == "bf16-mixed":
        autocast = torch.autocast(device.type, dtype=torch.bfloat16)
    source = data.source(device, dtype)
    look_at(model, source)
    held_out = data.validation_source(device, dtype)
    if held_out is not None:
        look_at(model, held_out, validation=True)
    _warn_of_steps_not_taken(named_steps, total)
    evaluation = None
    if data.held_out is not None:
        evaluation = Evaluation(
            getattr(model, "validation_loss", next(iter(named_steps.values())).loss),
            held_out or source,
            data.held_out.to(device),
            processes=processes,
            autocast=autocast,
            seed=seeds[0],
        )
    elif options.patience is not None:
        raise ArgumentError("patience", "None without validation", options.patience)
    checkpoint = None
    if options.checkpoint is not None:
        arguments = {
            "steps": total,
            "batch_size": batch_size,
            **options.arguments(),
            "validation": validation if isinstance(validation, float) else None,
            "seed": list(seeds),
            "objective": [
                None if isinstance(objective, Mapping) else named(objective),
                *([name, named(step.every)] for name, step in named_steps.items()),
            ],
            **{name: named(value) for name, value in extra.items()},
        }
        checkpoint = Checkpoint(
            options.checkpoint, model=model, arguments=arguments, data=data.given
        )
    return Loop(
        model,
        named_steps,
        source=source,
        order=data.order(batch_size, device),
        train=data.train.to(device),
        total=total,
        evaluation=evaluation,
        options=options,
        autocast=autocast,
        seed=seeds[0],
        processes=processes,
        checkpoint=checkpoint,
        members=members,
    )


def _warn_of_steps_not_taken(steps: Mapping[str, Step], total: int) -> None:
    for name, step in steps.items():
        if not any(step.is_taken(number) for number in range(1, total + 1)):
            warnings.warn(
                f"steps: in {total} of them {name!r} is never taken, and what it moves stays as "
                "it is",
                stacklevel=5,  # who has called `fit`
            )
