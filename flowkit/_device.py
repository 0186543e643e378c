"""Devices by name."""

import torch

from flowkit.errors import ArgumentError


def device_named(device: str | torch.device) -> torch.device:
    """Return a device of this machine.

    Raises:
        ArgumentError: there is no such device.
    """
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:  # torch asserts that it has CUDA
        raise ArgumentError("device", "a device of this machine", repr(device)) from error
