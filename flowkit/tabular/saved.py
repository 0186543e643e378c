"""What estimators of tables share: a fitted model in one file, pickled as the same bytes."""

import os
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from flowkit.errors import ModelFileError


class ModelFile(Protocol):
    """A module that writes and reads files of one kind of model."""

    def write(self, path: str | os.PathLike[str], model: Any, estimator: Mapping[str, Any]) -> None:
        """Write a fitted model, and the options of its estimator, to a file."""

    def read(self, path: str | os.PathLike[str]) -> tuple[Any, dict[str, Any]]:
        """Read a fitted model and the options of its estimator from a file."""

    def to_bytes(self, model: Any, estimator: Mapping[str, Any]) -> bytes:
        """Return what `write` would write."""

    def of_bytes(self, content: bytes) -> Any:
        """Return the fitted model of what `to_bytes` returned."""


class SavedEstimator(BaseEstimator):  # type: ignore[misc]
    """An estimator of tables with missing values and categories, whose ``model_`` has a file.

    A subclass names the module of its file, and the options that the file keeps.
    """

    _model_file: ClassVar[ModelFile]
    _saved_options: ClassVar[tuple[str, ...]]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save to one ``.safetensors`` file, written whole or not at all.

        Raises:
            ModelFileError: the file cannot be written.
        """
        check_is_fitted(self)
        self._model_file.write(path, self.model_, self._options())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Load a model that `save` has written. No code in the file is executed or imported.

        Raises:
            ModelFileError: the file is missing, of another kind or version, truncated or altered.
        """
        model, options = cls._model_file.read(path)
        try:
            names, columns = options.pop("feature_names_in_"), options.pop("n_features_in_")
            estimator = cls(**options)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(path, f"describes no estimator: {error}") from error
        estimator.model_ = model
        estimator.n_features_in_ = columns
        if names is not None:
            estimator.feature_names_in_ = np.asarray(names, dtype=object)
        return estimator

    @property
    def run_(self) -> dict[str, Any]:
        """The record of the fit."""
        run: dict[str, Any] = self.model_.run
        return run

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Return the options, and the fitted part as the bytes of a model file."""
        state = dict(self.__dict__)
        if "model_" in state:
            state["model_"] = self._model_file.to_bytes(self.model_, self._options())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "model_" in state:
            self.model_ = self._model_file.of_bytes(state["model_"])

    def _options(self) -> dict[str, Any]:
        """Return the part of a model file that is the estimator itself."""
        state, names = self.random_state, getattr(self, "feature_names_in_", None)
        return {
            **{name: getattr(self, name) for name in self._saved_options},
            # A generator has advanced since the fit; `run_` has the seed.
            "random_state": int(state) if isinstance(state, int | np.integer) else None,
            "n_features_in_": self.n_features_in_,
            "feature_names_in_": None if names is None else [str(name) for name in names],
        }
