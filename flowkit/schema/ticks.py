"""Times as seconds: from the integer ticks of any unit, and back; ticks as exact text."""

import numpy as np

DAY = 86_400.0

# Ticks in a second, and seconds in a tick.
_FINE = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9, "ps": 10**12, "fs": 10**15, "as": 10**18}
_COARSE = {"m": 60, "h": 3600, "D": 86_400, "W": 604_800}

# The years 1 to 9999, which all that reads calendars can show.
_FIRST, _LAST = -62_135_596_800.0, 253_402_300_799.0

# Up to so many seconds float64 tells nanoseconds apart.
_EXACT = 2**53 / 10**9


def seconds(ticks: np.ndarray, unit: str) -> np.ndarray:
    """Return integer ticks as float64 seconds."""
    if unit in _COARSE:
        return ticks.astype(np.float64) * _COARSE[unit]
    if unit == "ns":
        # Whole microseconds give the very float64 that microseconds themselves give.
        fine, rest = np.divmod(ticks, 1000)
        found: np.ndarray = fine / 1e6 + rest / 1e9
        return found
    return ticks / np.float64(_FINE[unit])


def ticks_of(values: np.ndarray, unit: str, *, calendar: bool = False) -> np.ndarray:
    """Return float64 seconds as the nearest int64 ticks.

    Args:
        values: seconds; those that are not finite become 0.
        unit: of the ticks.
        calendar: whether to stay within the years 1 to 9999.
    """
    values = np.where(np.isfinite(values), values, 0.0)
    if calendar:
        values = values.clip(_FIRST, _LAST)
    if unit in _COARSE:
        whole: np.ndarray = np.rint(values / _COARSE[unit]).astype(np.int64)
        return whole
    per = _FINE[unit]
    most = float(2**63 - 2**11) / per
    values = values.clip(-most, most)
    found: np.ndarray = np.rint(values * per).astype(np.int64)
    if per > 10**6:  # beyond what float64 tells apart, finer digits are noise
        coarse = np.rint(values * 1e6)
        inside = np.abs(coarse) < float(2**63 - 2**11) / (per // 10**6)
        rounded = np.where(inside, coarse, 0).astype(np.int64) * (per // 10**6)
        found = np.where((np.abs(values) < _EXACT) | ~inside, found, rounded)
    return found


def label(tick: int, unit: str, family: str) -> str:
    """Return a tick as text that `ticks_of_labels` reads exactly."""
    if family == "duration":
        return f"{tick} {unit}"
    text = str(np.array(tick, f"datetime64[{unit}]"))
    return text.partition("T")[2] if family == "clock" else text


def ticks_of_labels(labels: np.ndarray, unit: str, family: str) -> np.ndarray:
    """Return the int64 ticks of labels."""
    if family == "duration":
        return np.array([int(text.split(" ")[0]) for text in labels], dtype=np.int64)
    if family == "clock":
        labels = np.array([f"1970-01-01T{text}" for text in labels], dtype=str)
    return np.asarray(labels, dtype=str).astype(f"datetime64[{unit}]").astype(np.int64)
