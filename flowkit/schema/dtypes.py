"""Ranges and precision of dtypes, by the names that NumPy, pandas, polars and pyarrow give them."""

import re
from typing import Any

import numpy as np

_EXACT = 2**53
# Years 68 to 9892, which every library has; nanoseconds in 64 bits span 1678 to 2262.
_TIMES, _NANOSECONDS = (-6e10, 2.5e11), (-9.2e9, 9.2e9)


def float_dtype(dtype: str) -> type[np.floating[Any]]:
    """Return NumPy's dtype of the precision of a dtype: float64 of all but short floats."""
    name = dtype.lower().split("[")[0]
    if name in ("float16", "halffloat"):
        return np.float16
    return np.float32 if name in ("float32", "float") else np.float64


def number_range(dtype: str) -> tuple[float, float]:
    """Return the least and the largest number that a dtype holds; whole ones within 2**53.

    Example:
        >>> number_range("UInt8"), number_range("int16[pyarrow]")
        ((0.0, 255.0), (-32768.0, 32767.0))
    """
    found = re.match(r"u?int(8|16|32|64)(?!\d)", dtype.lower())
    if found is None:
        most = float(np.finfo(float_dtype(dtype)).max)
        return -most, most
    limits = np.iinfo(found.group(0))
    return float(max(limits.min, -_EXACT)), float(min(limits.max, _EXACT))


def time_range(dtype: str) -> tuple[float, float]:
    """Return the earliest and the latest time that a dtype holds, in seconds since 1970."""
    return _NANOSECONDS if re.search(r"\bns\b", dtype) else _TIMES
