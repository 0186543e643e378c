"""Distances between samples and data, precision and recall.

Functions take tensors ``(n, *row)`` and ``(m, *row)``; rows of any shape are flattened.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from flowkit._checks import check_count
from flowkit._noise import normal
from flowkit.errors import ShapeError

_CHUNK = 2_048  # rows of a distance matrix in memory at once


def wasserstein_1(x: Tensor, y: Tensor) -> Tensor:
    """Return the exact Wasserstein-1 distance of samples on the line, ``(n,)`` and ``(m,)``.

    The distance is the area between the two distribution functions. For ``(n, k)`` and ``(m, k)``
    the result is the distance in each column, ``(k,)``.

    Reference: Villani, *Topics in optimal transportation*, 2003, remark 2.19.

    Example:
        >>> wasserstein_1(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0, 3.0, 2.0]))
        tensor(2.)
    """
    for name, points in (("x", x), ("y", y)):
        if points.dim() == 0:
            raise ShapeError(name, "points (n,) or (n, k)", ())
    if x.shape[1:] != y.shape[1:]:
        raise ShapeError("y", f"points of shape {tuple(x.shape[1:])}, as x", tuple(y.shape))
    if not len(x) or not len(y):
        raise ShapeError("x and y", "at least one point each", f"{len(x)} and {len(y)}")
    x, y = _floating(x, y)
    both = torch.cat([x, y])
    values, order = both.sort(0)
    step = torch.cat([torch.full_like(x, 1 / len(x)), torch.full_like(y, -1 / len(y))])
    gap = step.gather(0, order).cumsum(0)[:-1].abs()
    return (gap * values.diff(dim=0)).sum(0)


def sliced_wasserstein(
    x: Tensor, y: Tensor, *, projections: int = 256, generator: torch.Generator | None = None
) -> Tensor:
    """Return the mean Wasserstein-1 distance over random directions, ``()``.

    Reference: Bonneel, Rabin, Peyre and Pfister, *Sliced and Radon Wasserstein barycenters of
    measures*, 2015.

    Example:
        >>> x = torch.zeros(5, 2)
        >>> sliced_wasserstein(x, x)
        tensor(0.)
    """
    x, y = _vectors(x, y)
    check_count("projections", projections)
    directions = normal((x.shape[1], projections), x, generator)
    directions = directions / torch.linalg.vector_norm(directions, dim=0)
    return wasserstein_1(x @ directions, y @ directions).mean()


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return the unbiased energy distance ``2 E|x - y| - E|x - x'| - E|y - y'|``, ``()``.

    Reference: Szekely and Rizzo, *Energy statistics*, 2013, equation 5.

    Example:
        >>> energy_distance(torch.zeros(2, 1), torch.ones(3, 1))
        tensor(2.)
    """
    x, y = _vectors(x, y)
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise ShapeError("x and y", "at least 2 rows each", f"{n} and {m}")
    within = _sum(x, x) / (n * (n - 1)) + _sum(y, y) / (m * (m - 1))
    return 2 * _sum(x, y) / (n * m) - within


def _sum(x: Tensor, y: Tensor) -> Tensor:
    """Return the sum of all pairwise distances."""
    return torch.stack([torch.cdist(part, y).sum() for part in x.split(_CHUNK)]).sum()


def squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """Return the unbiased estimate of the squared maximum mean discrepancy, ``()``.

    The kernel is inverse multiquadric, ``s / (s + |x - y|²)``, with ``s`` twice the dimension.

    Reference: Gretton et al., *A kernel two-sample test*, 2012, equation 3; Tolstikhin et al.,
    *Wasserstein auto-encoders*, 2017, for the kernel.

    Example:
        >>> x = torch.randn(500, 2)
        >>> bool(squared_mmd(x, torch.randn(500, 2)).abs() < 0.1 < squared_mmd(x, x + 3))
        True
    """
    x, y = _vectors(x, y)
    if min(len(x), len(y)) < 2:
        raise ShapeError("x and y", "at least 2 rows each", f"{len(x)} and {len(y)}")
    scale = 2.0 * x.shape[1]

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        # From inner products, because the distance has no derivative at 0.
        squared = a.square().sum(-1, keepdim=True) + b.square().sum(-1) - 2 * a @ b.mT
        return scale / (scale + squared.clamp(min=0))

    n, m = len(x), len(y)
    within = (kernel(x, x).sum() - n) / (n * (n - 1)) + (kernel(y, y).sum() - m) / (m * (m - 1))
    return within - 2 * kernel(x, y).mean()


