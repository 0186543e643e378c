"""The errors of flowkit: one small hierarchy, and one wording for all of them.

Every message names the argument, says what was expected and what came:
``x: expected a tensor of shape (*batch, 6), got shape (10, 5)``.
"""

import os


class FlowkitError(Exception):
    """Anything that flowkit raises on purpose."""


class ArgumentError(FlowkitError, ValueError):
    """An argument has a value that cannot be used.

    Args:
        argument: the argument's name.
        expected: what would have been right.
        got: what it was.

    Example:
        >>> raise ArgumentError("bins", "an integer of at least 2", 1)
        Traceback (most recent call last):
        ...
        flowkit.errors.ArgumentError: bins: expected an integer of at least 2, got 1
    """

    def __init__(self, argument: str, expected: str, got: object) -> None:
        super().__init__(f"{argument}: expected {expected}, got {got}")
        self.argument = argument
        self.expected = expected
        self.got = got

    def of(self, name: str) -> "ArgumentError":
        """Return the same error of rows that another argument holds, where this says "data"."""
        own = self.argument
        argument = f"{name}{own[4:]}" if own.startswith("data") else f"{name} {own}"
        return type(self)(argument, self.expected, self.got)

    def __reduce__(self) -> tuple[type, tuple[str, str, object]]:
        return type(self), (self.argument, self.expected, self.got)


class DataError(ArgumentError):
    """A table holds what cannot be used; column and, where one is to blame, row are named.

    Example:
        >>> raise DataError("column 'age', row 17", "a finite number", "inf")
        Traceback (most recent call last):
        ...
        flowkit.errors.DataError: column 'age', row 17: expected a finite number, got inf
    """


class ShapeError(ArgumentError):
    """A tensor has the wrong shape."""


class DtypeError(ArgumentError, TypeError):
    """A tensor has the wrong dtype, or something is no tensor at all."""


class ContextError(ArgumentError):
    """Context is missing where it was asked for, or given where it was not."""


class DirectionError(FlowkitError, RuntimeError):
    """A transform cannot go this way in the mode that it is in."""


class TrainingError(FlowkitError, RuntimeError):
    """Training cannot go on: the loss is no longer a finite number."""


class MissedDensityWarning(UserWarning):
    """A fitted flow leaves out some of the density that it stands for."""


class ModelFileError(FlowkitError, ValueError):
    """A file cannot be written, or is not what it should be.

    Args:
        path: the file.
        problem: what is wrong with it.

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
