"""Runtime of a fit: device, dtype, processes, autocast, seed, and number of models."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from flowkit.training.options import Options
from flowkit.training.processes import Processes, device_of


@dataclass(frozen=True)
class Runtime:
    """Where and how a fit computes: made once for a fit, and passed on as a whole.

    Args:
        device: the device of this process.
        dtype: the dtype that model and data are converted to; None: both keep their own.
        processes: the processes that share the work.
        autocast: the context manager that losses are computed under; entered anew each time.
        seed: random seed of all noise.
        members: number of models that are stacked along the first dimension of every parameter;
            None: a single model, not stacked.
    """

    device: torch.device
    dtype: torch.dtype | None
    processes: Processes
    autocast: AbstractContextManager[Any]
    seed: int
    members: int | None = None

    @classmethod
    def of(
        cls, model: nn.Module, options: Options, *, seed: int, members: int | None = None
    ) -> "Runtime":
        """Return the runtime of a fit; join the processes that were started together.

        Args:
            model: the model, or the first of several.
            options: the options of the fit.
            seed: random seed of all noise.
            members: number of models that will be stacked, or None.

        Raises:
            ArgumentError: the device does not exist.
        """
        processes = Processes.join(device_of(model, options.device))
        device = processes.device
        autocast: AbstractContextManager[Any] = nullcontext()
        if options.precision == "bf16-mixed":
            autocast = torch.autocast(device.type, dtype=torch.bfloat16)
        return cls(device, options.dtype, processes, autocast, seed, members)
