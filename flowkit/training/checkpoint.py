"""Checkpoints: a fit that was killed continues as if it had not been.

Fingerprints of data and arguments refuse a checkpoint of another fit.
"""

import functools
import hashlib
import os
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowkit._checks import first_difference
from flowkit._container import check_document, read_file, write_file
from flowkit.errors import ArgumentError, ModelFileError
from flowkit.training.history import History
from flowkit.training.snapshot import group

_KEYS = ("arguments", "modules", "data", "loop", "histories")
_BLOCK = 1_024  # rows that share a digest
_REMEDY = "Give another file, or resume=False to start anew"


class Checkpoint:
    """The file that a fit writes from time to time, and continues from.

    It holds everything that later steps depend on, and descriptions of model, data and arguments,
    which a resumed fit must match. It holds no state of a generator: random numbers are functions
    of the seed and the step.

    Args:
        path: the file.
        model: the model in training.
        arguments: the arguments that decide on the result, as JSON.
        data: the tensors of the fit, by argument.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        model: nn.Module,
        arguments: Mapping[str, Any],
        data: Mapping[str, Tensor],
    ) -> None:
        self._path = path
        self._arguments = dict(arguments)
        # ``extra_repr`` has the hyper-parameters, as in torch's own modules.
        self._modules = {
            name or "the model": f"{type(module).__name__}({module.extra_repr()})"
            for name, module in model.named_modules()
        }
        self._data = dict(data)
        self._shapes = {name: [list(t.shape), str(t.dtype)] for name, t in data.items()}
        self._digests = {f"data/{name}": digests(tensor) for name, tensor in data.items()}

    def write(
        self, tensors: Mapping[str, Tensor], loop: Mapping[str, Any], histories: list[History]
    ) -> None:
        """Replace the file.

        Args:
            tensors: weights, optimiser states and the like, by names like ``weights/base.loc``.
            loop: counters, as JSON.
            histories: of the models.
        """
        history_tensors, history_document = _pack(histories)
        document = {
            "kind": "checkpoint",
            "arguments": self._arguments,
            "modules": self._modules,
            "data": self._shapes,
            "loop": dict(loop),
            "histories": history_document,
        }
        write_file(self._path, {**tensors, **history_tensors, **self._digests}, document)

    def read(
        self, weights: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Any], list[History]] | None:
        """Return tensors, counters and histories, or None if there is no file yet.

        Args:
            weights: the weights of the model, which those of the file must fit.

        Raises:
            ModelFileError: the file is no checkpoint, damaged, or one of another model.
            ArgumentError: data or arguments differ from those of the checkpoint.
        """
        if not os.path.exists(self._path):
            return None
        tensors, document = read_file(self._path)
        check_document(self._path, document, "checkpoint", _KEYS)
        self._check_model(document["modules"], group(tensors, "weights"), weights)
        self._check_data(document["data"], tensors)
        self._check_arguments(document["arguments"])
        try:
            histories = _unpack(tensors, document["histories"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                self._path, f"the histories are incomplete, {error} is missing. {_REMEDY}"
            ) from error
        return tensors, document["loop"], histories

    def _check_model(
        self, modules: Any, saved: Mapping[str, Tensor], weights: Mapping[str, Tensor]
    ) -> None:
        def describe(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
            return {name: f"{t.dtype} {tuple(t.shape)}" for name, t in tensors.items()}

        for there, here in ((modules, self._modules), (describe(saved), describe(weights))):
            if name := first_difference(here, there):
                raise ModelFileError(
                    self._path,
                    "a checkpoint of another model: "
                    f"{name} is {there.get(name)} in the file, and {here.get(name)} in the model. "
                    f"{_REMEDY}",
                )

    def _check_data(self, shapes: Any, tensors: Mapping[str, Tensor]) -> None:
        difference = None
        if name := first_difference(self._shapes, shapes):
            there, here = shapes.get(name), self._shapes.get(name)
            difference = f"{name} of {_shape_text(here)} where it was of {_shape_text(there)}"
        else:
            for name, tensor in self._data.items():
                difference = difference or _difference(name, tensors[f"data/{name}"], tensor)
        if difference:
            expected = f"the data of the checkpoint {os.fspath(self._path)} (or resume=False)"
            raise ArgumentError("data", expected, f"others: {difference}")

    def _check_arguments(self, arguments: Any) -> None:
        if name := first_difference(self._arguments, arguments):
            saved = f"{arguments.get(name)!r}, as in the checkpoint {os.fspath(self._path)}"
            expected = f"{saved} (or resume=False)"
            raise ArgumentError(name, expected, repr(self._arguments.get(name)))


def named(value: Any) -> Any:
    """Return a value that JSON can hold, by which a resumed fit recognises an argument."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [named(part) for part in value]
    if isinstance(value, Tensor):
        return [str(value.dtype), list(value.shape), digests(value.reshape(-1)).tolist()]
    if isinstance(value, functools.partial):
        keywords = [[name, named(part)] for name, part in sorted(value.keywords.items())]
        return [named(value.func), named(value.args), keywords]
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if is_dataclass(value):
        return repr(value)
    return type(value).__qualname__


