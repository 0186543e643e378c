"""Explanation of rows: the log-density of each column given all others."""

import numpy as np
import torch

from flowkit.schema import Encoded
from flowkit.tabular.conditioning.conditioner import Conditioner
from flowkit.tabular.conditioning.evidence import Evidence
from flowkit.tabular.conditioning.states import all_states


def explained(conditioner: Conditioner, encoded: Encoded) -> np.ndarray:
    """Return the log-density of each column given the others, ``(rows, columns)``.

    A discrete column is summed over, a continuous one integrated by quadrature, to 1e-6. Columns
    that are not modelled have 0.

    Args:
        conditioner: of the table's model.
        encoded: the rows.
    """
    schema, block = conditioner.schema, conditioner.discrete
    found = np.zeros((len(encoded.codes), len(schema.columns)))
    joint = conditioner.log_prob(encoded.codes, encoded.values)
    states = [] if block is None else [all_states(block, j) for j in range(len(block.columns))]
    nowhere = np.full(len(schema.continuous), np.nan)
    for i, column in enumerate(schema.columns):
        if not column.is_modelled:
            continue
        fixed, values = np.ones(encoded.codes.shape, dtype=bool), encoded.values.copy()
        own = [j for j, d in enumerate(schema.discrete) if d.name == column.name]
        fixed[:, own] = False
        slope = encoded.log_unseen[:, own].sum(1)
        if column.is_continuous:
            at = schema.continuous.index(column.name)
            values[:, at] = np.nan
            slope = slope + encoded.log_slopes[:, at]
        others = Evidence(encoded.codes, fixed, values, states, nowhere, nowhere)
        generator = torch.Generator().manual_seed(0)
        # One column is open: nothing is drawn.
        rest = conditioner.estimate(others, draws=1, generator=generator).log_density
        found[:, i] = joint - rest + slope
    return found
