"""Pictures of images, latents and densities, written as PNG. Needs the extra ``report``."""

import os
from collections.abc import Callable, Sequence

import numpy as np

from flowkit.errors import ShapeError

Decode = Callable[[np.ndarray], np.ndarray]


def image_grid(images: np.ndarray, *, gap: int = 1) -> np.ndarray:
    """Arrange images in rows and columns of one picture.

    Args:
        images: ``(rows, columns, height, width)``, or in colour ``(rows, columns, 3, height,
            width)`` for a picture ``(height, width, 3)``.
        gap: pixels between two images, at the largest level.

    Example:
        >>> image_grid(np.zeros((2, 3, 4, 4))).shape
        (9, 14)
    """
    if images.ndim == 5:
        images = np.moveaxis(images, 2, -1)
    if images.ndim not in (4, 5) or images.shape[4:] not in ((), (3,)):
        expected = "(rows, columns, height, width) or (rows, columns, 3, height, width)"
        raise ShapeError("images", expected, images.shape)
    rows, columns, height, width, *colours = images.shape
    size = (rows * (height + gap) - gap, columns * (width + gap) - gap, *colours)
    grid = np.full(size, images.max())
    for i, j in np.ndindex(rows, columns):
        top, left = i * (height + gap), j * (width + gap)
        grid[top : top + height, left : left + width] = images[i, j]
    return grid


def traversals(
    decode: Decode,
    z: np.ndarray,
    side: Sequence[int],
    *,
    latents: Sequence[int] | None = None,
    values: Sequence[float] = tuple(np.linspace(-2.5, 2.5, 9)),
) -> np.ndarray:
    """Decode a latent vector with one latent at a time set to each of several values.

    Args:
        decode: maps latents ``(n, latents)`` to images ``(n, pixels)``.
        z: values of the other latents, ``(latents,)``.
        side: height and width of an image.
        latents: indices of the latents to vary; by default all.
        values: values of a varied latent.

    Returns:
        ``(latents, values, height, width)``.

    Example:
        >>> traversals(lambda z: np.repeat(z[:, :1], 4, 1), np.zeros(2), (2, 2)).shape
        (2, 9, 2, 2)
    """
    chosen = range(len(z)) if latents is None else latents
    rows = []
    for j in chosen:
        varied = np.repeat(z[None], len(values), axis=0)
        varied[:, j] = values
        rows.append(np.asarray(decode(varied)).reshape(len(values), *side))
    return np.stack(rows)


def save_image(image: np.ndarray, path: str | os.PathLike[str], *, zoom: int = 2) -> None:
    """Write a picture as PNG; levels are scaled to the full range.

    Args:
        image: ``(height, width)`` of grey levels, or ``(height, width, 3)`` in colour.
        path: path of the file.
        zoom: pixels of the file per pixel of the picture, along each side.
    """
    from matplotlib.image import imsave

    span = image.max() - image.min()
    levels = (image - image.min()) / (span or 1)
    imsave(os.fspath(path), levels.repeat(zoom, 0).repeat(zoom, 1), cmap="gray")


def _on_grid(
    function: Decode, box: tuple[float, float, float, float], points: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return both axes of a grid over a box, and the values of a function on the grid."""
    left, right, bottom, top = box
    x, y = np.linspace(left, right, points), np.linspace(bottom, top, points)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    return x, y, np.asarray(function(grid)).reshape(points, points)


def density_beside(
    densities: dict[str, Callable[[np.ndarray], np.ndarray]],
    box: tuple[float, float, float, float],
    path: str | os.PathLike[str],
    *,
    points: int = 200,
) -> None:
    """Draw log-densities in the plane side by side, such as a learned posterior and the true one.

    Args:
        densities: by title, functions of points ``(n, 2)`` that return log-densities ``(n,)``, up
            to a constant.
        box: left, right, bottom and top.
        path: path of the PNG.
        points: number of grid points along each side.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(densities), figsize=(4 * len(densities), 4), squeeze=False)
    for axis, (title, log_density) in zip(axes[0], densities.items(), strict=True):
        _, _, values = _on_grid(log_density, box, points)
        axis.imshow(
            np.exp(values - np.nanmax(values)),
            extent=box,
            origin="lower",
            aspect="auto",
            cmap="Blues",
        )
        axis.set_title(title)
    figure.tight_layout()
    figure.savefig(os.fspath(path), dpi=100)
    plt.close(figure)


def surface(
    scores: Callable[[np.ndarray], np.ndarray],
    box: tuple[float, float, float, float],
    path: str | os.PathLike[str],
    *,
    clouds: dict[str, np.ndarray] | None = None,
    points: int = 100,
) -> None:
    """Draw contour lines of a function of the plane, such as a critic, and points.

    Args:
        scores: maps points ``(n, 2)`` to values ``(n,)``.
        box: left, right, bottom and top.
        path: path of the PNG.
        clouds: by title, points ``(n, 2)`` to draw.
        points: number of grid points along each side.
    """
    import matplotlib.pyplot as plt

    x, y, values = _on_grid(scores, box, points)
    figure, axis = plt.subplots(figsize=(5, 5))
    axis.contour(x, y, values, 25, cmap="coolwarm")
    for colour, (title, cloud) in zip(("black", "tab:green"), (clouds or {}).items(), strict=False):
        axis.scatter(cloud[:, 0], cloud[:, 1], s=2, alpha=0.5, color=colour, label=title)
    axis.set(xlim=box[:2], ylim=box[2:])
    if clouds:
        axis.legend(loc="upper right")
    figure.tight_layout()
    figure.savefig(os.fspath(path), dpi=100)
    plt.close(figure)
