"""Checks of arguments.

Only `check_finite_rows`, `check_finite_entries` and `check_values` read values of tensors; the
others read shapes and dtypes.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowkit.errors import ArgumentError, ContextError, DataError, DtypeError, ShapeError

if TYPE_CHECKING:  # tables are read without torch
    from torch import Tensor


def kind_of(value: object) -> str:
    """Return the description of a value of a wrong type: the value if short, or else its type."""
    if isinstance(value, type):
        return f"the class {value.__name__}; call it to make an instance"
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    return type(value).__name__


def check_type(argument: str, value: Any, types: type | tuple[type, ...], expected: str) -> None:
    """Raise unless ``value`` is an instance of ``types``."""
    if not isinstance(value, types):
        raise ArgumentError(argument, expected, kind_of(value))


def check_called(argument: str, value: Any, call: str, arguments: int) -> None:
    """Raise unless ``value`` is a function or module with this many positional arguments.

    Args:
        argument: name of the checked argument.
        value: any object.
        call: the form of the call, such as ``f(x, context)``.
        arguments: number of positional arguments.
    """
    expected = f"a module called as {call}"
    if not callable(value) or isinstance(value, type):
        raise ArgumentError(argument, expected, kind_of(value))
    try:
        signature = inspect.signature(getattr(value, "forward", value))
    except ValueError:  # compiled code has no signature
        return
    try:
        signature.bind(*[None] * arguments)
    except TypeError as error:
        raise ArgumentError(argument, expected, f"{kind_of(value)}{signature}") from error


def check_mapping(argument: str, value: Any, example: str) -> None:
    """Raise unless ``value`` is a mapping of columns, such as ``{0: example}``."""
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
    """Raise a `DataError` with the index of the first of ``rows (n, ...)`` that is not finite."""
    finite = rows.flatten(1).isfinite().all(1)
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise DataError(f"{argument}, row {row}", "finite numbers", "NaN or infinity")


def check_finite_entries(name: str, rows: Tensor, weights: Tensor | None = None) -> None:
    """Raise a `DataError` with the place of the first non-finite entry of ``rows (n, ...)``.

    Args:
        name: name of the argument.
        rows: the rows.
        weights: weights of the rows, ``(n,)``; rows of weight 0 are not checked.
    """
    bad = ~rows.isfinite()
    if weights is not None:
        used = (weights > 0).to(bad.device)
        bad &= used.view(-1, *[1] * (bad.dim() - 1))
    if bad.any():
        at = tuple(bad.nonzero()[0].tolist())
        raise DataError(f"{name}, {place_of(at[0], at[1:])}", "a finite number", rows[at].item())


def place_of(row: int, entry: tuple[int, ...]) -> str:
    """Return the description of an entry of a row, e.g. "row 3, column 1"."""
    if len(entry) < 2:
        return f"row {row}" + "".join(f", column {column}" for column in entry)
    return f"row {row}, entry {entry}"


def check_values(argument: str, x: Tensor, good: Tensor, expected: str) -> None:
    """Raise a `DataError` with the place of the first number of ``x (*batch, D)`` not in ``good``.

    Args:
        argument: name of ``x``.
        x: numbers.
        good: which numbers are valid, shaped as ``x``.
        expected: description of a valid number.
    """
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
    """Raise unless ``value`` is a mapping with exactly these keys."""
    if not isinstance(value, Mapping):
        raise ArgumentError(argument, "a mapping with " + ", ".join(map(repr, keys)), repr(value))
    for key in keys:
        if key not in value:
            raise ArgumentError(argument, f"expected the key {key!r}, which is missing")
    for key in value:
        if key not in keys:
            raise ArgumentError(argument, "no other keys", repr(key))


def check_event(argument: str, x: Any, event_shape: tuple[int, ...]) -> None:
    """Raise unless ``x`` is a floating-point tensor of shape ``(*batch, *event_shape)``."""
    if not hasattr(x, "is_floating_point"):
        raise DtypeError(argument, "a torch.Tensor", type(x).__name__)
    if not x.is_floating_point():
        raise DtypeError(argument, "a floating-point dtype", x.dtype)
    n = len(event_shape)
    if x.dim() < n or x.shape[x.dim() - n :] != event_shape:
        expected = ", ".join(map(str, ("*batch", *event_shape)))
        raise ShapeError(argument, f"a tensor of shape ({expected})", f"shape {tuple(x.shape)}")


def check_context(context: Any, context_features: int) -> None:
    """Raise unless ``context`` is ``(*batch, context_features)``, or None for no features."""
    if context_features == 0:
        if context is not None:
            raise ContextError("context", "None, as context_features is 0", type(context).__name__)
    elif context is None:
        raise ContextError("context", f"a tensor of shape (*batch, {context_features})", None)
    else:
        check_event("context", context, (context_features,))


def check_broadcast(argument: str, batch: tuple[int, ...], other: tuple[int, ...]) -> None:
    """Raise unless batch dimensions of an argument broadcast with those of ``x``."""
    for a, b in zip(reversed(batch), reversed(other), strict=False):
        if a != b and 1 not in (a, b):
            expected = f"batch dimensions that broadcast with those of x, {tuple(other)}"
            raise ShapeError(argument, expected, tuple(batch))


def check_shape(argument: str, shape: int | Sequence[int]) -> tuple[int, ...]:
    """Return ``shape``, an integer or a sequence of them, as a tuple of sizes."""
    sizes = (shape,) if isinstance(shape, int) else shape
    if not isinstance(sizes, Sequence) or isinstance(sizes, str):
        raise ArgumentError(argument, "an integer or a sequence of integers", kind_of(sizes))
    return tuple(check_count(argument, size, minimum=0) for size in sizes)


def common_context(argument: str, widths: Iterable[int]) -> int:
    """Return the context width of several parts: 0 if all are 0, or else their one other width."""
    positive = set(widths) - {0}
    if len(positive) > 1:
        raise ArgumentError(argument, "equal context_features", sorted(positive))
    return max(positive, default=0)


def first_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    """Return the first key at which two mappings differ, None if they are equal."""
    for name in [*a, *b]:
        if name not in a or name not in b or a[name] != b[name]:
            return name
    return None
