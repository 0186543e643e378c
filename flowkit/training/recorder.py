"""Recorder of loss terms, from the device into the history."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from flowkit.errors import ArgumentError, ShapeError, TrainingError
from flowkit.training.history import History

# Updates between two reads from an accelerator, each of which waits for all of its work.
DELAY = 50


class NotFiniteError(TrainingError):
    """A term or a gradient is NaN or infinite."""


class Recorder:
    """Records the terms of one named step in the history of each model, and checks them.

    Args:
        name: name of the step.
        histories: one for each model.
        members: number of models: a term has shape ``(members,)``; None: a term is a scalar.
        delay: number of updates that stay on the device before they are read.

    Attributes:
        names: names of the terms; empty before the first update.
        last: the newest loss that has been read, the mean over the models.
    """

    def __init__(
        self, name: str, histories: list[History], *, members: int | None, delay: int
    ) -> None:
        self._name, self._histories = name, histories
        self._shape = () if members is None else (members,)
        self._delay = delay
        self._unread: list[int] = []  # steps
        self._buffer: Tensor | None = None  # (delay, terms + 1, members or 1)
        self.names: tuple[str, ...] = ()
        self.last = math.nan
        for history in histories:
            history.terms[name] = {}

    def check(self, terms: Mapping[str, Tensor]) -> None:
        """Raise unless a loss returned the terms of the losses before.

        Raises:
            ArgumentError: the terms have other names.
            ShapeError: a term has another shape.
        """
        if not self.names:
            self.names = tuple(terms)
            for history in self._histories:
                history.terms[self._name] = {term: [] for term in terms}
        if tuple(terms) != self.names or not terms:
            expected = f"the same terms at every step of {self._name}, {list(self.names)}"
            raise ArgumentError("loss", expected, list(terms))
        for name, term in terms.items():
            if term.shape != self._shape:
                expected = f"a term {name} of shape {self._shape} from {self._name}"
                raise ShapeError("loss", expected, tuple(term.shape))

    def add(self, step: int, values: list[Tensor]) -> list[list[float]] | None:
        """Record one update.

        Args:
            step: the step of the fit.
            values: the terms and, last, the norm of the gradient, each ``(*members)``.

        Returns:
            The numbers of each model, if they have been read at once.

        Raises:
            TrainingError: a number that was read is not finite.
        """
        if self._delay == 1:
            numbers = [v.tolist() if self._shape else [v.item()] for v in values]
            self._write(step, numbers)
            return numbers
        row = torch.stack(values).reshape(len(values), -1)
        if self._buffer is None:
            self._buffer = row.new_empty(self._delay, *row.shape)
        self._buffer[len(self._unread)].copy_(row)
        self._unread.append(step)
        if len(self._unread) == self._delay:
            self.read()
        return None

    def resume(self) -> None:
        """Continue where the histories end."""
        self.names = tuple(self._histories[0].terms[self._name])

    def read(self) -> None:
        """Read the terms that are still on the device.

        Raises:
            TrainingError: a number is not finite.
        """
        if self._buffer is not None and self._unread:
            steps, self._unread = self._unread, []
            for step, values in zip(steps, self._buffer[: len(steps)].tolist(), strict=True):
                self._write(step, values)

    def _write(self, step: int, values: list[list[float]]) -> None:
        *terms, norms = values
        if not all(math.isfinite(number) for numbers in values for number in numbers):
            self._stop(step, terms, norms)
        for name, numbers in zip(self.names, terms, strict=True):
            for history, number in zip(self._histories, numbers, strict=True):
                history.terms[self._name][name].append(number)
        self.last = sum(map(sum, terms)) / len(norms)

    def _stop(self, step: int, terms: list[list[float]], norms: list[float]) -> None:
        """Raise for the first number that is not finite; terms come before the gradient."""
        places = [("loss", f"{self._name}: {name}") for name in self.names]
        places.append(("gradient", self._name))
        for (what, where), numbers in zip(places, [*terms, norms], strict=True):
            for model, number in enumerate(numbers):
                if not math.isfinite(number):
                    whose = f" of model {model}" if self._shape else ""
                    subject = f"the {what} of step {step}{whose}"
                    raise NotFiniteError(f"{subject} is {number} ({where}), and must be finite")
