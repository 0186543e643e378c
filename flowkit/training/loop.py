"""The one training loop."""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flowkit._memory import keep_freed_memory
from flowkit.errors import TrainingError
from flowkit.training.adam import Adam
from flowkit.training.average import Average, batch_norms, running_statistics, taking_statistics
from flowkit.training.best import Best
from flowkit.training.checkpoint import Checkpoint
from flowkit.training.compilation import Compiled
from flowkit.training.evaluation import Evaluation
from flowkit.training.history import History
from flowkit.training.ledger import DELAY, Ledger, NotFiniteError
from flowkit.training.memory import Pieces
from flowkit.training.options import Options
from flowkit.training.processes import Processes
from flowkit.training.progress import reporter
from flowkit.training.rows import Source
from flowkit.training.scales import scale_hint, support_hint
from flowkit.training.schedule import schedule_named
from flowkit.training.seeds import (
    CALIBRATION,
    STEP,
    StepSeeds,
    mixed,
    random_state_restored,
    reseed,
)
from flowkit.training.snapshot import Snapshot
from flowkit.training.step import Step
from flowkit.training.update import Update, optimizer_of
from flowkit.transforms import BatchNorm, calibrate

# Rows that batch norm is calibrated on before a validation; at the end it is all of them.
_CALIBRATION_ROWS = 10_000
_SCALED_ROWS = 10_000  # whose scale may be the cause of an error
_CALIBRATION_BATCHES = 20  # that other batch norms take the statistics of averaged weights from
_STEPS_BETWEEN_VALIDATIONS = 100


class State:
    """What a callback sees of a fit, after each step; it may ask for an end.

    Example:
        >>> from flowkit.flows import maf
        >>> from flowkit.training import fit
        >>> x = torch.randn(100, 2)
        >>> history = fit(maf(2), x, steps=9, callbacks=[lambda s: s.step == 4 and s.stop()])
        >>> len(history.loss), history.stopped
        (4, 'callback')
    """

    def __init__(self, loop: "Loop") -> None:
        self._loop = loop

    @property
    def step(self) -> int:
        """The step just taken, of `steps`."""
        return self._loop.step

    @property
    def steps(self) -> int:
        """The number of steps that the fit may take."""
        return self._loop.steps

    @property
    def model(self) -> nn.Module:
        """The model, with the weights of this step."""
        return self._loop.model

    @property
    def history(self) -> History:
        """The history up to this step (that of the first model, where there are several)."""
        self._loop.read()
        return self._loop.histories[0]

    def stop(self) -> None:
        """End the fit after this step."""
        self._loop.stopped = self._loop.stopped or "callback"


