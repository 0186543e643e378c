"""Pairs of true parameters and posterior draws, the input of calibration checks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowkit._checks import check_called, check_finite_entries
from flowkit.errors import ArgumentError, DataError, ShapeError

# Draws (n, L, d), or a function of the observations (n, c) that returns draws.
Draws = np.ndarray | Tensor | Callable[[Any], np.ndarray | Tensor]


def finite_array(name: str, values: Any, dims: int, expected: str) -> np.ndarray:
    """Return an array or tensor as finite float64, with ``dims`` dimensions, none of them empty.

    Raises:
        ShapeError: another number of dimensions, or no entries.
        DataError: a number that is not finite.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu().double().numpy()
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(name, f"numbers of {expected}", type(values).__name__) from error
    if array.ndim != dims or not array.size:
        raise ShapeError(name, expected, array.shape)
    if not np.isfinite(array).all():
        check_finite_entries(name, torch.from_numpy(array))
    return array


def draws_at(name: str, draws: Draws, x: Any, rows: tuple[int, int]) -> np.ndarray:
    """Return draws ``(n, L, d)``, computed from the observations if ``draws`` is a function.

    Args:
        name: name of the argument.
        draws: draws, or a function of the observations.
        x: observations ``(n, c)``; read only by a function.
        rows: the numbers n and d.

    Raises:
        ArgumentError: a function without observations.
        ShapeError: draws of another shape.
        DataError: a number that is not finite.
    """
    if callable(draws):
        check_called(name, draws, "draws(x)", 1)
        if x is None:
            raise ArgumentError("x", f"observations (n, c), because {name} is a function", None)
        draws = draws(x)
    n, d = rows
    array = finite_array(name, draws, 3, f"shape ({n}, L, {d}), L at least 1")
    if (len(array), array.shape[2]) != rows:
        raise ShapeError(name, f"shape ({n}, L, {d}), L at least 1", array.shape)
    return array


def paired(theta: Any, draws: Draws, x: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return true parameters ``(n, d)`` and draws ``(n, L, d)`` as float64.

    Raises:
        ArgumentError, ShapeError, DataError: as `draws_at`.
    """
    theta = finite_array("theta", theta, 2, "shape (n, d), n at least 1")
    return theta, draws_at("draws", draws, x, theta.shape)


def ranks_among(values: np.ndarray, draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return how many of the draws ``(n, L, *)`` lie below each value ``(n, *)``: 0 to L.

    Each tie counts as below at random: all ranks are equally probable for equal distributions.
    """
    below = (draws < values[:, None]).sum(1)
    ties = (draws == values[:, None]).sum(1)
    result: np.ndarray = below + rng.integers(0, ties + 1)
    return result


def positions(ranks: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return ranks 0 to L as points of [0, 1], uniform within the L + 1 places."""
    result: np.ndarray = (ranks + rng.random(ranks.shape)) / (draws + 1)
    return result
