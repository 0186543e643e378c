"""Standardiser: the map before a member. Marginals first, then a linear regression."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowkit._checks import check_keys
from flowkit.tabular.continuous.preprocessing.linear import Residuals
from flowkit.tabular.continuous.preprocessing.marginals import Marginals

# Rows that are mapped at once: steps of the map need several times their memory.
_CHUNK = 65_536


class Standardiser(nn.Module):
    """An invertible map of rows, given their context, to columns of about unit scale.

    Args:
        marginals: the first step: each column by itself.
        residuals: the second step: each column less a linear function of others; None for none.
    """

    def __init__(self, marginals: Marginals, residuals: Residuals | None = None) -> None:
        super().__init__()
        self.marginals, self.residuals = marginals, residuals

    def config(self) -> dict[str, Any]:
        """Return everything but the tensors, ready for JSON."""
        return {
            "marginals": self.marginals.config(),
            "residuals": None if self.residuals is None else self.residuals.config(),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Standardiser":
        """Return a map made from what `config` returned; its tensors are yet to be loaded."""
        check_keys("standardiser", config, ("marginals", "residuals"))
        options = config["residuals"]
        return cls(
            Marginals(**config["marginals"]), None if options is None else Residuals(**options)
        )

    def forward(self, values: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map ``(n, d)``; return the images and the log-derivatives summed over present columns."""
        y, log_slope = self.marginals.map_present(values)
        if self.residuals is None:
            return y, log_slope
        z, slope_of_line = self.residuals(y, context)
        return z, log_slope + slope_of_line

    def inverse(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Map back."""
        return self.marginals.restore(
            z if self.residuals is None else self.residuals.inverse(z, context)
        )

    def standardised(self, values: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        """Return the images of rows ``(n, d)`` as an array."""
        z = np.empty(values.shape)
        with torch.no_grad():
            for start in range(0, len(values), _CHUNK):
                rows = slice(start, start + _CHUNK)
                c = None if context is None else torch.from_numpy(context[rows]).double()
                z[rows] = self(torch.from_numpy(values[rows]), c)[0].numpy()
        return z
