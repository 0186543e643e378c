"""Conditional kernel estimate as a method of regression."""

import numpy as np
from scipy.optimize import fmin
from scipy.special import logsumexp

from flowkit.tabular.conditional.normal_mixture import NormalMixture
from regression.data import Split
from regression.predictive import Mixture, Prediction


def kernel(data: Split, seed: int, quick: bool) -> Prediction:  # noqa: ARG001  it has no seed
    """Conditional kernel estimate, bandwidths by the likelihood of each row without itself.

    The density is a mixture of normals: one for each training row, weighted by the kernels of
    the features. It is that of ``KDEMultivariateConditional`` of statsmodels with ``bw="cv_ml"``,
    and the same search from the same start. Of all rows at once a fit is many times faster than
    the loop there, and a bandwidth that the search returns with a minus sign is not lost. Weights
    are made of logarithms, so that rows far from all others have some.

    Reference: Hall, Racine and Li, *Cross-validation and the estimation of conditional probability
    densities*, 2004.
    """
    rows = np.column_stack([data.y, data.x])
    spread = np.maximum(rows.std(0), 1e-12)
    z = (rows / spread).T
    squares = (z[:, :, None] - z[:, None]) ** 2  # (1 + columns, n, n)

    def loss(widths: np.ndarray) -> float:
        """Return the mean negative log-density of each row given the others."""
        logits = np.tensordot(-0.5 / np.square(widths[1:]), squares[1:], 1)
        np.fill_diagonal(logits, -np.inf)
        own = -0.5 * squares[0] / widths[0] ** 2 - np.log(np.abs(widths[0]))
        return float((logsumexp(logits, axis=1) - logsumexp(logits + own, axis=1)).mean())

    start = np.full(len(z), 1.06 * data.x.shape[0] ** (-1.0 / (4 + len(z))))
    most = 50 if quick else 1_000
    found = fmin(loss, start, disp=False, maxiter=most, maxfun=most)
    own, others = abs(found[0]) * spread[0], np.abs(found[1:])

    def predict() -> Mixture:
        x, x_test = data.x / spread[1:] / others, data.x_test / spread[1:] / others
        logits = np.zeros((len(x_test), len(x)))
        for j in range(x.shape[1]):
            logits -= 0.5 * (x_test[:, j, None] - x[:, j]) ** 2
        weights = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
        means = np.tile(data.y, (len(x_test), 1))
        return Mixture(NormalMixture(weights, means, np.full(weights.shape, own)))

    return predict
