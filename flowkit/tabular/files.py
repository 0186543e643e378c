"""Fitted table densities as files and bytes: one safetensors file, with a strict JSON document."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from flowkit._container import check_document, pack, read_file, unpack, write_file
from flowkit.errors import FlowkitError, ModelFileError
from flowkit.schema import Schema
from flowkit.tabular.continuous import ContinuousDensity
from flowkit.tabular.discrete import DiscreteBlock
from flowkit.tabular.model import TableModel, tensors_of

if TYPE_CHECKING:
    from flowkit.tabular.estimator import FlowDensity

_KIND = "table density"
_KEYS = ("estimator", "schema", "discrete", "continuous", "run")
_MEMORY = "bytes in memory"  # what errors call a file that is none


def save(density: "FlowDensity", path: str | os.PathLike[str]) -> None:
    """Write a fitted density to a file."""
    write_file(path, tensors_of(density.model_), _document(density))


def load(cls: type["FlowDensity"], path: str | os.PathLike[str]) -> "FlowDensity":
    """Read a density from a file."""
    tensors, document = read_file(path)
    model = _model(path, tensors, document)
    try:
        options = dict(document["estimator"])
        names, columns = options.pop("feature_names_in_"), options.pop("n_features_in_")
        density = cls(**options)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(path, f"describes no estimator: {error}") from error
    density.model_ = model
    density.n_features_in_ = columns
    if names is not None:
        density.feature_names_in_ = np.asarray(names, dtype=object)
    return density


def to_bytes(density: "FlowDensity") -> bytes:
    """Return what `save` would write."""
    return pack(tensors_of(density.model_), _document(density))


def model_of_bytes(content: bytes) -> TableModel:
    """Return the fitted part of what `to_bytes` returned."""
    return _model(_MEMORY, *unpack(_MEMORY, content))


def _document(density: "FlowDensity") -> dict[str, Any]:
    model, state = density.model_, density.random_state
    names = getattr(density, "feature_names_in_", None)
    options = {
        "effort": density.effort,
        "store_rows": density.store_rows,
        "on_unknown": density.on_unknown,
        "max_seconds": density.max_seconds,
        # A generator has moved on since: what it gave the fit stands in the run.
        "random_state": int(state) if isinstance(state, int | np.integer) else None,
        "n_features_in_": density.n_features_in_,
        "feature_names_in_": None if names is None else [str(name) for name in names],
    }
    return {
        "kind": _KIND,
        "estimator": options,
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
