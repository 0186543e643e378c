"""Fitted flows as files: one ``.safetensors`` file each, that runs no code when it is read."""

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
    """Save a flow of a named architecture to one file, which `load` makes it from again.

    The file holds the name of the architecture, all its options, its base and every tensor.
    It is written whole or not at all; what stood there before is kept until then.

    Args:
        flow: what `flowkit.flows.maf` or another named architecture made; its base too may be
            named, or one of flowkit's that numbers describe.
        path: where to; ``.safetensors`` is the usual ending.

    Raises:
        ArgumentError: the flow was put together by hand, or edited since, or has an embedding:
            save the ``state_dict()`` of such.
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
    """Load a flow that `save` saved, in its dtype and in ``eval()`` mode.

    Its log-densities, and its samples for a generator, are those of the flow that was saved, to
    the last bit. Nothing in the file is executed, unpickled or imported, and torch's random state
    is left as it was.

    Args:
        path: the file.
        device: where to put the flow; the CPU by default.

    Returns:
        The flow (what `binary_made` made is a `BinaryMADE`).

    Raises:
        ModelFileError: there is no such file, or it is of another kind or version, truncated,
            altered, or does not describe a flow that this version of flowkit can make.
    """
    tensors, document = read_file(path)
    check_document(path, document, "flow", ("flow",))
    flow = flow_from_file(path, document["flow"], tensors)
    return flow if device is None else flow.to(device)


def flow_from_file(
    path: str | os.PathLike[str], config: Any, tensors: Mapping[str, Tensor]
) -> Flow:
    """Make a flow, in ``eval()`` mode, from the configuration and the tensors found in a file.

    Raises:
        ModelFileError: they do not fit each other, or this version of flowkit.
    """
    try:
        flow = cast(Flow, flow_from_config(config))
    except FlowkitError as error:
        raise ModelFileError(path, f"describes no flow: {error}") from error
    state = flow.state_dict()
    check_part(path, "its state", tensors, state)
    for name, tensor in state.items():
        expected, found = [(tuple(t.shape), t.dtype) for t in (tensor, tensors[name])]
        if expected != found:
            raise ModelFileError(path, f"tensor {name!r} is {found}, and should be {expected}")
    flow.load_state_dict(tensors)
    return flow.eval()
