"""Fit of one batched network whose models have rows of their own, such as those of their folds."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from flowkit.training.data import MemberRows
from flowkit.training.evaluation import Evaluation
from flowkit.training.history import History
from flowkit.training.loop import Loop
from flowkit.training.options import Options
from flowkit.training.rows import Batch, Order, TrainingRows
from flowkit.training.runtime import Runtime
from flowkit.training.schedule import Schedule
from flowkit.training.step import objectives_of

# Least number of steps in which the learning rate falls.
_LEAST_STEPS = 60


def fit_stacked(
    model: nn.Module,
    rows: Sequence[Batch],
    validation: Sequence[Batch],
    options: Options,
    *,
    seeds: Sequence[int],
) -> list[History]:
    """Fit a module of E stacked models, each on its own rows, and with its own best weights.

    Args:
        model: has ``training_steps()``, whose losses take batches ``(E, batch, ...)`` and return
            terms of shape ``(E,)``, and ``validation_loss``. Every tensor of its ``state_dict``
            has a leading dimension E. It is trained in place.
        rows: the rows of each model to train on: all with weights, or all with a context, or none.
        validation: the rows that each model is validated on.
        options: the options of the fit.
        seeds: the seed of the order of the rows of each model.

    Returns:
        The history of each model.
    """
    runtime = Runtime.of(model, options, seed=seeds[0], members=len(rows))
    model.to(runtime.device)
    most = max(len(batch.x) for batch in rows)
    size = options.batch_size_for(most)
    training, indices = _joined(rows, runtime)
    orders = [Order(i, size, seed) for i, seed in zip(indices, seeds, strict=True)]
    held_out, held_out_indices = _joined(validation, runtime)
    evaluation = Evaluation(
        model.validation_loss,  # type: ignore[arg-type]
        held_out,
        held_out_indices.to(runtime.device),
        name="validation",
        runtime=runtime,
    )
    return Loop(
        model,
        objectives_of(model, None, {}),
        TrainingRows(
            training,
            indices.to(runtime.device),
            lambda step: torch.stack([order(step) for order in orders]).to(runtime.device),
        ),
        total_steps=options.total_steps_for(most),
        evaluation=evaluation,
        options=options,
        runtime=runtime,
        checkpoint=None,
    ).run()


def fit_until_learnt(
    model: nn.Module,
    rows: Sequence[Batch],
    validation: Sequence[Batch],
    options: Options,
    *,
    seeds: Sequence[int],
    decay: float,
) -> list[tuple[History, History]]:
    """Fit stacked models at a constant learning rate, which then falls to zero.

    The rate is constant until no model's validation loss falls any more, or a share of
    ``options.steps`` is taken. Then it falls to zero, in steps that are a share of those taken so
    far. So models that have learnt soon cost few steps, and no schedule has to know when.

    Args:
        model: as of `fit_stacked`; so are ``rows``, ``validation`` and ``seeds``.
        rows: the rows of each model to train on.
        validation: the rows that each model is validated on.
        options: steps and seconds of both phases together; the patience of the first one, of which
            the second has twice as much. The schedule is set here.
        seeds: the seed of the order of the rows of each model.
        decay: share of the steps in which the rate falls.

    Returns:
        For each model the histories of both phases.

    Reference: Hägele, Bakouch, Kosson, Ben Allal, von Werra and Jaggi, *Scaling laws and
    compute-optimal training beyond fixed training durations*, 2024, section 3.
    """
    steps, limit, patience = options.steps or 1, options.max_seconds, options.patience or 1

    def phase(steps: int, share: float, patience: int, schedule: str | Schedule) -> list[History]:
        own = replace(
            options,
            steps=steps,
            max_seconds=None if limit is None else share * limit,
            patience=patience,
            schedule=schedule,
        )
        return fit_stacked(model, rows, validation, own, seeds=seeds)

    first = phase(max(round((1 - decay) * steps), 1), 1 - decay, patience, "constant")
    longest = max(history.best_step for history in first)
    last = max(round(decay / (1 - decay) * longest), _LEAST_STEPS)
    second = phase(last, decay, 2 * patience, lambda done: 1 - done)
    return list(zip(first, second, strict=True))


def _joined(parts: Sequence[Batch], runtime: Runtime) -> tuple[MemberRows, Tensor]:
    """Return the rows of all models end to end, and the indices of each model's, ``(E, most)``.

    Where models have fewer rows than others, a row of weight zero fills the place.
    """
    most = max(len(part.x) for part in parts)
    total = sum(len(part.x) for part in parts)
    indices = torch.full((len(parts), most), total)
    weights, start = [], 0
    for i, part in enumerate(parts):
        count = len(part.x)
        indices[i, :count] = torch.arange(start, start + count)
        own = torch.ones(count) if part.weights is None else part.weights.double()
        weights.append(own * most / own.sum())
        start += count
    x = torch.cat([*(part.x for part in parts), parts[0].x[:1]])
    context = None
    if parts[0].context is not None:
        contexts = [part.context for part in parts if part.context is not None]
        context = torch.cat([*contexts, contexts[0][:1]])
    weight = torch.cat([*weights, torch.zeros(1)]).to(x.dtype)
    device = runtime.device
    return MemberRows(
        x.to(device),
        None if context is None else context.to(device),
        weight.to(device),
        members=len(parts),
    ), indices
