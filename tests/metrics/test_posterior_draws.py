"""Pairs of parameters and draws: wrong ones are refused by name."""

import numpy as np
import pytest

from flowkit.errors import ArgumentError, DataError, ShapeError
from flowkit.metrics import sbc, sbc_ranks, tarp

THETA, DRAWS = np.zeros((4, 2)), np.zeros((4, 3, 2))


def with_a_nan(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[(2, 1, 0)[: array.ndim]] = np.nan
    return array


@pytest.mark.parametrize("check", [sbc, sbc_ranks, tarp])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((THETA[0], DRAWS), ShapeError, r"theta: expected shape \(n, d\), n at least 1, got \(2,"),
        ((THETA[:0], DRAWS), ShapeError, "theta: expected"),
        ((THETA, DRAWS[:, 0]), ShapeError, r"draws: expected shape \(4, L, 2\), L at least 1"),
        ((THETA, DRAWS[:, :0]), ShapeError, "draws: expected"),
        ((THETA, DRAWS[..., :1]), ShapeError, r"draws: expected .*, got \(4, 3, 1\)"),
        ((THETA, DRAWS.swapaxes(0, 1)), ShapeError, r"draws: expected .*, got \(3, 4, 2\)"),
        ((with_a_nan(THETA), DRAWS), DataError, "theta, row 2, column 1: expected a finite"),
        ((THETA, with_a_nan(DRAWS)), DataError, "draws, row 2, entry"),
        ((THETA, [["a"]]), DataError, "draws: expected numbers of shape"),
        ((THETA, lambda _: DRAWS), ArgumentError, r"x: expected observations \(n, c\), because"),
        ((THETA, lambda: DRAWS, THETA), ArgumentError, r"draws: expected .* draws\(x\)"),
        ((THETA, lambda _: DRAWS[:1], THETA), ShapeError, "draws: expected"),
    ],
)
def test_wrong_arguments_are_named(check, arguments, error, message):
    with pytest.raises(error, match=message):
        check(*arguments)
