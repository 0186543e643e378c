"""Loop of training, the same for every model."""

import dataclasses
import math
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

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
from flowkit.training.options import Options
from flowkit.training.progress import reporter
from flowkit.training.recorder import DELAY, NotFiniteError, Recorder
from flowkit.training.rows import TrainingRows
from flowkit.training.runtime import Runtime
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
from flowkit.training.state import State
from flowkit.training.step import Step
from flowkit.training.update import Update, optimizer_of
from flowkit.transforms import BatchNorm, calibrate

# Number of rows that batch norm is calibrated on before a validation; at the end it is all rows.
_CALIBRATION_ROWS = 10_000
_SCALED_ROWS = 10_000  # whose scale may be the cause of an error
_CALIBRATION_BATCHES = 20  # for the statistics of other batch norms under averaged weights
_STEPS_BETWEEN_VALIDATIONS = 100
_REMEDY = "Check the rows for NaN and infinity, or try a lower learning_rate"


class Loop:
    """A fit from its first step to its last.

    Args:
        model: the model, trained in place.
        objectives: the named steps.
        rows: the rows to train on, on the device of ``runtime``.
        total_steps: number of steps.
        evaluation: evaluates the validation rows, or None.
        options: everything else.
        runtime: where and how the fit computes.
        checkpoint: the file that the state of the fit is kept in, or None.

    Attributes:
        state: the last step taken, and why the fit has ended.
        histories: one per model.
    """

    def __init__(
        self,
        model: nn.Module,
        objectives: Mapping[str, Step],
        rows: TrainingRows,
        *,
        total_steps: int,
        evaluation: Evaluation | None,
        options: Options,
        runtime: Runtime,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.histories = [History() for _ in range(runtime.members or 1)]
        self.state = State(model, total_steps, self.histories, self._read)
        self._model, self._rows, self._total_steps = model, rows, total_steps
        self._evaluation, self._options, self._runtime = evaluation, options, runtime
        self._checkpoint = checkpoint
        self._best = Best(runtime.members, options.patience)
        self._losses = [objective.loss for objective in objectives.values()]
        self._calibration_seed = mixed(runtime.seed, CALIBRATION)[0]
        self._updates = [
            self._update(number, name, objective, alone=len(objectives) == 1)
            for number, (name, objective) in enumerate(objectives.items())
        ]
        trained = {id(p): p for update in self._updates for p in update.parameters}
        self._trained = list[Tensor](trained.values())
        of_model = {id(p) for p in model.parameters()}
        # Parameters that an objective adds, such as those of a critic, are trained and saved too.
        self._added = [p for i, p in trained.items() if i not in of_model]
        runtime.processes.broadcast(self._weights().values())  # before anything is copied
        self._average = None
        if options.average is not None:
            averaged = [*self._trained, *running_statistics(model)]
            self._average = Average(averaged, options.average)
        self._snapshot = Snapshot(self._weights, self._updates, self._best, self._average)
        self._buffers = [(b, b.clone()) for b in model.buffers() if b.is_floating_point()]
        self._warned = False  # of a validation score that is not finite
        # Running statistics, and their values after the last step with a finite loss.
        self._statistics: list[tuple[Tensor, Tensor]] = []
        self._validate_every = options.validate_every or max(
            _STEPS_BETWEEN_VALIDATIONS,
            # A validation of many rows takes as long as several steps.
            0 if evaluation is None else len(evaluation) // rows.order(1).shape[-1],
        )

    def _update(self, number: int, name: str, objective: Step, *, alone: bool) -> Update:
        """Return the update of the named step of this number."""
        options, runtime = self._options, self._runtime
        optimizer = optimizer_of(objective, options.learning_rate)
        delay = _delay(runtime.device, optimizer)
        recorder = Recorder(name, self.histories, members=runtime.members, delay=delay)
        if options.compiles(self._total_steps):
            objective = dataclasses.replace(objective, loss=Compiled(objective.loss))
        return Update(
            objective,
            self._rows.source,
            recorder=recorder,
            optimizer=optimizer,
            clip=options.clip,
            alone=alone,
            seeds=StepSeeds(runtime.seed, STEP, runtime.processes.rank, number),
            runtime=runtime,
        )

    def run(self) -> list[History]:
        """Train, and return the history of each model."""
        keep_freed_memory()
        if not self._resume():
            with random_state_restored(self._runtime.device):
                try:
                    self._run()
                    self._read()
                except TrainingError as error:
                    self._settle(failed=True)
                    if type(error) is not NotFiniteError:
                        raise
                    raise TrainingError(f"{error}. {self._cause() or _REMEDY}") from error
                finally:
                    for parameter in self._trained:
                        parameter.grad = None
                if self.state.stopped == "max_seconds":
                    self._save()  # with the last weights: another fit may continue from here
                self._settle()
                self._check_scores()
                if self.state.stopped != "max_seconds":
                    self._save(finished=True)
        self._model.eval()
        return self.histories

    def _read(self) -> None:
        """Complete the histories."""
        for update in self._updates:
            update.recorder.read()

    def _run(self) -> None:
        options, state = self._options, self.state
        schedule = schedule_named(options.schedule)
        end = None if options.max_seconds is None else time.monotonic() + options.max_seconds
        # Of the restored weights, where a checkpoint has been read.
        self._statistics = [(s, s.clone()) for s in running_statistics(self._model)]
        if self._evaluation is not None and state.step == 0:
            self._score_start(self._evaluation)
        self._model.train()
        progress = options.progress if self._runtime.processes.rank == 0 else None
        with reporter(progress, self._total_steps) as report:
            while not state.stopped:
                step = state.advance()
                indices = self._rows.order(step)
                factor = schedule((step - 1) / self._total_steps)
                for update in self._updates:
                    if update.is_taken(step):
                        update(step, indices, factor)
                for statistic, kept in self._statistics:
                    torch.where(statistic.isfinite(), statistic, kept, out=kept)
                if self._average is not None:
                    self._average.update(step)
                if report is not None:
                    report(step, self._total_steps, self._updates[0].recorder.last)
                if step == self._total_steps:
                    state.end("steps")
                if self._evaluation is not None and (
                    step % self._validate_every == 0 or state.stopped
                ):
                    self._validate(self._evaluation)
                for callback in options.callbacks:
                    callback(state)
                if end is not None and time.monotonic() > end:
                    state.end("max_seconds")
                self._agree()
                if step % options.checkpoint_every == 0 and not state.stopped:
                    self._save()

    def _score_start(self, evaluation: Evaluation) -> None:
        """Score the starting weights, which may stay the best."""
        scores = self._score(evaluation)
        if not all(map(math.isfinite, scores)):
            evaluation.check(self._rows.source.take(self._rows.order(1)))
        for history, score in zip(self.histories, scores, strict=True):
            history.starting_score = score

    def _score(self, evaluation: Evaluation) -> list[float]:
        """Score the present weights, and keep them where they are the best."""
        self._calibrate(self._rows.indices[..., :_CALIBRATION_ROWS])
        self._runtime.processes.broadcast(self._model.buffers())
        self._model.eval()
        scores = evaluation()
        self._best.offer(scores, self.state.step, self._weights())
        return scores

    def _validate(self, evaluation: Evaluation) -> None:
        done = self._best.done
        with self._final_weights():
            if self._average is not None:
                self._take_statistics()
            scores = self._score(evaluation)
        self._model.train()
        self._warn_of_scores(scores)
        for history, score, was_done in zip(self.histories, scores, done, strict=True):
            if not was_done:
                history.validation.append((self.state.step, score))
        if all(self._best.done):
            self.state.end("patience")

    def _cause(self) -> str:
        """Return a likely cause of a loss that is not finite, or ""."""
        indices = self._rows.indices[..., :_SCALED_ROWS]
        batch = self._rows.source.take(indices)
        return scale_hint(self._model, batch) or support_hint(self._model, batch, indices)

    def _warn_of_scores(self, scores: list[float]) -> None:
        """Warn once of scores that are not finite."""
        for model, score in enumerate(scores):
            if not math.isfinite(score) and not self._warned:
                self._warned = True
                whose = f" of model {model}" if len(scores) > 1 else ""
                warnings.warn(
                    f"the validation score of step {self.state.step}{whose} is {score}: it counts "
                    "as worse than any number",
                    stacklevel=7,  # the caller of `fit`
                )

    def _agree(self) -> None:
        """End the fit in every process if it has ended in one."""
        undecided = self._options.callbacks or self._options.max_seconds is not None
        if undecided and self._runtime.processes.any(bool(self.state.stopped)):
            self.state.end("callback")

    @torch.no_grad()
    def _settle(self, *, failed: bool = False) -> None:
        """Set the final weights of the model."""
        if failed:
            # The batch with the bad loss went through the running statistics of layers too.
            for statistic, kept in self._statistics:
                statistic.copy_(kept)
        if self._average is not None and not all(self._best.scored):
            self._average.apply()
            if not failed:
                self._take_statistics()
        self._best.restore(self._weights())
        best = zip(self.histories, self._best.steps, self._best.scored, strict=True)
        for history, step, scored in best:
            history.best_step = step if scored else self.state.step
            history.stopped = self.state.stopped
        if failed:
            for buffer, before in self._buffers:
                if not buffer.isfinite().all():
                    buffer.copy_(before)
        else:
            self._calibrate(self._rows.indices)
            self._runtime.processes.broadcast(self._model.buffers())
        self._model.eval()

    def _check_scores(self) -> None:
        """Raise if a model was validated, and never with a finite score."""
        for model, (history, scored) in enumerate(
            zip(self.histories, self._best.scored, strict=True)
        ):
            if history.validation and not scored:
                whose = f" of model {model}" if len(self.histories) > 1 else ""
                raise TrainingError(
                    f"no validation score{whose} is finite, neither that of the starting weights "
                    f"nor any of {len(history.validation)} later ones: the model has the weights "
                    f"of the last step. {_REMEDY}"
                )

    @contextmanager
    def _final_weights(self) -> Iterator[None]:
        """Evaluate the model with the weights that it would end with."""
        if self._average is None:
            yield
        else:
            with self._average.applied():
                yield

    def _calibrate(self, indices: Tensor) -> None:
        if any(isinstance(module, BatchNorm) for module in self._model.modules()):
            calibrate(self._model, *self._rows.source.take(indices)[:2])

    @torch.enable_grad()
    def _take_statistics(self) -> None:
        """Set the statistics of torch's batch norms to those of the averaged weights."""
        if not batch_norms(self._model):
            return
        device, source = self._runtime.device, self._rows.source
        generator = torch.Generator(device)
        with random_state_restored(device), taking_statistics(self._model):
            reseed(generator, self._calibration_seed)
            for number in range(1, _CALIBRATION_BATCHES + 1):
                indices = self._rows.order(number)
                for loss, update in zip(self._losses, self._updates, strict=True):
                    for piece in update.pieces.of(indices):
                        with self._runtime.autocast:
                            loss(source.take(piece), generator)

    def _weights(self) -> dict[str, Tensor]:
        """Return everything that training changes: the model, and what an objective adds."""
        added = {f"objective/{i}": p.detach() for i, p in enumerate(self._added)}
        return {**self._model.state_dict(), **added}

    def _save(self, *, finished: bool = False) -> None:
        if self._checkpoint is None or self._runtime.processes.rank != 0:
            return
        self._read()
        counters = {"step": self.state.step, "finished": finished, **self._snapshot.counters()}
        self._checkpoint.write(self._snapshot.tensors(), counters, self.histories)

    def _resume(self) -> bool:
        """Continue from a checkpoint, if there is one; return whether its fit is finished."""
        if self._checkpoint is None or not self._options.resume:
            return False
        saved = self._checkpoint.read(self._weights())
        self._runtime.processes.any(False)  # no process writes before every process has read
        if saved is None:
            return False
        tensors, counters, histories = saved
        self.histories[:] = histories
        self._snapshot.restore(tensors, counters, self._runtime.device)
        self.state.resume(counters["step"])
        finished: bool = counters["finished"]
        return finished


def _delay(device: torch.device, optimizer: torch.optim.Optimizer) -> int:
    """Return the number of updates after which terms are read.

    On the CPU terms are there as soon as they are computed. An accelerator need not be waited for:
    `Adam` leaves the weights unchanged if something is not finite.
    """
    return DELAY if device.type != "cpu" and isinstance(optimizer, Adam) else 1
