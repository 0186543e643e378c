"""Stacking: weights of members by their held-out log-densities."""

import numpy as np
from scipy.special import logsumexp

# A kind must raise the held-out score of the others by this many nats to be kept.
_LEAST_GAIN = 0.002


def stack(
    scores: np.ndarray, weights: np.ndarray, *, prior: np.ndarray | None = None, steps: int = 500
) -> np.ndarray:
    """Return the mixture weights under which held-out rows are most probable, ``(m,)``.

    The score is concave in the weights and EM climbs it. ``prior`` adds rows that each member
    explains alone: with little to go by the weights stay near it.

    Args:
        scores: log-densities of held-out rows under each member, ``(n, m)``.
        weights: of the rows, ``(n,)``.
        prior: pseudo-rows of each member, ``(m,)``; half a row by default.
        steps: of EM.

    Reference: Yao, Vehtari, Simpson and Gelman, *Using stacking to average Bayesian predictive
    distributions*, 2018.

    Example:
        >>> stack(np.log(np.array([[0.9, 0.1], [0.8, 0.2]])), np.ones(2)).argmax()
        np.int64(0)
    """
    m = scores.shape[1]
    prior = np.full(m, 0.5) if prior is None else prior
    # A member that rules a row out is no reason for the sum to be NaN.
    density = np.exp(scores - scores.max(1, keepdims=True))
    share = np.full(m, 1 / m)
    for _ in range(steps):
        joint = density * share
        counts = (weights / joint.sum(1)) @ joint + prior
        new = counts / counts.sum()
        done = np.abs(new - share).max() < 1e-7
        share = new
        if done:
            break
    return share


def mixture_score(scores: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return the log-density of each row under the mixture of members, ``(n,)``."""
    result: np.ndarray = logsumexp(scores + np.log(np.maximum(share, 1e-300)), axis=1)
    return result


def selected_weights(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return weights of kinds by held-out scores ``(n, kinds)``, zero for those that add nothing.

    Backward selection: the kind of least weight is dropped for as long as the held-out score falls
    by less than 0.002 nats. Fewer members are faster, and overfit less.
    """
    kept = list(range(scores.shape[1]))

    def attempt(chosen: list[int]) -> tuple[float, np.ndarray]:
        share = stack(scores[:, chosen], weights)
        score = mixture_score(scores[:, chosen], share)
        return float(np.average(score, weights=weights)), share

    best, share = attempt(kept)
    while len(kept) > 1:
        lightest = int(np.argmin(share))
        fewer = kept[:lightest] + kept[lightest + 1 :]
        value, fewer_share = attempt(fewer)
        if value < best - _LEAST_GAIN:
            break
        kept, share, best = fewer, fewer_share, max(best, value)
    result = np.zeros(scores.shape[1])
    result[kept] = share
    return result
