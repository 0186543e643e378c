"""Training: one loop for every model."""

from flowkit.training.ensemble import fit_many
from flowkit.training.fit import fit
from flowkit.training.history import History
from flowkit.training.rows import Batch, drawn_by_weight, mean_over_rows
from flowkit.training.state import State
from flowkit.training.step import Step, maximum_likelihood, negative_log_likelihood

__all__ = [
    "Batch",
    "History",
    "State",
    "Step",
    "drawn_by_weight",
    "fit",
    "fit_many",
    "maximum_likelihood",
    "mean_over_rows",
    "negative_log_likelihood",
]
