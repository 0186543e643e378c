"""Precision of a dtype by its name: the step between values, or the kind of float."""

import math
import re

import numpy as np

_DECIMAL = re.compile(r"decimal\d*\((?:precision=)?\d+, (?:scale=)?(-?\d+)\)|decimal\((\d+)\)")
_DURATION = re.compile(r"(?:timedelta64\[|duration\[|duration\(time_unit=')(s|ms|us|ns)\b")
_INTEGER = re.compile(r"(?:[<>|=]?[iu]\d|u?int\d+)\b")
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_HALF = re.compile(r"float16\b|halffloat\b|[<>=]f2\b")
_SINGLE = re.compile(r"float32\b|float(?!\d)\b|[<>=]f4\b")


def step_of(dtype: str) -> float | None:
    """Return the step between the values of a dtype, None for floats.

    Example:
        >>> step_of("decimal128(10, 2)"), step_of("int32"), step_of("float64")
        (0.01, 1.0, None)
    """
    words = _plain(dtype)
    if found := _DECIMAL.match(words):
        return float(f"1e{-int(found[1] or found[2])}")
    if found := _DURATION.match(words):
        return _SECONDS[found[1]]
    if words == "timedelta":
        return 1e-6
    return 1.0 if _INTEGER.match(words) or words == "int" else None


def is_duration(dtype: str) -> bool:
    """Return whether the values of a dtype are durations."""
    words = _plain(dtype)
    return words.startswith(("timedelta", "duration"))


def float_of(dtype: str) -> type[np.floating]:
    """Return the NumPy float with at most the digits of a dtype."""
    words = _plain(dtype)
    if _HALF.match(words):
        return np.float16
    # Of Python a float is one of 64 bits, of Arrow one of 32.
    return np.float32 if _SINGLE.match(words) and dtype != "object<float>" else np.float64


def rounded_within(
    values: np.ndarray, step: float, lower: float | None, upper: float | None
) -> np.ndarray:
    """Return multiples of a step strictly between two bounds, the nearest to the values."""
    found = np.rint(values / step)
    if lower is not None:
        found = np.maximum(found, math.floor(lower / step) + 1)
    if upper is not None:
        found = np.minimum(found, math.ceil(upper / step) - 1)
    result: np.ndarray = found * step
    return result


def _plain(dtype: str) -> str:
    """Return the name in lower case, without wrappers."""
    words = dtype.lower()
    for wrapper in ("masked ", "sparse[", "object<"):
        words = words.removeprefix(wrapper)
    return words.removesuffix(">") if dtype.startswith("object<") else words
