"""Training a flow."""

from flowkit.training.fit import History, fit

__all__ = ["History", "fit"]
