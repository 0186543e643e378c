"""A linear Gaussian model, whose posterior is known: theta ~ N(0, 1), x ~ N(theta, 1)."""

import numpy as np

DEVIATION = 0.5**0.5  # of the posterior; its mean is x / 2


def pairs(rng: np.random.Generator, n: int, d: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return parameters and observations, ``(n, d)`` each."""
    theta = rng.normal(size=(n, d))
    return theta, theta + rng.normal(size=(n, d))


def draws(
    rng: np.random.Generator, x: np.ndarray, number: int, *, scale: float = 1.0, shift: float = 0.0
) -> np.ndarray:
    """Return draws ``(n, number, d)``, wrong by a scale and by a shift in posterior deviations."""
    noise = rng.normal(size=(len(x), number, x.shape[1]))
    return x[:, None] / 2 + DEVIATION * (shift + scale * noise)
