"""How well clusters, found without labels, are classes."""

import numpy as np

from flowkit.errors import DtypeError, ShapeError


def cluster_error(
    clusters: np.ndarray,
    labels: np.ndarray,
    *,
    confidence: np.ndarray | None = None,
    reference: tuple[np.ndarray, np.ndarray] | None = None,
) -> float:
    """Return the share of rows whose cluster stands for another class than theirs.

    A cluster stands for the class of most of its rows or, where confidences are given, for that of
    the row which is surest of it.

    Args:
        clusters: of each row, integers ``(n,)``, as an array or tensor.
        labels: classes, integers ``(n,)``.
        confidence: in the cluster, ``(n,)``, of the rows that name the clusters.
        reference: clusters and labels of other rows, by which clusters are named; by default it
            is done by the rows themselves.

    Raises:
        DtypeError: clusters or labels that are no integers.
        ShapeError: lengths that differ.

    Reference: Makhzani, Shlens, Jaitly, Goodfellow and Frey, *Adversarial autoencoders*, 2015,
    section 6, for the surest row; Springenberg, *Categorical GAN*, 2016, for the most.

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
    """Return the class that each cluster stands for; the arguments are those of `cluster_error`.

    Example:
        >>> cluster_classes(np.array([7, 7, 7, 2]), np.array([0, 0, 1, 1]))
        {2: 1, 7: 0}
    """
    clusters, labels = _checked(clusters, labels)
    if confidence is not None and confidence.shape != clusters.shape:
        raise ShapeError("confidence", f"one for each row, {clusters.shape}", confidence.shape)
    classes = {}
    for cluster in np.unique(clusters):
        mine = clusters == cluster
        if confidence is None:
            found, counts = np.unique(labels[mine], return_counts=True)
            classes[int(cluster)] = int(found[counts.argmax()])
        else:
            classes[int(cluster)] = int(labels[mine][confidence[mine].argmax()])
    return classes


def _checked(clusters: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    clusters, labels = np.asarray(clusters), np.asarray(labels)
    for name, value in (("clusters", clusters), ("labels", labels)):
        if value.dtype.kind not in "biu":
            raise DtypeError(name, "integers", value.dtype)
    if labels.ndim != 1 or labels.shape != clusters.shape:
        raise ShapeError("labels", f"as many as there are clusters, {clusters.shape}", labels.shape)
    return clusters, labels
