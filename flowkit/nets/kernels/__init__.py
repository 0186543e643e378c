"""Optional kernels of masked networks, in C++: compiled on request, by torch's own tool.

With the kernels, float32 MADEs with ReLU on the CPU compute no product with the zeros of their
masks, in either direction. Without them, or where they do not apply, the same values come from
torch's operators, to rounding.
"""

import functools
import hashlib
import os
import platform
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from flowkit._training_mode import differentiates_by_transforms
from flowkit.errors import FlowkitError

VARIABLE = "FLOWKIT_KERNELS"
_FOLDER = Path(__file__).parent
_SOURCES = ("masked_mlp.cpp", "affine_sweep.cpp")
_HEADERS = ("layers.h", "products.h")
# OpenMP is not linked: the symbols are those of the library that torch has loaded.
_FLAGS = ("-O3", "-march=native", "-fopenmp", "-ffp-contract=fast")
_lock = threading.Lock()
_built = False


class KernelError(FlowkitError, RuntimeError):
    """The kernels cannot be built, most often for want of a C++ compiler."""


def build_kernels(*, verbose: bool = False) -> None:
    """Build the C++ kernels of masked networks, and use them in this process.

    They need g++ or clang, version 12 at least, and ninja. A build takes half a minute and is kept
    in the folder of torch's extensions (``TORCH_EXTENSIONS_DIR``), so that later calls load it.
    Float32 networks of `MADE` with ReLU on the CPU then run by the kernels, in training, scoring
    and sampling. Under autocast, ``torch.func``, for other dtypes, devices, activations and
    residual networks, torch's operators compute as before. Results agree to float32 rounding.

    The environment variable ``FLOWKIT_KERNELS=1`` has the same effect at the first use of a
    network. If the build then fails, there is one warning, and torch's operators are used.

    Args:
        verbose: print the commands of the build.

    Raises:
        KernelError: there is no compiler, or the build fails.

    Example:
        >>> from flowkit.nets import build_kernels
        >>> build_kernels()  # doctest: +SKIP
    """
    global _built
    with _lock:
        if _built:
            return
        from torch.utils import cpp_extension

        name = f"flowkit_kernels_{_digest()}"
        root = os.environ.get("TORCH_EXTENSIONS_DIR") or cpp_extension.get_default_build_root()
        try:
            folder = Path(root) / name
            folder.mkdir(parents=True, exist_ok=True)
            cpp_extension.load(
                name,
                [str(_FOLDER / source) for source in _SOURCES],
                extra_cflags=list(_FLAGS),
                build_directory=str(folder),
                verbose=verbose,
                is_python_module=False,
            )
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            raise KernelError(
                f"the kernels of flowkit cannot be built: {problem}. They need g++ or clang, and "
                "ninja. Without them, networks are computed by torch's operators."
            ) from error
        _built = True


def _digest() -> str:
    """Return a name of sources, version of torch and instructions of the CPU."""
    content = [(_FOLDER / name).read_bytes() for name in (*_SOURCES, *_HEADERS)]
    machine = f"{torch.__version__} {platform.machine()} {_instructions()} {_FLAGS}"
    return hashlib.sha256(b"\0".join([*content, machine.encode()])).hexdigest()[:16]


def _instructions() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def available() -> bool:
    """Return whether the kernels are loaded; loads them first if the environment asks for it."""
    return _built or (os.environ.get(VARIABLE) == "1" and _built_by_environment())


@functools.cache
def _built_by_environment() -> bool:
    try:
        build_kernels()
    except KernelError as error:
        warnings.warn(str(error), stacklevel=2)
    return _built


def apply_to(x: Tensor, weight: Tensor) -> bool:
    """Return whether the kernels compute a layer with such an input and such a weight."""
    return (
        available()
        and x.device.type == "cpu"
        and weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
        and not differentiates_by_transforms()
    )


class Operands(NamedTuple):
    """Weights, biases, masks and `bounds_of` the masks, of each layer."""

    weights: list[Tensor]  # (out, in)
    biases: list[Tensor]  # (out,)
    masks: list[Tensor]  # (out, in)
    bounds: list[Tensor]


def masked_mlp(x: Tensor, layers: Operands, added: Sequence[Tensor] = ()) -> Tensor:
    """Return the output of linear layers with masks, and ReLU between them.

    Args:
        x: ``(rows, in)``.
        layers: the layers.
        added: for hidden layers, a term ``(rows, out)`` of what is activated; for all or for none.
    """
    out: Tensor = torch.ops.flowkit_kernels.masked_mlp(x, *layers, added)
    return out


def affine_sweep(
    z: Tensor,
    layers: Operands,
    added: Sequence[Tensor],
    *,
    ends: Tensor,
    order: Sequence[int],
    bound: float | None,
) -> Tensor:
    """Return the parameters of affine maps at the point that the layer maps to z.

    Args:
        z: ``(rows, D)``.
        layers: the layers, the output of ``(rows, 2 D)``.
        added: as of `masked_mlp`.
        ends: ``(hidden layers, D)``, int32: how many units depend on the first k features alone.
        order: the order of conditioning.
        bound: of the log-scale, or None.

    Returns:
        ``(rows, D, 2)``. The gradient is not recorded.
    """
    params: Tensor = torch.ops.flowkit_kernels.affine_sweep(
        z, *layers, added, ends, list(order), bound or 0.0
    )
    return params.view(*z.shape, 2)


def bounds_of(mask: Tensor) -> Tensor:
    """Return the range of open columns of each row of a mask, then that of rows of each column.

    The ranges are ``[first, last + 1)``, or empty; all in one vector of int32.
    """
    return torch.cat([_ranges(mask.bool()), _ranges(mask.bool().t())]).flatten().int()


def _ranges(mask: Tensor) -> Tensor:
    first = mask.int().argmax(1)
    until = mask.shape[1] - mask.flip(1).int().argmax(1)
    return torch.stack([first, until], 1) * mask.any(1, keepdim=True)
