"""Monte Carlo objectives and their gradients, as functions of log-weights."""

from flowkit.estimators.baselines import RunningMoments, leave_one_out
from flowkit.estimators.concrete import (
    Relaxed,
    binary_concrete,
    binary_concrete_log_prob,
    concrete,
    concrete_log_prob,
)
from flowkit.estimators.estimate import Estimate
from flowkit.estimators.likelihood import LogLikelihood, log_likelihood
from flowkit.estimators.pathwise import dreg, elbo, iwae, sticking_the_landing
from flowkit.estimators.score import nvil, reinforce, reweighted_wake_sleep, vimco

__all__ = [
    "Estimate",
    "LogLikelihood",
    "Relaxed",
    "RunningMoments",
    "binary_concrete",
    "binary_concrete_log_prob",
    "concrete",
    "concrete_log_prob",
    "dreg",
    "elbo",
    "iwae",
    "leave_one_out",
    "log_likelihood",
    "nvil",
    "reinforce",
    "reweighted_wake_sleep",
    "sticking_the_landing",
    "vimco",
]
