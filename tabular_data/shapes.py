"""Images of shapes in the plane, with known factors of variation.

The grid of factors is that of dSprites: 3 shapes, 6 scales, 40 rotations, 32 x 32 positions. Images
have 64 x 64 pixels in black and white. Factors equal those of dSprites, but pixels do not.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from flowkit.errors import ArgumentError, DtypeError, ShapeError

FACTORS = ("shape", "scale", "rotation", "x", "y")
SIZES = (3, 6, 40, 32, 32)
SHAPES = ("square", "ellipse", "heart")
SIDE = 64
TOTAL = math.prod(SIZES)

_RADIUS = 11.0  # radius of the largest shape, in pixels
_MARGIN = 16.0  # minimum distance of centres from the edge, in pixels
_WINDOW = 32  # side of a window around a centre that contains any shape, in pixels
_CHUNK = 1_024


def factors_of(index: np.ndarray) -> np.ndarray:
    """Return the factors of indices in the grid, ``(n,)`` to ``(n, 5)``.

    Example:
        >>> factors_of(np.array([0, 1, 737_279])).tolist()
        [[0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [2, 5, 39, 31, 31]]
    """
    return np.stack(np.unravel_index(np.asarray(index), SIZES), axis=1)


def sample_factors(n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw factors ``(n, 5)``, uniform and independent."""
    return np.stack([rng.integers(size, size=n) for size in SIZES], axis=1)


def render(factors: np.ndarray) -> np.ndarray:
    """Render images of factors ``(n, 5)``, as ``(n, 4096)`` uint8 of 0 and 1.

    Args:
        factors: codes of shape, scale, rotation, x and y, each below the entry of `SIZES`.

    Raises:
        ShapeError: the number of columns is not 5.
        DtypeError: codes are not integers.
        ArgumentError: a code is out of range; row and factor are named.

    Example:
        >>> pictures = render(np.array([[0, 5, 0, 16, 16], [2, 0, 10, 0, 31]]))
        >>> pictures.shape, pictures.dtype
        ((2, 4096), dtype('uint8'))
    """
    codes = np.asarray(factors)
    if codes.ndim != 2 or codes.shape[1] != len(SIZES):
        raise ShapeError("factors", f"codes (n, {len(SIZES)})", codes.shape)
    if not np.issubdtype(codes.dtype, np.integer):
        raise DtypeError("factors", "integers", codes.dtype)
    bad = (codes < 0) | (codes >= np.array(SIZES))
    if bad.any():
        row, j = np.argwhere(bad)[0]
        expected = f"a {FACTORS[j]} from 0 to {SIZES[j] - 1}"
        raise ArgumentError(f"factors, row {row}", expected, codes[row, j])
    pictures = np.empty((len(codes), SIDE * SIDE), np.uint8)
    for start in range(0, len(codes), _CHUNK):
        part = slice(start, start + _CHUNK)
        pictures[part] = _inside(codes[part])
    return pictures


def stream(
    index: Sequence[int] | np.ndarray | None = None, *, chunk: int = 10_000
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Render images of the grid in chunks; each chunk is a pair of images and factors.

    Args:
        index: indices in the grid, in any order; None for all 737,280.
        chunk: number of images in a chunk.

    Example:
        >>> [len(pictures) for pictures, _ in stream(range(2_500), chunk=1_000)]
        [1000, 1000, 500]
    """
    chosen = np.arange(TOTAL) if index is None else np.asarray(index)
    for start in range(0, len(chosen), chunk):
        codes = factors_of(chosen[start : start + chunk])
        yield render(codes), codes


def _inside(codes: np.ndarray) -> np.ndarray:
    """Return the mask of pixels whose centres are inside the shapes, ``(n, 4096)``."""
    pictures = np.zeros((len(codes), SIDE, SIDE), bool)
    step = (SIDE - 2 * _MARGIN) / (np.array(SIZES[3:]) - 1)
    x, y = _MARGIN + step[0] * codes[:, 3], _MARGIN + step[1] * codes[:, 4]
    left, top = (np.clip(c.astype(int) - _WINDOW // 2, 0, SIDE - _WINDOW) for c in (x, y))
    radius = _RADIUS * (0.5 + 0.1 * codes[:, 1])
    angle = codes[:, 2] * (2 * math.pi / SIZES[2])
    cosine, sine = np.cos(angle) / radius, np.sin(angle) / radius
    window = np.arange(_WINDOW) + 0.5
    for kind, inside in enumerate(_INSIDE):
        rows = np.flatnonzero(codes[:, 0] == kind)
        across = (left[rows] - x[rows])[:, None] + window  # (m, W)
        down = (top[rows] - y[rows])[:, None] + window
        c, s = cosine[rows, None, None], sine[rows, None, None]
        across, down = across[:, None, :], down[:, :, None]
        marks = inside(c * across + s * down, c * down - s * across)  # (m, W, W)
        at = np.arange(_WINDOW)
        where = (rows[:, None, None], (top[rows, None] + at)[:, :, None])
        pictures[(*where, (left[rows, None] + at)[:, None, :])] = marks
    return pictures.reshape(len(codes), -1)


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    inside: np.ndarray = np.maximum(np.abs(u), np.abs(v)) < 0.9
    return inside


def _ellipse(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    inside: np.ndarray = u * u + 4 * v * v < 1.2
    return inside


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """``(h² + w² - 1)³ < h² w³``, with the sign of w for rows counted from the top."""
    h, w = 1.1 * u, 0.15 - 1.1 * v
    squared = h * h
    ring = squared + w * w - 1
    inside: np.ndarray = ring * ring * ring < squared * w * w * w
    return inside


_INSIDE = (_square, _ellipse, _heart)
