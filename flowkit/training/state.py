"""State of a fit: step, model and history, as callbacks receive it."""

from collections.abc import Callable

from torch import nn

from flowkit.training.history import History


class State:
    """State of a fit after a step, as passed to callbacks; a callback may end the fit.

    Args:
        model: the model in training.
        total_steps: number of steps that the fit may take.
        histories: the history of each model.
        read: completes the histories, of which an accelerator may hold the newest entries.

    Example:
        >>> import torch
        >>> from flowkit.flows import maf
        >>> from flowkit.training import fit
        >>> x = torch.randn(100, 2)
        >>> history = fit(maf(2), x, steps=9, callbacks=[lambda s: s.step == 4 and s.stop()])
        >>> len(history.loss), history.stopped
        (4, 'callback')
    """

    def __init__(
        self,
        model: nn.Module,
        total_steps: int,
        histories: list[History],
        read: Callable[[], None],
    ) -> None:
        self._model, self._total_steps = model, total_steps
        self._histories, self._read = histories, read
        self._step, self._stopped = 0, ""

    @property
    def step(self) -> int:
        """The step just taken, of `steps`; 0 before the first."""
        return self._step

    @property
    def steps(self) -> int:
        """The number of steps that the fit may take."""
        return self._total_steps

    @property
    def model(self) -> nn.Module:
        """The model, with the weights of this step."""
        return self._model

    @property
    def history(self) -> History:
        """The history up to this step (of the first model, if there are several)."""
        self._read()
        return self._histories[0]

    @property
    def stopped(self) -> str:
        """The reason why the fit has ended, as in `History`; empty while it runs."""
        return self._stopped

    def stop(self) -> None:
        """End the fit after this step."""
        self.end("callback")

    def end(self, reason: str) -> None:
        """End the fit after this step for a reason; the first reason counts."""
        self._stopped = self._stopped or reason

    def advance(self) -> int:
        """Start the next step, and return its number."""
        self._step += 1
        return self._step

    def resume(self, step: int) -> None:
        """Continue after a step that was taken earlier."""
        self._step = step
