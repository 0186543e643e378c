"""Parts of a table's model together: context of the continuous part, and draws."""

import numpy as np
import torch

from flowkit.schema import Schema
from flowkit.tabular.continuous import ContinuousDensity
from flowkit.tabular.discrete import DiscreteBlock


def context_of(discrete: DiscreteBlock | None, codes: np.ndarray) -> np.ndarray | None:
    """Return the features of codes ``(n, J)`` for the continuous part, or None without any."""
    if discrete is None or not discrete.context_features:
        return None
    return discrete.context(codes)


def draw(
    schema: Schema,
    discrete: DiscreteBlock | None,
    continuous: ContinuousDensity | None,
    n: int,
    generator: torch.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return codes ``(n, J)`` and values ``(n, d)`` of ``n`` rows, NaN where absent."""
    codes, values = np.zeros((n, 0), dtype=np.int64), np.zeros((n, 0))
    if discrete is not None:
        codes = discrete.sample(n, generator)
    if continuous is not None:
        present = schema.values_present(codes)
        values = continuous.sample(present, context_of(discrete, codes), generator)
    return codes, values
