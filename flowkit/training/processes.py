"""Processes of a fit: one, or the several that ``torchrun`` started."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, nn

from flowkit._device import device_named
from flowkit.errors import TrainingError

# Waiting time after which the other processes count as dead.
_TIMEOUT = timedelta(minutes=10)


class Processes:
    """The processes of a fit: their number, the rank of this one, and sums over all.

    Every process holds the model and the data; each computes its share of a batch.

    Attributes:
        rank: the number of this process.
        size: the number of processes.
        device: the device of this one.
    """

    def __init__(self, device: torch.device, rank: int = 0, size: int = 1) -> None:
        self.device, self.rank, self.size = device, rank, size

    @classmethod
    def join(cls, device: torch.device) -> "Processes":
        """Join the processes that were started together, if any were."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(device)
        # The import loads parts of torch that a single process does not need.
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.ddp import DDPStrategy

        local = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
        fabric = Fabric(
            accelerator=device.type,
            devices=local,
            num_nodes=int(os.environ["WORLD_SIZE"]) // local,
            strategy=DDPStrategy(timeout=_TIMEOUT),
        )
        fabric.launch()
        return cls(fabric.device, fabric.global_rank, fabric.world_size)

    def share(self, n_rows: int) -> slice:
        """Return the share of this process in ``n_rows`` rows."""
        return slice(self.rank * n_rows // self.size, (self.rank + 1) * n_rows // self.size)

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over the processes, in place."""
        if self.size > 1:
            with _process_errors():
                torch.distributed.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Return whether the flag is true in any process."""
        if self.size == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag), device=self.device)).item())

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Copy the tensors of the first process to every process, in place."""
        if self.size > 1:
            with _process_errors():
                for tensor in tensors:
                    torch.distributed.broadcast(tensor, src=0)


@contextmanager
def _process_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise TrainingError(
            "another process of this fit has died or does not answer; start all processes again"
        ) from error


def device_of(model: nn.Module, device: str | torch.device) -> torch.device:
    """Return the device to train a model on.

    Args:
        model: the model.
        device: "auto" is the accelerator that the model is on, or one that the machine has, or
            the CPU.

    Raises:
        ArgumentError: there is no such device.
    """
    if device == "auto":
        home = home_of(model)
        if home.type == "cpu" and torch.cuda.is_available():
            return torch.device("cuda")
        return home
    return device_named(device)


def home_of(model: nn.Module) -> torch.device:
    """Return the device that a model's parameters are on."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device
