"""Model files of conditional densities: one safetensors file each, with a strict JSON document."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowkit._container import check_document, pack, read_file, unpack, write_file
from flowkit.errors import FlowkitError, ModelFileError
from flowkit.tabular.conditional.model import ConditionalModel

KIND = "conditional density"
_KEYS = ("estimator", "model")
_MEMORY = "bytes in memory"
_TENSOR = "tensor"


def write(
    path: str | os.PathLike[str], model: ConditionalModel, estimator: Mapping[str, Any]
) -> None:
    """Write a fitted model, and the options of its estimator, to a file."""
    write_file(path, *_contents(model, estimator))


def read(path: str | os.PathLike[str]) -> tuple[ConditionalModel, dict[str, Any]]:
    """Read a fitted model and the options of its estimator from a file."""
    return _model(path, *read_file(path))


def to_bytes(model: ConditionalModel, estimator: Mapping[str, Any]) -> bytes:
    """Return what `write` would write."""
    return pack(*_contents(model, estimator))


def of_bytes(content: bytes) -> ConditionalModel:
    """Return the fitted model of what `to_bytes` returned."""
    return _model(_MEMORY, *unpack(_MEMORY, content))[0]


def _contents(
    model: ConditionalModel, estimator: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    state = _without_arrays("model", model.state(), tensors)
    return tensors, {"kind": KIND, "estimator": dict(estimator), "model": state}


def _without_arrays(name: str, state: Any, tensors: dict[str, Tensor]) -> Any:
    """Return a state with each array replaced by the name of a tensor."""
    if isinstance(state, np.ndarray):
        tensors[name] = torch.from_numpy(np.ascontiguousarray(state))
        return {_TENSOR: name}
    if isinstance(state, Mapping):
        return {k: _without_arrays(f"{name}.{k}", v, tensors) for k, v in state.items()}
    if isinstance(state, list | tuple):
        return [_without_arrays(f"{name}.{i}", v, tensors) for i, v in enumerate(state)]
    return state


def _with_arrays(state: Any, tensors: dict[str, Tensor]) -> Any:
    """Invert `_without_arrays`, and take the tensors out of the mapping."""
    if isinstance(state, Mapping):
        if set(state) == {_TENSOR}:
            return tensors.pop(state[_TENSOR]).numpy()
        return {k: _with_arrays(v, tensors) for k, v in state.items()}
    if isinstance(state, list):
        return [_with_arrays(v, tensors) for v in state]
    return state


def _model(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], document: Mapping[str, Any]
) -> tuple[ConditionalModel, dict[str, Any]]:
    check_document(path, document, KIND, _KEYS)
    if not isinstance(document["estimator"], dict):
        raise ModelFileError(path, "describes no estimator: its options are no mapping")
    rest = dict(tensors)
    try:
        model = ConditionalModel.of_state(_with_arrays(document["model"], rest))
    except ModelFileError:
        raise
    except (FlowkitError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(path, f"describes no conditional density: {error}") from error
    except AttributeError as error:
        raise ModelFileError(path, f"describes no conditional density: {error}") from error
    if rest:
        raise ModelFileError(path, f"holds tensors of nothing: {sorted(rest)}")
    return model, dict(document["estimator"])
