"""Checks of arguments, each written once.

Shapes and dtypes are all that is read of a tensor, but for `check_finite_rows` and `check_values`.
"""

import inspect
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from flowkit.errors import ArgumentError, ContextError, DataError, DtypeError, ShapeError


def kind_of(value: object) -> str:
    """Return what a value of a wrong type is, for an error: its type, and itself if it is short."""
    if isinstance(value, type):
        return f"the class {value.__name__}; call it to make one"
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    return type(value).__name__


def check_type(argument: str, value: Any, types: type | tuple[type, ...], expected: str) -> None:
    """Raise unless ``value`` is an instance of ``types``."""
    if not isinstance(value, types):
        raise ArgumentError(argument, expected, kind_of(value))


def check_called(argument: str, value: Any, call: str, arguments: int) -> None:
    """Raise unless ``value`` is a function or module that takes so many positional arguments.

    Args:
        argument: its name.
        value: anything.
        call: how it is called, such as ``f(x, context)``.
        arguments: their number.
    """
    expected = f"a module called as {call}"
    if not callable(value) or isinstance(value, type):
        raise ArgumentError(argument, expected, kind_of(value))
    try:
        signature = inspect.signature(getattr(value, "forward", value))
    except ValueError:  # of compiled code, which has none
        return
    try:
        signature.bind(*[None] * arguments)
    except TypeError as error:
        raise ArgumentError(argument, expected, f"{kind_of(value)}{signature}") from error


def check_mapping(argument: str, value: Any, example: str) -> None:
    """Raise unless ``value`` maps columns to something, such as ``{0: example}``."""
    expected = f"a mapping of columns, such as {{0: {example}}}"
    if not isinstance(value, Mapping):
        raise ArgumentError(argument, expected, kind_of(value))


def check_count(argument: str, value: object, minimum: int = 1) -> int:
    """Return ``value`` if it is an integer of at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ArgumentError(argument, f"an integer of at least {minimum}", repr(value))
    return value


def check_positive(argument: str, value: object) -> float:
    """Return ``value`` as a float if it is positive and finite."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 < value < float("inf")
    ):
        raise ArgumentError(argument, "a positive finite number", repr(value))
    return float(value)


def check_widths(
    argument: str, widths: Any, expected: str = "a non-empty sequence of widths, e.g. (64, 64)"
) -> tuple[int, ...]:
    """Return ``widths`` as a tuple if it is a non-empty sequence of positive integers."""
    if isinstance(widths, int) or not isinstance(widths, Sequence) or len(widths) == 0:
        raise ArgumentError(argument, expected, repr(widths))
    return tuple(check_count(argument, width) for width in widths)


def check_row(row: Any) -> tuple[int, ...]:
    """Return the shape of a row as a tuple if it is a non-empty sequence of positive sizes."""
    return check_widths("row", row, "the shape of a row, e.g. (784,)")


def check_finite_rows(argument: str, rows: Tensor) -> None:
    """Raise a `DataError` that names the first of ``rows (n, ...)`` that is not finite."""
    finite = rows.flatten(1).isfinite().all(1)
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise DataError(f"{argument}, row {row}", "finite numbers", "NaN or infinity")


def check_values(argument: str, x: Tensor, good: Tensor, expected: str) -> None:
    """Raise a `DataError` that names the first number of ``x (*batch, D)`` that is not good."""
    if not good.all():
        *row, column = (~good).nonzero()[0].tolist() or [0]
        names = [f"row {row[0] if len(row) == 1 else tuple(row)}"] if row else []
        at = (*row, column) if x.dim() else ()
        raise DataError(", ".join([argument, *names, f"column {column}"]), expected, x[at].item())


def check_permutation(argument: str, order: Any, features: int | None = None) -> tuple[int, ...]:
    """Return ``order`` as a tuple if it is a permutation of ``0 .. features - 1``."""
    try:
        indices = tuple(int(i) for i in order)
    except (TypeError, ValueError):
        indices = ()
    n = len(indices) if features is None else features
    if not indices or sorted(indices) != list(range(n)):
        raise ArgumentError(argument, f"a permutation of 0 .. {max(n, 1) - 1}", order)
    return indices


def check_choice(argument: str, value: Any, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``."""
    if value not in choices:
        raise ArgumentError(argument, "one of " + ", ".join(map(repr, choices)), repr(value))
    return str(value)


def check_keys(argument: str, value: Any, keys: Collection[str]) -> None:
    """Check that ``value`` is a mapping with exactly these keys."""
    if not isinstance(value, Mapping):
        raise ArgumentError(argument, "a mapping with " + ", ".join(map(repr, keys)), repr(value))
    for key in keys:
        if key not in value:
            raise ArgumentError(argument, f"the key {key!r}", "none")
    for key in value:
        if key not in keys:
            raise ArgumentError(argument, "no other keys", repr(key))


def check_event(argument: str, x: Any, event_shape: tuple[int, ...]) -> None:
    """Check that ``x`` is a floating-point tensor of shape ``(*batch, *event_shape)``."""
    if not isinstance(x, Tensor):
        raise DtypeError(argument, "a torch.Tensor", type(x).__name__)
    if not x.is_floating_point():
        raise DtypeError(argument, "a floating-point dtype", x.dtype)
    n = len(event_shape)
    if x.dim() < n or x.shape[x.dim() - n :] != event_shape:
        expected = ", ".join(map(str, ("*batch", *event_shape)))
        raise ShapeError(argument, f"a tensor of shape ({expected})", f"shape {tuple(x.shape)}")


def check_context(context: Any, context_features: int) -> None:
    """Check that ``context`` is ``(*batch, context_features)``, given exactly when asked for."""
    if context_features == 0:
        if context is not None:
            raise ContextError("context", "None, as context_features is 0", type(context).__name__)
    elif context is None:
        raise ContextError("context", f"a tensor of shape (*batch, {context_features})", None)
    else:
        check_event("context", context, (context_features,))


def check_broadcast(argument: str, batch: tuple[int, ...], other: tuple[int, ...]) -> None:
    """Check that batch dimensions of an argument broadcast with those of ``x``."""
    for a, b in zip(reversed(batch), reversed(other), strict=False):
        if a != b and 1 not in (a, b):
            expected = f"batch dimensions that broadcast with {tuple(other)}, as x has"
            raise ShapeError(argument, expected, tuple(batch))


def check_shape(argument: str, shape: int | Sequence[int]) -> tuple[int, ...]:
    """Return ``shape``, an integer or a sequence of them, as a tuple of sizes."""
    sizes = (shape,) if isinstance(shape, int) else shape
    if not isinstance(sizes, Sequence) or isinstance(sizes, str):
        raise ArgumentError(argument, "an integer or a sequence of integers", kind_of(sizes))
    return tuple(check_count(argument, size, minimum=0) for size in sizes)


def common_context(argument: str, widths: Iterable[int]) -> int:
    """Return the one context width that the parts of a whole ask for, 0 if none does."""
    asked = set(widths) - {0}
    if len(asked) > 1:
        raise ArgumentError(argument, "equal context_features", sorted(asked))
    return max(asked, default=0)


def first_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    """Return the first key under which two mappings differ, None if they are equal."""
    for name in [*a, *b]:
        if name not in a or name not in b or a[name] != b[name]:
            return name
    return None
