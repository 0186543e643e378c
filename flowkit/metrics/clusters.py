"""Clustering error: agreement of unsupervised clusters with classes."""

import numpy as np

from flowkit.errors import DtypeError, ShapeError


def cluster_error(
    clusters: np.ndarray,
    labels: np.ndarray,
    *,
    confidence: np.ndarray | None = None,
    reference: tuple[np.ndarray, np.ndarray] | None = None,
) -> float:
    """Return the share of rows whose class is not the class assigned to their cluster.

    A cluster is assigned the most frequent class of its rows. If confidences are given, a cluster
    is assigned the class of its most confident row.

    Args:
        clusters: cluster of each row, integers ``(n,)``, as an array or tensor.
        labels: class of each row, integers ``(n,)``.
        confidence: confidence ``(n,)`` of the rows by which clusters are assigned.
        reference: clusters and labels of other rows by which clusters are assigned; by default, the
            same rows.

    Raises:
        DtypeError: clusters or labels are not integers.
        ShapeError: lengths that differ.

    Reference: Makhzani, Shlens, Jaitly, Goodfellow and Frey, *Adversarial autoencoders*, 2015,
    section 6, for the most confident row; Springenberg, *Categorical GAN*, 2016, for the majority.

    Example:
        >>> cluster_error(np.array([7, 7, 7, 2]), np.array([0, 0, 1, 1]))
        0.25
    """
    clusters, labels = _checked(clusters, labels)
    named, known = (clusters, labels) if reference is None else reference
    classes = cluster_classes(named, known, confidence)
    return float(np.mean([classes.get(c) != y for c, y in zip(clusters, labels, strict=True)]))


def cluster_classes(
    clusters: np.ndarray, labels: np.ndarray, confidence: np.ndarray | None = None
) -> dict[int, int]:
    """Return the class assigned to each cluster; the arguments are those of `cluster_error`.

    Example:
        >>> cluster_classes(np.array([7, 7, 7, 2]), np.array([0, 0, 1, 1]))
        {2: 1, 7: 0}
    """
    clusters, labels = _checked(clusters, labels)
    if confidence is not None and confidence.shape != clusters.shape:
        expected = f"the shape of clusters, {clusters.shape}"
        raise ShapeError("confidence", expected, confidence.shape)
    classes = {}
    for cluster in np.unique(clusters):
        members = clusters == cluster
        if confidence is None:
            values, counts = np.unique(labels[members], return_counts=True)
            classes[int(cluster)] = int(values[counts.argmax()])
        else:
            classes[int(cluster)] = int(labels[members][confidence[members].argmax()])
    return classes


def _checked(clusters: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    clusters, labels = np.asarray(clusters), np.asarray(labels)
    for name, value in (("clusters", clusters), ("labels", labels)):
        if value.dtype.kind not in "biu":
            raise DtypeError(name, "integers", value.dtype)
    if labels.ndim != 1 or labels.shape != clusters.shape:
        raise ShapeError("labels", f"the shape of clusters, {clusters.shape}", labels.shape)
    return clusters, labels
