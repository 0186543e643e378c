"""How well clusters, found without labels, are classes."""

import numpy as np

from flowkit.errors import ShapeError


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
        clusters: of each row, integers ``(n,)``.
        labels: classes, ``(n,)``.
        confidence: in the cluster, ``(n,)``, of the rows that name the clusters.
        reference: clusters and labels of other rows, by which clusters are named; by default it
            is done by the rows themselves.

    Reference: Makhzani, Shlens, Jaitly, Goodfellow and Frey, *Adversarial autoencoders*, 2015,
    section 6, for the surest row; Springenberg, *Categorical GAN*, 2016, for the most.

    Example:
        >>> cluster_error(np.array([7, 7, 7, 2]), np.array([0, 0, 1, 1]))
        0.25
    """
    named, known = (clusters, labels) if reference is None else reference
    for name, array, other in (("labels", labels, clusters), ("reference", known, named)):
        if array.ndim != 1 or array.shape != other.shape:
            raise ShapeError(name, f"as many as there are clusters, {other.shape}", array.shape)
    if confidence is not None and confidence.shape != named.shape:
        raise ShapeError("confidence", f"one for each row, {named.shape}", confidence.shape)
    classes = {}
    for cluster in np.unique(named):
        mine = named == cluster
        if confidence is None:
            found, counts = np.unique(known[mine], return_counts=True)
            classes[cluster] = found[counts.argmax()]
        else:
            classes[cluster] = known[mine][confidence[mine].argmax()]
    wrong = [c not in classes or classes[c] != y for c, y in zip(clusters, labels, strict=True)]
    return float(np.mean(wrong))
