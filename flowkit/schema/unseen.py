"""Broad distributions for unseen numbers: Student t with two degrees of freedom."""

import numpy as np


def log_density(x: np.ndarray, center: float, scale: float) -> np.ndarray:
    """Return the log-density of real numbers."""
    u = np.abs((x - center) / scale)
    # (2 + u²)^(-3/2); the square of a large u would overflow.
    log_root = np.where(
        u > 1e100, np.log(np.maximum(u, 1)), 0.5 * np.log(2 + u.clip(max=1e100) ** 2)
    )
    result: np.ndarray = -3 * log_root - np.log(scale)
    return result


def log_mass(
    v: np.ndarray,
    center: float,
    scale: float,
    lower: int | None = None,
    upper: int | None = None,
) -> np.ndarray:
    """Return the log-probability of integers, ``-inf`` outside of the bounds.

    An integer has the mass within one half. A bound has the mass beyond it, too.

    Example:
        >>> numbers = np.arange(-100_000, 100_001)
        >>> bool(abs(np.exp(log_mass(numbers, 3.0, 2.0)).sum() - 1) < 1e-9)
        True
    """
    low, high = ((v + half - center) / scale for half in (-0.5, 0.5))
    # By symmetry in the upper half, where tails keep their digits.
    flip = low + high < 0
    near, far = np.where(flip, -high, low), np.where(flip, -low, high)
    mass = tail(near) - tail(far)
    # Far out the difference has few digits, and the density changes little over it.
    middle = np.exp(log_density(np.asarray(v, dtype=np.float64), center, scale))
    mass = np.where(far - near < 1e-4 * np.abs(near), middle, mass)
    if lower is not None:
        mass = np.where(v == lower, tail(-high), mass)
    if upper is not None:
        mass = np.where(v == upper, 1.0 if lower == upper else tail(low), mass)
    with np.errstate(divide="ignore"):
        result: np.ndarray = np.log(mass)
    for bound, sign in ((lower, 1), (upper, -1)):
        if bound is not None:
            result = np.where(sign * v < sign * bound, -np.inf, result)
    return result


def tail(u: np.ndarray) -> np.ndarray:
    """Return the probability above ``u``."""
    root = np.sqrt(2 + u * u)
    above = 1 / (root * (root + np.abs(u)))
    tail: np.ndarray = np.where(u >= 0, above, 1 - above)
    return tail
