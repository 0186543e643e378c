"""Checkpoints: a fit that was killed goes on as if nothing had happened."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flowkit._checks import first_difference
from flowkit._container import check_document, read_file, write_file
from flowkit.errors import ArgumentError, ModelFileError
from flowkit.training.fingerprint import difference, digests
from flowkit.training.history import History
from flowkit.training.snapshot import group

_KEYS = ("arguments", "modules", "data", "loop", "histories")


class Checkpoint:
    """The file that a fit writes from time to time, and goes on from.

    It holds everything that the steps to come depend on, and what tells whether model, data and
    arguments are still the same. No state of a generator: random numbers are functions of the
    seed and the step.

    Args:
        path: the file.
        model: what is trained.
        arguments: what decides on the result, as JSON.
        data: the tensors that the fit was given, by argument.
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
        # What a module says of itself has its hyper-parameters, as torch's own do.
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
            tensors: weights and the like, under names like ``weights/base.loc``.
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
        """Return what was written, or None if there is no file yet.

        Args:
            weights: those of the model, which the file's must fit.

        Raises:
            ModelFileError: the file is no checkpoint, damaged, or one of another model.
            ArgumentError: data or arguments are others than the checkpoint's.
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
            raise ModelFileError(self._path, f"its histories lack {error}") from error
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
                    f"{name} is {there.get(name)} there, and {here.get(name)} here",
                )

    def _check_data(self, shapes: Any, tensors: Mapping[str, Tensor]) -> None:
        found = None
        if name := first_difference(self._shapes, shapes):
            there, here = shapes.get(name), self._shapes.get(name)
            found = f"{name} of {_shape_text(here)} where it was of {_shape_text(there)}"
        else:
            for name, tensor in self._data.items():
                found = found or difference(name, tensors[f"data/{name}"], tensor)
        if found:
            expected = f"the data of the checkpoint {os.fspath(self._path)}"
            raise ArgumentError("data", expected, f"others: {found}")

    def _check_arguments(self, arguments: Any) -> None:
        if name := first_difference(self._arguments, arguments):
            expected = f"{arguments.get(name)!r}, as in the checkpoint {os.fspath(self._path)}"
            raise ArgumentError(name, expected, repr(self._arguments.get(name)))


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
