"""Maximum likelihood by Adam: the loop that every flow can be trained by."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from flowkit._checks import check_count, check_positive
from flowkit.errors import ArgumentError, ShapeError, TrainingError
from flowkit.flows import Flow
from flowkit.transforms import BatchNorm, calibrate

# Steps between two looks at the validation rows.
_STEPS_BETWEEN_VALIDATIONS = 100
# Rows that batch norm is calibrated on before one; at the end it is the whole training set.
_CALIBRATION_ROWS = 10_000


@dataclass
class History:
    """What happened in training.

    Attributes:
        loss: mean negative log-likelihood of each step's batch, in nats.
        validation: ``(step, mean negative log-likelihood of the validation rows)``, in nats.
        best_step: the step whose weights the flow was left with.
    """

    loss: list[float] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)
    best_step: int = 0


def fit(
    flow: Flow,
    x: Tensor,
    *,
    context: Tensor | None = None,
    validation: float | None = None,
    steps: int | None = None,
    batch_size: int = 512,
    learning_rate: float = 1e-3,
    clip: float = 5.0,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> History:
    """Fit a flow to rows by maximum likelihood.

    Adam with a learning rate that falls to zero along a cosine, and gradients clipped by norm.
    Batch norm is calibrated before each validation and at the end. The same seed, data and torch
    version give the same weights on a machine.

    Args:
        flow: the flow; trained in place.
        x: rows, ``(rows, *event_shape)``.
        context: ``(rows, context_features)`` if the flow asks for it.
        validation: share of the rows to hold out; the flow is left with the weights that scored
            best on them. None: train on every row, keep the last weights.
        steps: number of steps; by default 30 epochs, but 1,000 to 20,000 steps.
        batch_size: rows per step.
        learning_rate: the learning rate of the first step.
        clip: largest norm of the gradient.
        seed: of the split and of the order of rows.
        progress: called with (step, steps, loss) after each step.

    Returns:
        The history.

    Raises:
        ArgumentError: a bad option, or ``x`` has no rows.
        TrainingError: the loss turned NaN or infinite; the step is named.

    Example:
        >>> from flowkit.flows import maf
        >>> history = fit(maf(2, layers=1), torch.randn(256, 2), steps=5)
        >>> len(history.loss)
        5
    """
    check_count("batch_size", batch_size)
    check_positive("learning_rate", learning_rate)
    check_positive("clip", clip)
    check_count("seed", seed, minimum=0)
    if len(x) == 0:
        raise ArgumentError("x", "at least one row", tuple(x.shape))
    if context is not None and len(context) != len(x):
        raise ShapeError("context", f"{len(x)} rows, as x has", tuple(context.shape))
    order = torch.randperm(len(x), generator=_generator(seed, 0))
    held_out = 0
    if validation is not None:
        if not 0 < validation < 1 or not 0 < round(validation * len(x)) < len(x):
            raise ArgumentError("validation", "a share that leaves rows on both sides", validation)
        held_out = round(validation * len(x))
    valid, train = order[:held_out], order[held_out:]
    batch_size = min(batch_size, len(train))
    if steps is None:
        steps = min(max(30 * len(train) // batch_size, 1_000), 20_000)
    check_count("steps", steps)

    def rows_of(rows: Tensor) -> tuple[Tensor, Tensor | None]:
        return x[rows], None if context is None else context[rows]

    def loss_of(rows: Tensor) -> Tensor:
        return -flow.log_prob(*rows_of(rows)).mean()

    normalized = any(isinstance(module, BatchNorm) for module in flow.modules())

    optimizer = torch.optim.Adam(flow.parameters(), lr=learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    history = History(best_step=steps)
    best: dict[str, Tensor] = {}
    best_loss = math.inf
    flow.train()
    for step, rows in enumerate(_batches(train, batch_size, steps, seed), start=1):
        optimizer.zero_grad()
        loss = loss_of(rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), clip)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(f"the loss of step {step} is {value}")
        optimizer.step()
        schedule.step()
        history.loss.append(value)
        if progress is not None:
            progress(step, steps, value)
        if held_out and (step % _STEPS_BETWEEN_VALIDATIONS == 0 or step == steps):
            if normalized:  # judged by the statistics that it will be used with
                calibrate(flow, *rows_of(train[:_CALIBRATION_ROWS]))
            flow.eval()
            with torch.no_grad():
                score = loss_of(valid).item()
            flow.train()
            history.validation.append((step, score))
            if score < best_loss:
                best_loss, history.best_step = score, step
                best = {k: v.clone() for k, v in flow.state_dict().items()}
    if best:
        flow.load_state_dict(best)
    if normalized:
        calibrate(flow, *rows_of(train))
    flow.eval()
    return history


def _generator(seed: int, epoch: int) -> torch.Generator:
    """Return the generator of an epoch: the order of rows is a function of seed and epoch."""
    # Mixed into 32 bits, as torch's generator ignores the others.
    (mixed,) = np.random.SeedSequence((seed, epoch)).generate_state(1)
    return torch.Generator().manual_seed(int(mixed))


def _batches(rows: Tensor, batch_size: int, steps: int, seed: int) -> Iterator[Tensor]:
    """Yield the rows of each step: full batches, each row at most once an epoch."""
    per_epoch = len(rows) // batch_size
    for step in range(steps):
        epoch, position = divmod(step, per_epoch)
        if position == 0:
            shuffled = rows[torch.randperm(len(rows), generator=_generator(seed, epoch + 1))]
        yield shuffled[position * batch_size : (position + 1) * batch_size]
