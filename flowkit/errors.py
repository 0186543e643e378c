"""Errors of flowkit: one small hierarchy, and one form of message.

Every message has the name of the argument, the rule and the value:
``x: expected a tensor of shape (*batch, 6), got shape (10, 5)``.
"""

import os
from typing import Any

_NO_VALUE: Any = object()


class FlowkitError(Exception):
    """Base class of all errors of flowkit."""


class ArgumentError(FlowkitError, ValueError):
    """An argument has a value that cannot be used.

    Args:
        argument: name of the argument.
        expected: description of the valid values; without ``got``, a whole statement.
        got: the value, or a description of the value.

    Example:
        >>> raise ArgumentError("bins", "an integer of at least 2", 1)
        Traceback (most recent call last):
        ...
        flowkit.errors.ArgumentError: bins: expected an integer of at least 2, got 1
        >>> raise ArgumentError("columns", "column 1 is named twice; name each column once")
        Traceback (most recent call last):
        ...
        flowkit.errors.ArgumentError: columns: column 1 is named twice; name each column once
    """

    def __init__(self, argument: str, expected: str, got: object = _NO_VALUE) -> None:
        statement = expected if got is _NO_VALUE else f"expected {expected}, got {got}"
        super().__init__(f"{argument}: {statement}")
        self.argument = argument
        self.expected = expected
        self.got = got

    def of(self, name: str) -> "ArgumentError":
        """Return the error with argument ``name``, which replaces "data" if that comes first."""
        rest = self.argument.removeprefix("data")
        argument = f"{name} {rest}" if rest == self.argument else f"{name}{rest}"
        return type(self)(argument, self.expected, self.got)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        value = () if self.got is _NO_VALUE else (self.got,)
        return type(self), (self.argument, self.expected, *value)


class DataError(ArgumentError):
    """A table or tensor has an invalid value; the message names its row and column, if single.

    Example:
        >>> raise DataError("column 'age', row 17", "a finite number", "inf")
        Traceback (most recent call last):
        ...
        flowkit.errors.DataError: column 'age', row 17: expected a finite number, got inf
    """


class ShapeError(ArgumentError):
    """A tensor has the wrong shape."""


class DtypeError(ArgumentError, TypeError):
    """A tensor has the wrong dtype, or a value is not a tensor."""


class ContextError(ArgumentError):
    """A required context is missing, or a context is given but not used."""


class DirectionError(FlowkitError, RuntimeError):
    """A direction of a transform is not available in its current mode."""


class TrainingError(FlowkitError, RuntimeError):
    """Training has stopped, because the loss is no longer a finite number."""


class MissedDensityWarning(UserWarning):
    """A fitted flow misses part of its target density."""


class ModelFileError(FlowkitError, ValueError):
    """A file cannot be written, or is not a valid model file.

    Args:
        path: the file.
        problem: description of the defect.

    Example:
        >>> raise ModelFileError("flow.safetensors", "truncated: 10 bytes of 800")
        Traceback (most recent call last):
        ...
        flowkit.errors.ModelFileError: flow.safetensors: truncated: 10 bytes of 800
    """

    def __init__(self, path: str | os.PathLike[str], problem: str) -> None:
        super().__init__(f"{os.fspath(path)}: {problem}")
        self.path = os.fspath(path)
        self.problem = problem

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.path, self.problem)