class Loop:
    """A fit from its first step to its last.

    Args:
        model: what is trained, in place.
        steps: what is minimised, by name.
        source: the rows, on the device of ``processes``.
        order: the rows of each step, ``(batch,)``, or ``(members, batch)``.
        train: the numbers of all rows that are trained on.
        total: the number of steps.
        evaluation: of the validation rows, or None.
        options: everything else.
        seed: of the noise.
        processes: that share the work.
        checkpoint: where to keep what has been done, or None.
        members: number of models that are stacked along the first dimension of every weight;
            None for a single one.

    Attributes:
        step: the last step taken.
        histories: one per model.
        stopped: why the fit has ended; empty while it runs.
    """

    def __init__(
        self,
        model: nn.Module,
        steps: Mapping[str, Step],
        *,
        source: Source,
        order: Callable[[int], Tensor],
        train: Tensor,
        total: int,
        evaluation: Evaluation | None,
        options: Options,
        autocast: AbstractContextManager[Any],
        seed: int,
        processes: Processes,
        checkpoint: Checkpoint | None,
        members: int | None = None,
    ) -> None:
        self.model, self.steps, self.step, self.stopped = model, total, 0, ""
        self.histories = [History() for _ in range(members or 1)]
        self._source, self._order, self._train = source, order, train
        self._evaluation, self._options, self._processes = evaluation, options, processes
        self._checkpoint = checkpoint
        self._best = Best(members, options.patience)
        self._losses, self._autocast = [step.loss for step in steps.values()], autocast
        self._calibration_seed = mixed(seed, CALIBRATION)[0]
        self._updates: dict[str, Update] = {}
        for number, (name, step) in enumerate(steps.items()):
            optimizer = optimizer_of(step, options.learning_rate)
            self._updates[name] = Update(
                step,
                loss=Compiled(step.loss) if options.compiles(total) else step.loss,
                source=source,
                ledger=Ledger(
                    name, self.histories, members=members, delay=_delay(processes.device, optimizer)
                ),
                optimizer=optimizer,
                members=members,
                clip=options.clip,
                alone=len(steps) == 1,
                processes=processes,
                pieces=Pieces("a batch"),
                autocast=autocast,
                seeds=StepSeeds(seed, STEP, processes.rank, number),
            )
        moved = {id(p): p for update in self._updates.values() for p in update.parameters}
        self._moved = list[Tensor](moved.values())
        own = {id(p) for p in model.parameters()}
        # What an objective brings along, such as a critic, belongs to what is trained.
        self._foreign = [p for i, p in moved.items() if i not in own]
        processes.broadcast(self._weights().values())  # before anything is copied
        self._average = None
        if options.average is not None:
            averaged = [*self._moved, *running_statistics(model)]
            self._average = Average(averaged, options.average)
        self._snapshot = Snapshot(
            self._weights, list(self._updates.values()), self._best, self._average
        )
        self._buffers = [(b, b.clone()) for b in model.buffers() if b.is_floating_point()]
        self._warned = False  # of a validation score that is not finite
        self._statistics: list[tuple[Tensor, Tensor]] = []  # and those of the last good step
        self._validate_every = options.validate_every or max(
            _STEPS_BETWEEN_VALIDATIONS,
            # A look at many rows takes as long as several steps.
            0 if evaluation is None else len(evaluation) // order(1).shape[-1],
        )

    def run(self) -> list[History]:
        """Train, and return the history of each model."""
        keep_freed_memory()
        if not self._resume():
            with random_state_restored(self._processes.device):
                try:
                    self._run()
                    self.read()
                except TrainingError as error:
                    self._settle(failed=True)
                    cause = self._cause() if type(error) is NotFiniteError else ""
                    if not cause:
                        raise
                    raise TrainingError(f"{error}; {cause}") from error
                finally:
                    for parameter in self._moved:
                        parameter.grad = None
                if self.stopped == "max_seconds":
                    self._save()  # as it is: another fit may go on from here
                self._settle()
                self._check_scores()
                if self.stopped != "max_seconds":
                    self._save(finished=True)
        self.model.eval()
        return self.histories

    def read(self) -> None:
        """Fetch what the histories lack."""
        for update in self._updates.values():
            update.ledger.read()

    def _run(self) -> None:
        options, first = self._options, next(iter(self._updates.values()))
        schedule = schedule_named(options.schedule)
        end = None if options.max_seconds is None else time.monotonic() + options.max_seconds
        state = State(self)
        # From here on, not from before a checkpoint was read.
        self._statistics = [(s, s.clone()) for s in running_statistics(self.model)]
        if self._evaluation is not None and self.step == 0:
            self._score_start(self._evaluation)
        self.model.train()
        with reporter(options.progress if self._processes.rank == 0 else None, self.steps) as tell:
            while not self.stopped:
                self.step += 1
                rows = self._order(self.step)
                factor = schedule((self.step - 1) / self.steps)
                for update in self._updates.values():
                    if update.is_taken(self.step):
                        update(self.step, rows, factor)
                for statistic, kept in self._statistics:
                    torch.where(statistic.isfinite(), statistic, kept, out=kept)
                if self._average is not None:
                    self._average.update(self.step)
                if tell is not None:
                    tell(self.step, self.steps, first.ledger.last)
                if self.step == self.steps:
                    self.stopped = "steps"
                if self._evaluation is not None and (
                    self.step % self._validate_every == 0 or self.stopped
                ):
                    self._validate(self._evaluation)
                for callback in options.callbacks:
                    callback(state)
                if end is not None and time.monotonic() > end:
                    self.stopped = self.stopped or "max_seconds"
                self._agree()
                if self.step % options.checkpoint_every == 0 and not self.stopped:
                    self._save()

    def _score_start(self, evaluation: Evaluation) -> None:
        """Let the starting weights be a candidate for the best."""
        scores = self._score(evaluation)
        if not all(map(math.isfinite, scores)):
            evaluation.check(self._source.take(self._order(1)))
        for history, score in zip(self.histories, scores, strict=True):
            history.starting_score = score

    def _score(self, evaluation: Evaluation) -> list[float]:
        """Score the weights as they are, and keep them where they are the best."""
        self._calibrate(self._train[..., :_CALIBRATION_ROWS])
        self._processes.broadcast(self.model.buffers())
        self.model.eval()
        scores = evaluation()
        self._best.offer(scores, self.step, self._weights())
        return scores

    def _validate(self, evaluation: Evaluation) -> None:
        done = self._best.done
        with self._final_weights():
            if self._average is not None:
                self._take_statistics()
            scores = self._score(evaluation)
        self.model.train()
        self._warn_of_scores(scores)
        for history, score, was_done in zip(self.histories, scores, done, strict=True):
            if not was_done:
                history.validation.append((self.step, score))
        if all(self._best.done):
            self.stopped = self.stopped or "patience"

    def _cause(self) -> str:
        """Return a likely cause of a loss that is not finite, or ""."""
        rows = self._train[..., :_SCALED_ROWS]
        seen = self._source.take(rows)
        return scale_hint(self.model, seen) or support_hint(self.model, seen, rows)

    def _warn_of_scores(self, scores: list[float]) -> None:
        """Warn once of scores that are not finite."""
        for model, score in enumerate(scores):
            if not math.isfinite(score) and not self._warned:
                self._warned = True
                whose = f" of model {model}" if len(scores) > 1 else ""
                warnings.warn(
                    f"the validation score of step {self.step}{whose} is {score}: it counts as "
                    "worse than any number",
                    stacklevel=6,  # who has called `fit`
                )

    def _agree(self) -> None:
        """End in every process once one of them wants to."""
        undecided = self._options.callbacks or self._options.max_seconds is not None
        if undecided and self._processes.any(bool(self.stopped)):
            self.stopped = self.stopped or "callback"

    @torch.no_grad()
    def _settle(self, *, failed: bool = False) -> None:
        """Leave the model with the weights that it is to be used with."""
        if failed:
            # The batch that spoiled the loss went through the running averages of layers too.
            for statistic, kept in self._statistics:
                statistic.copy_(kept)
        if self._average is not None and not all(self._best.found):
            self._average.apply()
            if not failed:
                self._take_statistics()
        self._best.restore(self._weights())
        best = zip(self.histories, self._best.steps, self._best.found, strict=True)
        for history, step, found in best:
            history.best_step, history.stopped = step if found else self.step, self.stopped
        if failed:
            for buffer, before in self._buffers:
                if not buffer.isfinite().all():
                    buffer.copy_(before)
        else:
            self._calibrate(self._train)
            self._processes.broadcast(self.model.buffers())
        self.model.eval()

    def _check_scores(self) -> None:
        """Raise if a model was validated, and never with a finite score."""
        for model, (history, found) in enumerate(
            zip(self.histories, self._best.found, strict=True)
        ):
            if history.validation and not found:
                whose = f" of model {model}" if len(self.histories) > 1 else ""
                raise TrainingError(
                    f"no validation score{whose} is finite, neither that of the starting weights "
                    f"nor any of {len(history.validation)}: the weights left are the last"
                )

    @contextmanager
    def _final_weights(self) -> Iterator[None]:
        """Judge the model by the weights that it would be left with."""
        if self._average is None:
            yield
        else:
            with self._average.applied():
                yield

    def _calibrate(self, rows: Tensor) -> None:
        if any(isinstance(module, BatchNorm) for module in self.model.modules()):
            calibrate(self.model, *self._source.take(rows)[:2])

    @torch.enable_grad()
    def _take_statistics(self) -> None:
        """Give torch's batch norms the statistics of the averaged weights."""
        if not batch_norms(self.model):
            return
        device = self._processes.device
        generator = torch.Generator(device)
        with random_state_restored(device), taking_statistics(self.model):
            reseed(generator, self._calibration_seed)
            for number in range(1, _CALIBRATION_BATCHES + 1):
                rows = self._order(number)
                for loss, update in zip(self._losses, self._updates.values(), strict=True):
                    for piece in update.pieces.of(rows):
                        with self._autocast:
                            loss(self._source.take(piece), generator)

    def _weights(self) -> dict[str, Tensor]:
        """Return everything that training changes in the model, and in what an objective brings."""
        foreign = {f"objective/{i}": p.detach() for i, p in enumerate(self._foreign)}
        return {**self.model.state_dict(), **foreign}

    def _save(self, *, finished: bool = False) -> None:
        if self._checkpoint is None or self._processes.rank != 0:
            return
        self.read()
        counters = {"step": self.step, "finished": finished, **self._snapshot.counters()}
        self._checkpoint.write(self._snapshot.tensors(), counters, self.histories)

    def _resume(self) -> bool:
        """Take up a checkpoint, if there is one; return whether its fit has come to its end."""
        if self._checkpoint is None or not self._options.resume:
            return False
        found = self._checkpoint.read(self._weights())
        self._processes.any(False)  # nobody writes before everybody has read
        if found is None:
            return False
        tensors, counters, histories = found
        self.histories[:] = histories
        self._snapshot.restore(tensors, counters, self._processes.device)
        self.step = counters["step"]
        finished: bool = counters["finished"]
        return finished


def _delay(device: torch.device, optimizer: torch.optim.Optimizer) -> int:
    """Return the number of updates after which terms are read.

    The CPU has them at hand as soon as they are computed. An accelerator is not waited for, as our
    Adam leaves the weights alone by itself when something is not finite.
    """
    return DELAY if device.type != "cpu" and isinstance(optimizer, Adam) else 1
