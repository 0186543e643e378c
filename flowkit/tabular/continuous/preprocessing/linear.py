"""Residuals of columns after linear regression on preceding columns and the context.

Linear dependence need not be learned by a member then. Noise in training is relative to the
residual, and a mixture, which has no context of its own, depends on it through the regression.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# Penalties that are tried, in rows; the leave-one-out score of each column chooses.
_PENALTIES = 10.0 ** np.arange(-1, 5)
# Minimum scale of a column that the others determine almost exactly: rare exceptions would
# otherwise be unboundedly far.
_LEAST_SCALE = 0.05
# Coefficients are well known from so many rows.
_ROWS = 20_000


class Residuals(nn.Module):
    """``z_j = (y_j - a_j - sum_k B_jk y_k - sum_c C_jc context_c) / s_j``, k before j in an order.

    An absent entry counts as zero for the others, and stays absent. Angles stay as they are, and
    are no regressors.

    Args:
        features: number of columns d.
        order: the order; empty for a regression on the context alone.
        context_features: width of the context.
    """

    bias: Tensor
    scale: Tensor
    among: Tensor
    given: Tensor

    def __init__(self, features: int, order: Sequence[int], context_features: int) -> None:
        super().__init__()
        self.features, self.order, self.context_features = features, list(order), context_features
        zeros = torch.zeros(features, dtype=torch.float64)
        self.register_buffer("bias", zeros.clone())
        self.register_buffer("scale", zeros + 1)
        self.register_buffer("among", torch.zeros(features, features, dtype=torch.float64))
        self.register_buffer("given", torch.zeros(features, context_features).double())

    def config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            "features": self.features,
            "order": self.order,
            "context_features": self.context_features,
        }

    @classmethod
    def fit(
        cls,
        y: np.ndarray,
        context: np.ndarray | None,
        weights: np.ndarray,
        circular: np.ndarray,
        order: Sequence[int] = (),
    ) -> "Residuals":
        """Fit to rows ``(n, d)``, NaN where absent, of columns of about unit scale.

        Args:
            y: the rows.
            context: ``(n, c)`` or None.
            weights: ``(n,)``, positive.
            circular: which columns are angles, ``(d,)``.
            order: of the columns; empty for a regression on the context alone.
        """
        d = y.shape[1]
        c = 0 if context is None else context.shape[1]
        self = cls(d, order, c)
        known = np.concatenate([np.nan_to_num(y)] + ([] if context is None else [context]), axis=1)
        before: list[int] = []
        for j in order or range(d):
            if circular[j]:
                continue
            rows = np.flatnonzero(~np.isnan(y[:, j]))[:_ROWS]
            inputs = before + list(range(d, d + c))
            if len(rows) > 1:
                coefficients, bias, scale = _line(known[rows][:, inputs], y[rows, j], weights[rows])
                self.among[j, before] = torch.from_numpy(coefficients[: len(before)])
                self.given[j] = torch.from_numpy(coefficients[len(before) :])
                self.bias[j], self.scale[j] = bias, max(scale, _LEAST_SCALE)
            if order:
                before.append(j)
        return self

    def forward(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map ``(n, d)``; return the images and the log-derivatives summed over present columns."""
        line = y.nan_to_num(0.0) @ self.among.mT + self._of_context(context)
        log_slope = torch.where(y.isnan(), 0.0, -self.scale.log()).sum(-1)
        return (y - line) / self.scale, log_slope

    def inverse(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Map back, one column after the other."""
        y = z * self.scale + self._of_context(context)
        known = y.nan_to_num(0.0)
        for j in self.order:
            y[:, j] += known @ self.among[j]
            known[:, j] = y[:, j].nan_to_num(0.0)
        return y

    def _of_context(self, context: Tensor | None) -> Tensor:
        return self.bias if context is None else self.bias + context.to(self.bias) @ self.given.mT


def _line(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return slopes, intercept and scale of the ridge regression of ``y`` on ``x``.

    The penalty is the one of the least leave-one-out error, which is also the scale.
    """
    total = w.sum()
    means, middle = w @ x / total, float(w @ y / total)
    x, y = x - means, y - middle
    gram, right = (x * w[:, None]).T @ x, (x * w[:, None]).T @ y
    values, vectors = np.linalg.eigh(gram)
    turned, right = x @ vectors, vectors.T @ right
    best: tuple[float, np.ndarray] = np.inf, np.zeros(len(gram))
    for penalty in _PENALTIES:
        shrunk = 1 / (values.clip(min=0.0) + penalty)
        leverage = w * (1 / total + (turned * turned) @ shrunk)
        left_out = (y - turned @ (shrunk * right)) / np.maximum(1 - leverage, 1e-3)
        error = float(np.sqrt(w @ (left_out * left_out) / total))
        if error < best[0]:
            best = error, shrunk * right
    slopes = vectors @ best[1]
    return slopes, middle - float(means @ slopes), best[0]
