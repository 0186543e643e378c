"""Files of fitted flows: one ``.safetensors`` file each, which runs no code when read."""

import os
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

import flowkit.flows  # noqa: F401  registers the architectures that files name
from flowkit._container import check_document, check_part, read_file, write_file
from flowkit.distributions import Distribution, Flow
from flowkit.distributions.registry import flow_config, flow_from_config
from flowkit.errors import FlowkitError, ModelFileError

__all__ = [
    "check_document",
    "check_part",
    "flow_config",
    "flow_from_config",
    "flow_from_file",
    "load",
    "read_file",
    "save",
    "write_file",
]


def save(flow: Distribution, path: str | os.PathLike[str]) -> None:
    """Save a flow of a named architecture to one file, for `load`.

    The file has the name of the architecture, all its options, its base and every tensor. Writing
    is atomic: an existing file is replaced only once the new one is complete.

    Args:
        flow: a flow from `flowkit.flows.maf` or another named architecture. A base given as an
            object must be described by numbers alone.
        path: path of the file; the usual ending is ``.safetensors``.

    Raises:
        ArgumentError: the flow was composed by hand, or edited later, or has an embedding. Save
            the ``state_dict()`` of such flows.
        ModelFileError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> from flowkit.flows import maf
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(maf(2, hidden=(8,)), f"{folder}/flow.safetensors")
        ...     flow = load(f"{folder}/flow.safetensors")
        >>> flow.sample((3,)).shape
        torch.Size([3, 2])
    """
    document = {"kind": "flow", "flow": flow_config(flow)}
    write_file(path, flow.state_dict(), document)


def load(path: str | os.PathLike[str], *, device: torch.device | str | int | None = None) -> Flow:
    """Load a flow from a file of `save`, in its dtype and in ``eval()`` mode.

    Log-densities, and samples from the same generator, equal those of the saved flow bit for bit.
    Nothing in the file is executed, unpickled or imported, and torch's random state does not
    change.

    Args:
        path: path of the file.
        device: device of the flow; the CPU by default.

    Returns:
        The flow; a `BinaryMADE` if it was made by `binary_made`.

    Raises:
        ModelFileError: the file does not exist, has another kind or version, is truncated or
            altered, or describes a flow that this version of flowkit cannot make.
    """
    tensors, document = read_file(path)
    check_document(path, document, "flow", ("flow",))
    flow = flow_from_file(path, document["flow"], tensors)
    return flow if device is None else flow.to(device)


def flow_from_file(
    path: str | os.PathLike[str], config: Any, tensors: Mapping[str, Tensor]
) -> Flow:
    """Make a flow, in ``eval()`` mode, from the configuration and the tensors in a file.

    Raises:
        ModelFileError: configuration and tensors do not fit each other, or this version of flowkit
            cannot make the flow.
    """
    try:
        flow = cast(Flow, flow_from_config(config))
    except FlowkitError as error:
        raise ModelFileError(path, f"describes no flow: {error}") from error
    state = flow.state_dict()
    check_part(path, "its state", tensors, state)
    for name, tensor in state.items():
        expected, stored = [(tuple(t.shape), t.dtype) for t in (tensor, tensors[name])]
        if expected != stored:
            raise ModelFileError(path, f"tensor {name!r} is {stored}, and should be {expected}")
    flow.load_state_dict(tensors)
    return flow.eval()
