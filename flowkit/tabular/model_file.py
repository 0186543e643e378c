"""Model files of table densities: one safetensors file each, with a strict JSON document."""

import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from flowkit._container import check_document, pack, read_file, unpack, write_file
from flowkit.errors import FlowkitError, ModelFileError
from flowkit.schema import Schema
from flowkit.tabular.continuous import ContinuousDensity
from flowkit.tabular.discrete import DiscreteBlock
from flowkit.tabular.model import TableModel, tensors_of

_KIND = "table density"
_KEYS = ("estimator", "schema", "discrete", "continuous", "run")
_MEMORY = "bytes in memory"  # what errors call a file that is none


def write(path: str | os.PathLike[str], model: TableModel, estimator: Mapping[str, Any]) -> None:
    """Write a fitted model, and the options of its estimator, to a file."""
    write_file(path, tensors_of(model), _document(model, estimator))


def read(path: str | os.PathLike[str]) -> tuple[TableModel, dict[str, Any]]:
    """Read a fitted model and the options of its estimator from a file."""
    tensors, document = read_file(path)
    model = _model(path, tensors, document)
    if not isinstance(document["estimator"], dict):
        raise ModelFileError(path, "describes no estimator: its options are no mapping")
    return model, dict(document["estimator"])


def to_bytes(model: TableModel, estimator: Mapping[str, Any]) -> bytes:
    """Return what `write` would write."""
    return pack(tensors_of(model), _document(model, estimator))


def of_bytes(content: bytes) -> TableModel:
    """Return the fitted model of what `to_bytes` returned."""
    return _model(_MEMORY, *unpack(_MEMORY, content))


def _document(model: TableModel, estimator: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": _KIND,
        "estimator": dict(estimator),
        "schema": model.schema.to_dict(),
        "discrete": None if model.discrete is None else model.discrete.config(),
        "continuous": None if model.continuous is None else model.continuous.config(),
        "run": model.run,
    }


def _model(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], document: Mapping[str, Any]
) -> TableModel:
    check_document(path, document, _KIND, _KEYS)
    try:
        schema = Schema.from_dict(document["schema"])
        discrete = continuous = None
        if document["discrete"] is not None:
            discrete = DiscreteBlock.from_config(document["discrete"])
        if document["continuous"] is not None:
            continuous = ContinuousDensity.from_config(document["continuous"])
        known = {"quantiles"}
        for name, part in (("discrete", discrete), ("continuous", continuous)):
            if part is not None:
                start = f"{name}."
                own = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
                part.load_state_dict(own)
                part.eval()
                known |= {start + key for key in own}
        if set(tensors) != known:
            raise ModelFileError(path, f"holds tensors of nothing: {sorted(set(tensors) ^ known)}")
        quantiles = tensors["quantiles"].numpy()
    except ModelFileError:
        raise
    except (FlowkitError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(path, f"describes no table density: {error}") from error
    return TableModel(schema, discrete, continuous, document["run"], quantiles)
