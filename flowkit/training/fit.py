"""Fit of a model to rows: the public function and its parts."""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flowkit._checks import kind_of
from flowkit.errors import ArgumentError
from flowkit.training.checkpoint import Checkpoint, named
from flowkit.training.data import Data, KeepsFloat64
from flowkit.training.evaluation import Evaluation
from flowkit.training.history import History
from flowkit.training.loop import Loop
from flowkit.training.options import Options, Progress
from flowkit.training.processes import home_of
from flowkit.training.rows import Batch
from flowkit.training.runtime import Runtime
from flowkit.training.schedule import Schedule
from flowkit.training.standardising import Standardising
from flowkit.training.state import State
from flowkit.training.step import Step, check_rows, objectives_of


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
    standardize: bool = True,
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
    """Fit a model to rows, by maximum likelihood or by the model's own named steps.

    The optimiser is Adam, with the gradient clipped by norm and a learning rate that falls to
    zero. The same seed, data, number of threads and torch version give the same weights on a
    machine. Torch's random state and the model's device are restored at the end.

    Under ``torchrun`` every process computes its share of each batch. The weights are those of one
    process up to rounding; only batch norm and noise differ, as they see a share. If one process
    dies, the others end with an error.

    Args:
        model: a flow, or a module with ``log_prob(x, context)``, or one with
            ``training_steps(**options)`` that returns named `Step`s. It is trained in place, and
            is in ``eval()`` mode at the end. If it has ``check_rows(x, context)``, that gets the
            rows before the first step, and may refuse them.
        data: rows, ``(rows, *event_shape)``.
        context: ``(rows, *context_shape)``, if the model takes context.
        weights: weights of the rows, ``(rows,)``: non-negative and not all zero. Weight 2 has the
            effect of two equal rows of weight 1.
        validation: share of the rows to hold out, or other rows: a tensor, or a tuple or `Batch`
            of rows, their context and their weights. The model ends with the weights of the best
            score, those before the first step included. The score is the model's
            ``validation_loss(batch, generator)``, or without one the loss of its first named
            step. None: train on every row, and keep the last weights.
        objective: named `Step`s that replace those of the model; anything else is an option of
            the model's ``training_steps``.
        seed: random seed of the split, the order of rows and all noise.
        steps: number of steps; by default 30 epochs, but 1,000 to 20,000 steps.
        batch_size: rows per step, in all processes together.
        learning_rate: the learning rate of the first step; by default the model's
            ``default_learning_rate``, or 1e-3.
        schedule: "cosine", "constant", or a function from the fraction of steps taken, 0 to 1, to
            a factor of the learning rate.
        clip: largest norm of the gradient of a step, or None.
        standardize: whether a flow that is trained by its likelihood is standardised first, see
            `flowkit.flows.standardize`. The flow then starts with a map of its rows, and one of
            their contexts, to mean 0 and variance 1, from moments of the training rows in
            float64. Columns with these moments have no map; a flow that has been standardised
            before keeps its maps. Rows in float64 are standardised in float64, whatever the
            precision.
        average: decay, e.g. 0.999, of an exponential moving average of the weights. The average
            is validated, and is what the model ends with. Batch norms then take their running
            statistics anew from training rows, under the averaged weights.
        patience: number of validations in a row without a better score that end the fit.
        validate_every: steps between two validations; by default 100, more for many rows.
        precision: "32" or "64" convert model and data; "bf16-mixed" computes the matrix products
            of conditioners in bfloat16; None converts nothing.
        device: device of the fit; by default the model's, or an accelerator if there is one.
        compile: whether losses go through ``torch.compile``, which takes a while at first;
            "auto" compiles in fits of 10,000 steps or more. Without a compiler there is a
            warning, and losses are not compiled.
        progress: True for a bar, or lines where there is no terminal; or a function that is
            called with (step, steps, loss) after each step.
        callbacks: functions that are called with a `State` after each step.
        checkpoint: file that the state of the fit is kept in.
        checkpoint_every: steps between two checkpoints.
        resume: whether to continue from the checkpoint, if there is one. On the CPU the final
            weights are then those of an undisturbed fit, to the bit. A finished fit is not
            repeated.
        max_seconds: end after this time; the result then depends on the clock.
        options: passed to the model's ``training_steps``.

    Returns:
        The history.

    Raises:
        ArgumentError: a bad option, rows that do not fit each other, or a checkpoint of other
            data or arguments.
        DataError: a validation row holds NaN or infinity, or is impossible under the model.
        ModelFileError: the checkpoint is damaged, or of another model: the names of modules, their
            ``extra_repr``, or the shapes of weights differ.
        TrainingError: the loss or its gradient is NaN or infinite. The error names step and term;
            the model has the best weights, or without validation the last. Also raised if no
            validation score is finite, or another process died.

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
        standardize=standardize,
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
    rows = Data(data, context, weights, validation, seeds=(seed,))
    (history,) = train([model], rows, settings, objective=objective, extra=options)
    return history


def train(
    models: Sequence[nn.Module],
    data: Data,
    options: Options,
    *,
    objective: Any,
    extra: Mapping[str, Any],
    stack: Callable[[Sequence[nn.Module]], nn.Module] | None = None,
) -> list[History]:
    """Fit one model, or several that ``stack`` combines; return their histories.

    Args:
        models: the models.
        data: the rows, checked.
        options: the options that all fits share.
        objective: named steps, or an option of the model's ``training_steps``.
        extra: the other options of the model's ``training_steps``.
        stack: makes one module of the models; None for a single model.
    """
    home, loop, model = home_of(models[0]), None, models[0]
    runtime = Runtime.of(model, options, seed=data.seeds[0], members=data.members)
    if stack is None:
        model.to(runtime.device, runtime.dtype)
    standardising = Standardising(models, data, options, runtime, objective)
    try:
        standardising.apply()
        standardising.warn()
        if stack is not None:
            model = stack(models)
            model.to(runtime.device)
        loop = _loop(
            model,
            data,
            options,
            objective=objective,
            extra=extra,
            runtime=runtime,
            keeps_float64=standardising.keeps_float64(),
        )
        return loop.run()
    except BaseException:
        if loop is None or loop.state.step == 0:
            standardising.undo()  # nothing has been trained
        raise
    finally:
        model.to(home)


def _loop(
    model: nn.Module,
    data: Data,
    options: Options,
    *,
    objective: Any,
    extra: Mapping[str, Any],
    runtime: Runtime,
    keeps_float64: KeepsFloat64,
) -> Loop:
    """Return the loop of a fit, from its parts."""
    n_rows = data.train_indices.shape[-1]
    batch_size, total_steps = options.batch_size_for(n_rows), options.total_steps_for(n_rows)
    if batch_size < runtime.processes.size:
        expected = f"a row for each of the {runtime.processes.size} processes"
        raise ArgumentError("batch_size", expected, batch_size)
    objectives = objectives_of(model, objective, extra)
    source = data.source(runtime, keeps_float64)
    check_rows(model, source)
    validation_rows = data.validation_rows(runtime, keeps_float64)
    if validation_rows is not None:
        check_rows(model, validation_rows, validation=True)
    _warn_of_steps_not_taken(objectives, total_steps)
    evaluation = None
    if data.validation_indices is not None:
        evaluation = Evaluation(
            getattr(model, "validation_loss", next(iter(objectives.values())).loss),
            validation_rows or source,
            data.validation_indices.to(runtime.device),
            name="data" if validation_rows is None else "validation",
            runtime=runtime,
        )
    elif options.patience is not None:
        raise ArgumentError("patience", "validation=... beside it", f"{options.patience} alone")
    checkpoint = None
    if options.checkpoint is not None:
        named_objective = None if isinstance(objective, Mapping) else objective
        every = [(name, step.every) for name, step in objectives.items()]
        arguments = {
            "steps": total_steps,
            "batch_size": batch_size,
            **options.decisive(),
            "schedule": named(options.schedule),
            "validation": data.validation_share,
            "seed": list(data.seeds),
            "objective": named([named_objective, *every]),
            **{name: named(value) for name, value in extra.items()},
        }
        checkpoint = Checkpoint(
            options.checkpoint, model=model, arguments=arguments, data=data.tensors
        )
    return Loop(
        model,
        objectives,
        data.training_rows(source, batch_size, runtime.device),
        total_steps=total_steps,
        evaluation=evaluation,
        options=options,
        runtime=runtime,
        checkpoint=checkpoint,
    )


def _warn_of_steps_not_taken(objectives: Mapping[str, Step], total_steps: int) -> None:
    for name, objective in objectives.items():
        if not any(objective.is_taken(number) for number in range(1, total_steps + 1)):
            warnings.warn(
                f"in {total_steps} steps {name!r} is never taken: its parameters stay as they are. "
                "Give more steps",
                stacklevel=5,  # the caller of `fit`
            )
