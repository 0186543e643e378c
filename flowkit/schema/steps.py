"""Steps of columns: decimals, multiples of a number, units of time."""

from decimal import Decimal

import numpy as np

from flowkit.errors import ArgumentError

# A factor that all values share is a step if it would be an accident no likelier than this.
_ACCIDENT = 1e-6
_MOST_DECIMALS = 12
# Of a value in units of the step: beyond so much rounding a multiple is no evidence.
_CLEAR = 0.01
_TIME_UNITS = (86_400.0, 3600.0, 60.0, 1.0, 1e-3, 1e-6)


def decimal_step(levels: np.ndarray, epsilon: float) -> float | None:
    """Return the step of decimal numbers, None if they have none.

    The step is the decimal place of the last digit, or a multiple of that place that is unlikely
    to be an accident: 0.05 for 0.15, 0.4, 1.05, ...

    Args:
        levels: the distinct values, at least two.
        epsilon: relative rounding error of the column's dtype.

    Example:
        >>> decimal_step(np.array([0.25, 1.5, 12.0, 7.75]), 2**-52)
        0.01
    """
    if len(levels) < 2:
        return None
    for decimals in range(_MOST_DECIMALS + 1):
        scaled = levels * 10.0**decimals
        rounding = 4 * epsilon * np.abs(scaled) + 1e-12
        if rounding.max() > _CLEAR:
            return None
        whole = np.round(scaled)
        if (np.abs(scaled - whole) <= rounding).all():
            factor = shared_factor(whole.astype(np.int64))
            return float(Decimal(factor).scaleb(-decimals))
    return None


def time_step(levels: np.ndarray) -> float | None:
    """Return the step of times, in seconds: a unit, or a multiple unlikely to be an accident.

    Example:
        >>> time_step(np.array([0.0, 60.0, 3660.0]))
        60.0
    """
    if len(levels) < 2:
        return None
    ticks = np.round(levels * 1e6).astype(np.int64)
    if len(np.unique(ticks)) < len(levels):  # they differ by less than a microsecond
        return None
    for unit in _TIME_UNITS:
        size = round(unit * 1e6)
        if (ticks % size == 0).all():
            return unit * shared_factor(ticks // size)
    return None


def shared_factor(numbers: np.ndarray) -> int:
    """Return the greatest common divisor of distinct whole numbers, 1 if it may be an accident.

    Of numbers without a common factor, all are multiples of g with probability ``g**-n``.
    """
    factor = int(np.gcd.reduce(np.abs(numbers)))
    nonzero = int(np.count_nonzero(numbers))
    return factor if factor > 1 and nonzero * np.log(factor) > -np.log(_ACCIDENT) else 1


def rounded(x: np.ndarray, step: float) -> np.ndarray:
    """Return the nearest multiples of a step, each the float nearest to its decimals."""
    exponent = Decimal(repr(step)).normalize().as_tuple().exponent
    if not isinstance(exponent, int):
        raise ArgumentError("step", "a finite number", step)
    multiples: np.ndarray = np.round(np.round(x / step) * step, max(-exponent, 0))
    return multiples
