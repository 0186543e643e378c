"""Latents of draws, tested for independence and the law of the base."""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from flowkit.distributions import BoxUniform, Flow, StandardLogistic, StandardNormal

_DISTRIBUTION_FUNCTIONS: dict[type, Callable[[Tensor], Tensor]] = {
    StandardNormal: torch.special.ndtr,
    StandardLogistic: torch.sigmoid,
}


def latent_tests(flow: object, rows: Tensor, context: Tensor | None) -> list[float]:
    """Return p-values of the latents of ``rows (n, m, *event_shape)``; an empty list if no flow.

    The tests are Kolmogorov-Smirnov tests of each latent, and for each pair of latents the
    correlations of normal scores and of their squares. Bases without a distribution function here
    have no tests.
    """
    if not isinstance(flow, Flow) or type(flow.base) not in (*_DISTRIBUTION_FUNCTIONS, BoxUniform):
        return []
    with torch.no_grad():
        embedded = flow._embed(context)
        z, _ = flow.transform(rows, embedded if flow.transform.context_features else None)
    z = z.flatten(2).flatten(0, 1).double()
    if isinstance(flow.base, BoxUniform):
        low, high = (z.new_tensor(end) for end in (flow.base.low, flow.base.high))
        u = (z - low) / (high - low)
    else:
        u = _DISTRIBUTION_FUNCTIONS[type(flow.base)](z)
    p_values = [float(stats.kstest(column, "uniform").pvalue) for column in u.T.numpy()]
    normal = torch.special.ndtri(u.clamp(1e-12, 1 - 1e-12))
    for scores in (normal, (normal**2 - 1) / math.sqrt(2)):
        correlations = np.corrcoef(scores.numpy(), rowvar=False).reshape(u.shape[1], -1)
        above = correlations[np.triu_indices(u.shape[1], 1)]
        z_scores = np.arctanh(above.clip(-0.999, 0.999)) * math.sqrt(len(u) - 3)
        p_values += (2 * stats.norm.sf(np.abs(z_scores))).tolist()
    return p_values