def digests(tensor: Tensor) -> Tensor:
    """Return 64 bits for each 1,024 rows of a tensor, ``(blocks,)``."""
    flat = tensor.detach().contiguous().cpu().view(len(tensor), -1).view(torch.uint8)
    sums = [
        hashlib.blake2b(flat[i : i + _BLOCK].numpy().data, digest_size=8).digest()
        for i in range(0, len(flat), _BLOCK)
    ]
    return torch.tensor([int.from_bytes(s, "little", signed=True) for s in sums])


def _difference(name: str, before: Tensor, tensor: Tensor) -> str | None:
    """Return which rows of a tensor have other digests than before; None if all are equal."""
    differing = (digests(tensor) != before).nonzero()
    if len(differing) == 0:
        return None
    first = int(differing[0]) * _BLOCK
    last = min(first + _BLOCK, len(tensor)) - 1
    return f"rows {first} to {last} of {name} differ"


def _shape_text(shape: Any) -> str:
    return "no rows" if shape is None else f"shape {tuple(shape[0])} and {shape[1]}"


def _pack(histories: list[History]) -> tuple[dict[str, Tensor], list[Any]]:
    """Return histories as tensors, which hold any float, and a document of their names."""
    tensors, documents = {}, []
    for model, history in enumerate(histories):
        at = f"history/{model}"
        pairs = torch.tensor(history.validation, dtype=torch.float64)
        tensors[f"{at}/validation"] = pairs.reshape(-1, 2)
        if history.starting_score is not None:
            start = torch.tensor(history.starting_score, dtype=torch.float64)
            tensors[f"{at}/starting_score"] = start
        for i, terms in enumerate(history.terms.values()):
            for j, values in enumerate(terms.values()):
                tensors[f"{at}/{i}/{j}"] = torch.tensor(values, dtype=torch.float64)
        documents.append(
            {
                "terms": [[name, list(terms)] for name, terms in history.terms.items()],
                "best_step": history.best_step,
                "stopped": history.stopped,
            }
        )
    return tensors, documents


def _unpack(tensors: Mapping[str, Tensor], documents: list[Any]) -> list[History]:
    histories = []
    for model, document in enumerate(documents):
        at = f"history/{model}"
        terms = {
            name: {term: tensors[f"{at}/{i}/{j}"].tolist() for j, term in enumerate(names)}
            for i, (name, names) in enumerate(document["terms"])
        }
        validation = [(int(step), score) for step, score in tensors[f"{at}/validation"].tolist()]
        start = tensors.get(f"{at}/starting_score")  # files of earlier versions have none
        histories.append(
            History(
                terms,
                validation,
                document["best_step"],
                document["stopped"],
                None if start is None else start.item(),
            )
        )
    return histories