class PrecisionRecall(NamedTuple):
    """Precision and recall of samples.

    Attributes:
        precision: share of samples within the estimated support of the data.
        recall: share of data within the estimated support of the samples.
    """

    precision: float
    recall: float


def precision_recall(data: Tensor, samples: Tensor, *, neighbours: int = 3) -> PrecisionRecall:
    """Return precision and recall of samples by nearest neighbours.

    The support of a sample is estimated by balls around its points; each radius is the distance to
    the k-th neighbour.

    Args:
        data: ``(n, *row)``; for images, use features of a network.
        samples: ``(m, *row)``.
        neighbours: number of neighbours k.

    Reference: Kynkäänniemi, Karras, Laine, Lehtinen and Aila, *Improved precision and recall
    metric for assessing generative models*, 2019, equation 1.

    Example:
        >>> x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
        >>> precision_recall(x, 0.01 * x)
        PrecisionRecall(precision=1.0, recall=...)
    """
    data, samples = _vectors(data, samples)
    if min(len(data), len(samples)) <= check_count("neighbours", neighbours):
        sizes = f"{len(data)} and {len(samples)}"
        raise ShapeError("data and samples", f"more than {neighbours} rows each", sizes)
    return PrecisionRecall(_share(samples, data, neighbours), _share(data, samples, neighbours))


def _share(x: Tensor, cloud: Tensor, neighbours: int) -> float:
    """Return the share of points x in the balls around the points of a cloud."""
    radii = [
        torch.cdist(part, cloud).kthvalue(neighbours + 1, dim=1).values  # the first is the point
        for part in cloud.split(_CHUNK)
    ]
    radius = torch.cat(radii)
    inside = [(torch.cdist(part, cloud) <= radius).any(1) for part in x.split(_CHUNK)]
    return torch.cat(inside).double().mean().item()


class Held(NamedTuple):
    """Coverage of modes by samples.

    Attributes:
        modes: number of modes with more than a fifth of an equal share of the samples.
        near: share of samples that lie near a mode.
    """

    modes: int
    near: float


def modes_held(samples: Tensor, modes: Tensor, radius: float) -> Held:
    """Count the modes ``(k, d)`` that samples ``(n, d)`` cover within a radius.

    Example:
        >>> modes = torch.tensor([[0.0], [5.0]])
        >>> modes_held(torch.tensor([[0.1], [-0.1], [0.0], [2.0]]), modes, radius=0.5)
        Held(modes=1, near=0.75)
    """
    samples, modes = _vectors(samples, modes)
    distance, nearest = torch.cdist(samples, modes).min(1)
    near = distance < radius
    counts = torch.bincount(nearest[near], minlength=len(modes))
    held = counts > 0.2 * len(samples) / len(modes)
    return Held(int(held.sum()), near.double().mean().item())


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Return the squared Fréchet distance of Gaussians with the moments of two samples.

    The distance is ``|m - n|² + tr(C + D - 2 (C D)^(1/2))``. Distances are comparable only within
    the features of one network; the FID of the literature uses a certain Inception network.

    Reference: Dowson and Landau, *The Fréchet distance between multivariate normal distributions*,
    1982, equation 4.

    Example:
        >>> x = torch.tensor([[0.0], [2.0]])
        >>> frechet_distance(x, 3 * x)
        8.0
    """
    x, y = (part.double() for part in _vectors(x, y))
    if min(len(x), len(y)) < 2:
        raise ShapeError("x and y", "at least 2 rows each", f"{len(x)} and {len(y)}")
    c, d = (torch.cov(part.t(), correction=0).reshape(x.shape[1], -1) for part in (x, y))
    root = _root(c)
    cross = torch.linalg.eigvalsh(root @ d @ root).clamp(min=0).sqrt().sum()
    offset = (x.mean(0) - y.mean(0)).square().sum()
    return float(offset + c.trace() + d.trace() - 2 * cross)


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.mT
    return root


def _vectors(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return flat rows, centred so that squared distances are accurate."""
    if x.dim() < 2:
        raise ShapeError("x", "rows (n, *row)", tuple(x.shape))
    if x.shape[1:] != y.shape[1:]:
        raise ShapeError("y", f"rows of shape {tuple(x.shape[1:])}, as x", tuple(y.shape))
    x, y = (part.flatten(1) for part in _floating(x, y))
    middle = x.detach().nan_to_num(0.0, 0.0, 0.0).mean(0)  # a NaN stays in its row
    return x - middle, y - middle


def _floating(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in the more precise of their dtypes, in float32 or better."""
    both = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    return x.to(both), y.to(both)
